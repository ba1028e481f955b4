"""The exact wheels that make a runtime on one kind of board."""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = 1


@dataclass(frozen=True, slots=True)
class PinnedWheel:
    """One wheel.

    Args:
        name: of the distribution.
        version: of the distribution.
        file: name of the wheel.
        sha256: of its bytes, in hex.
        size_bytes: of the file.
        unpacked_bytes: of all files in it.
    """

    name: str
    version: str
    file: str
    sha256: str
    size_bytes: int
    unpacked_bytes: int


@dataclass(frozen=True, slots=True)
class RuntimeLock:
    """What was chosen, for what, from where.

    Args:
        format: of this document.
        runtime: what it brings, one of `device_agent.manifest.RUNTIMES`.
        requirements: what was asked for.
        board: the Python, architecture and libc it was chosen for, in words.
        source: "index", or the folder the wheels were taken from.
        pip: version of the pip that chose.
        wheels: all that is needed on such a board, the runtime's own first.
    """

    format: int
    runtime: str
    requirements: tuple[str, ...]
    board: str
    source: str
    pip: str
    wheels: tuple[PinnedWheel, ...]

    @property
    def size_bytes(self) -> int:
        """What travels."""
        return sum(wheel.size_bytes for wheel in self.wheels)

    @property
    def unpacked_bytes(self) -> int:
        """What lies on the device."""
        return sum(wheel.unpacked_bytes for wheel in self.wheels)
