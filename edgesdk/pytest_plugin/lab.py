"""The devices of one pytest session: leased, given packages, measured; each thing done once.

A failure is kept like a result: a board that does not answer costs the session one time-out, not
one a test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from edgesdk import api
from edgesdk.errors import EdgeSDKError, UsageError
from edgesdk.pytest_plugin.marks import Asked
from edgesdk.pytest_plugin.measurement import Measurement
from edgesdk.units import parse_duration_ns

if TYPE_CHECKING:
    from device_agent.package_messages import Installed
    from edgesdk.devices.inventory import Device
    from edgesdk.project import Project

T = TypeVar("T")

LEASE_S = 1800
"""Longer than one measurement takes; the lease of a session that was killed ends by itself."""
_RENEW_S = LEASE_S / 3
_PURPOSE = "tests with pytest"


@dataclass(slots=True)
class Lab:
    """The devices that were named, and what is known of them so far.

    Args:
        devices: in the order they were named.
        root: paths in markers are relative to it.
        package: for tests whose marker names none.
        wait_s: how long to wait for a device that is someone else's.
    """

    devices: tuple[Device, ...]
    root: Path
    package: Path | None
    wait_s: float
    _leased_at: dict[str, float] = field(default_factory=dict)
    _known: dict[tuple[object, ...], object] = field(default_factory=dict)

    @classmethod
    def of(cls, names: Sequence[str], root: Path, *, package: Path | None, wait: str) -> Self:
        """The lab of the named devices; without any, nothing is even looked up.

        Raises:
            UnknownDevice: a name that is not enrolled, or a selection that means none.
            UsageError: a wait that is no duration, or a package that is not there.
        """
        if package is not None and not package.is_file():
            raise UsageError(f"found no file {package}, expected the .edgepkg to install")
        found = [device for name in names for device in api.find_devices(name)]
        devices = tuple({device.name: device for device in found}.values())
        return cls(devices, root, package, parse_duration_ns(wait, least_ns=0) / 1e9)

    def lease(self, device: Device) -> None:
        """Have the device to this session; again, to have it for longer.

        Raises:
            EdgeSDKError: it cannot be reached, or is someone else's.
        """
        taken_at = self._leased_at.get(device.name)
        if taken_at is None:
            self._once(("lease", device.name), lambda: self._take(device))
        elif time.monotonic() - taken_at > _RENEW_S:
            self._take(device)

    def installed(self, device: Device, asked: Asked) -> Installed:
        """The package that is asked for, installed; else the one that is current there."""
        self.lease(device)
        package = self._package(asked)
        if package is None:
            return self._once(("current", device.name), lambda: _current(device))
        # The device may hold another test's package by now: nothing is kept of this.
        done = api.push(package, device.name, wait_s=self.wait_s)
        return done.installed

    def latency(self, device: Device, asked: Asked) -> Measurement:
        """Latency, memory and parity of what is installed."""
        installed = self.installed(device, asked)
        timing = api.Timing(min_seconds=asked.seconds, threads=asked.threads)
        return self._once(
            ("latency", device.name, installed.package_id, *_of(asked)),
            lambda: Measurement(
                api.bench(
                    device.name,
                    model=None if asked.model is None else self._path(asked.model),
                    gates=(self._project().gates, asked.bounds()),
                    timing=timing,
                    wait_s=self.wait_s,
                )
            ),
        )

    def accuracy(self, device: Device, asked: Asked) -> Measurement:
        """Accuracy of what is installed, against the float model.

        Raises:
            UsageError: the marker names no data or no model.
        """
        project = self._project()
        dataset, model = asked.dataset or project.dataset, asked.model or project.model
        if dataset is None or model is None:
            raise UsageError(
                "edge_accuracy needs labelled data and the float model",
                hint='pytest.mark.edge(model="model.onnx", dataset="data.npz#test")',
            )
        installed = self.installed(device, asked)
        return self._once(
            ("accuracy", device.name, installed.package_id, *_of(asked)),
            lambda: Measurement(
                api.evaluate(
                    device.name,
                    self._path(dataset),
                    self._path(model),
                    preprocessing=project.preprocessing,
                    gates=(project.gates, asked.bounds()),
                    wait_s=self.wait_s,
                )
            ),
        )

    def close(self) -> None:
        """Give back every device; one that is out of reach has a lease that ends by itself."""
        for name in self._leased_at:
            try:
                api.release_device(name)
            except EdgeSDKError:
                continue
        self._leased_at.clear()

    def _take(self, device: Device) -> None:
        if device.name not in self._leased_at and _is_kept_by_user(device):
            return  # Longer than by us, probably; and it is not ours to give back.
        api.lease_device(device.name, LEASE_S, purpose=_PURPOSE, wait_s=self.wait_s)
        self._leased_at[device.name] = time.monotonic()

    def _package(self, asked: Asked) -> Path | None:
        return self.package if asked.package is None else Path(self._path(asked.package))

    def _path(self, text: str) -> str:
        """A path in a marker, found from wherever pytest was started; anything else as it is."""
        path, mark, rest = text.partition("#")
        return f"{self.root / path}{mark}{rest}" if (self.root / path).exists() else text

    def _project(self) -> Project:
        return self._once(("project",), lambda: _read_project(self.root))

    def _once(self, what: tuple[object, ...], do: Callable[[], T]) -> T:
        if what not in self._known:
            try:
                self._known[what] = do()
            except EdgeSDKError as error:
                self._known[what] = error
        known = self._known[what]
        if isinstance(known, EdgeSDKError):
            raise known
        return known  # type: ignore[return-value]


def _is_kept_by_user(device: Device) -> bool:
    leases = api.show_device(device.name).leases
    return any(lease.kept and lease.owner == api.whoami() for lease in leases)


def _read_project(root: Path) -> Project:
    path = root / "edgesdk.toml"
    return api.load_project(path if path.is_file() else None)


def _current(device: Device) -> Installed:
    there = api.list_installed(device.name)
    for package in there.packages:
        if package.name == there.active and package.state == "current":
            return package
    raise UsageError(
        f"found nothing installed on {device.name}, expected a package to test",
        hint='give --edgesdk-package FILE, or pytest.mark.edge(package="FILE")',
    )


def _of(asked: Asked) -> tuple[object, ...]:
    gates = tuple(sorted(asked.gates.items()))
    return (asked.model, asked.dataset, asked.seconds, asked.threads, gates)
