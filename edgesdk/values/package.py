"""A sealed package on the workstation, and the budgets it has to keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from device_agent.archive import Head
from device_agent.manifest import Manifest

FallbackCause = Literal["load", "parity", "ood"]
"""Of `manifest.FALLBACK_CAUSES`."""


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
        sequence: for machines; a later package of the same name has a higher one. None is the one
            after that of the base, or of what the device has had, and 1 without either.
        min_sequence: once this package is current, a device goes back to none below this.
        expires: a date or UTC time, after which no device installs it any more.
        boards: what the device's board must be called, or begin with; empty when any.
        include_float: the float model travels in it, too.
        max_latency: of the median inference in the health check ("20 ms"); None asks for none.
        health_command: argv of a check of one's own, run on the device before the package is used.
        fallback: when the device runs the twin or the float model instead, as in
            `manifest.Fallback.when`; empty is never, None is usual where one of them travels.
    """

    name: str | None = None
    version: str = "0.1.0"
    sequence: int | None = None
    min_sequence: int = 0
    expires: str | None = None
    boards: tuple[str, ...] = ()
    include_float: bool = False
    max_latency: str | None = None
    health_command: tuple[str, ...] = ()
    fallback: tuple[FallbackCause, ...] | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """An `.edgepkg` file whose every byte has been checked against its manifest.

    Args:
        head: its manifest and signatures and, of a delta package, how the files travel.
        full: the package that a device gets which cannot use this one: of a delta, the full one.
    """

    path: Path
    head: Head
    size_bytes: int
    full: Path | None = None

    @property
    def manifest(self) -> Manifest:
        """What is installed in the end."""
        return self.head.manifest

    @property
    def installed_bytes(self) -> int:
        """Bytes of its files once installed."""
        return self.manifest.raw_bytes


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked, and what was found."""

    what: str
    found: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked of a package, all of which holds."""

    package: Package
    checks: tuple[Check, ...]
