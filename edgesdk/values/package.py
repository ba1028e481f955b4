"""A sealed package on the workstation, and the budgets it has to keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from device_agent.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Budget:
    """Size budgets in bytes; None where there is none.

    Args:
        package_bytes: the package file that holds everything, as it travels.
        installed_bytes: its files on the device.
        peak_ram_bytes: memory of the process that runs the model.
        delta_bytes: a package file that is made against another one, as it travels.
    """

    package_bytes: int | None = None
    installed_bytes: int | None = None
    peak_ram_bytes: int | None = None
    delta_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """How a package is called, where it stands among its siblings, and what goes in.

    Args:
        name: of the model on the device (letters, digits, dots, dashes, underscores); None takes
            the model file's.
        version: for people.
        sequence: for machines; a later package of the same name has a higher one.
        include_float: the float model travels in it, too.
    """

    name: str | None = None
    version: str = "0.1.0"
    sequence: int = 1
    include_float: bool = False


@dataclass(frozen=True, slots=True)
class Package:
    """An `.edgepkg` file whose every byte has been checked against its manifest."""

    path: Path
    manifest: Manifest
    size_bytes: int

    @property
    def installed_bytes(self) -> int:
        """Bytes of its files once installed."""
        return sum(file.raw_bytes for file in self.manifest.files)
