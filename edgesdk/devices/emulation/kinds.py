"""What every kind of device without hardware does alike, whoever serves it.

`edgesdk.devices.virtual.VirtualDevice` is "python"; this folder has the others.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, Self, TypeVar

from edgesdk.devices.inventory import Device

Running = TypeVar("Running", covariant=True)


class DeviceServer(ABC, Generic[Running]):
    """A device that is there from `start` to `stop`."""

    def __init__(self) -> None:
        self._resources = contextlib.ExitStack()
        self._running: Running | None = None

    @abstractmethod
    def as_device(self, name: str, target: str) -> Device:
        """What its enrolment holds, once started."""

    @abstractmethod
    def serve_forever(self) -> None:
        """Return when a started device ended by itself (KeyboardInterrupt passes on)."""

    @abstractmethod
    def _boot(self, resources: contextlib.ExitStack) -> Running:
        """Make it run; `resources` ends all that does, when it stops or when this fails."""

    def start(self) -> None:
        """Be there; returns when it can be logged in to.

        Raises:
            ToolchainMissing: what serves it is not installed here.
            DeviceError: the port is taken, it does not start, or it is not what it should be.
        """
        with contextlib.ExitStack() as resources:
            self._running = self._boot(resources)
            self._resources = resources.pop_all()

    def stop(self) -> None:
        """Be gone, with everything that runs there. Twice is fine."""
        self._resources.close()
        self._running = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _started(self) -> Running:
        if self._running is None:
            raise RuntimeError("the device is not started")
        return self._running
