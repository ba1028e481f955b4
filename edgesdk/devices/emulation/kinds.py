"""What every kind of device without hardware offers, whoever serves it.

`edgesdk.devices.virtual.VirtualDevice` is "python"; this folder has the others.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from edgesdk.devices.inventory import Device


class DeviceServer(Protocol):
    """A device that is there from `start` to `stop`."""

    def start(self) -> None:
        """Be there; returns when it can be logged in to.

        Raises:
            ToolchainMissing: what serves it is not installed here.
            DeviceError: it does not start, or is not what it should be.
        """

    def stop(self) -> None:
        """Be gone, with everything that runs there. Twice is fine."""

    def serve_forever(self) -> None:
        """Return when it ended by itself (KeyboardInterrupt passes on)."""

    def as_device(self, name: str, target: str) -> Device:
        """What its enrolment holds, once started."""

    def __enter__(self) -> Self:
        """Start it."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
