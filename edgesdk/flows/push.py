"""A package file onto a device."""

from __future__ import annotations

from pathlib import Path

from device_agent.protocol import Installed
from edgesdk.flows.session import agent_on, find_device
from edgesdk.package.building import read_package
from edgesdk.progress import Progress, Silent


def push(package: Path | str, device: str, *, progress: Progress | None = None) -> Installed:
    """Install a package on an enrolled device and make it the current one.

    Every file is verified on the device before it is used; a package that is already there is not
    written again.

    Raises:
        PackageError: the file is damaged; the device is not touched.
        DeviceError: the device cannot be reached, or refuses the package.
    """
    sealed = read_package(Path(package))
    with agent_on(find_device(device)) as agent:
        return agent.install(sealed.path, progress or Silent())
