"""A package file onto a device, and into use there once it has passed its health check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_agent.package_messages import Committed
from edgesdk.devices.conversation.exchange import AGENT_DIED
from edgesdk.devices.inventory import Device
from edgesdk.errors import AgentError, TransportError
from edgesdk.flows.installing import Permissions, Say, put
from edgesdk.flows.leasing import Claim
from edgesdk.flows.session import agent_on, find_device
from edgesdk.package.reading import read_sealed
from edgesdk.progress import Progress, Silent
from edgesdk.values.package import Package


def push(
    package: Path | str,
    device: str,
    *,
    permissions: Permissions | None = None,
    wait_s: float = 0.0,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Committed:
    """Install a package on an enrolled device; make it the current one if it is healthy there.

    Every byte is verified on the device before it is written. What a broken connection left there
    is continued; a package that is there already does not travel again.

    Args:
        wait_s: how long to wait for a device that is someone else's.
        say: told what is not as usual: that a delta did not fit, or who is trusted.

    Raises:
        PackageError: the file is damaged; nothing was sent of it.
        Unhealthy: the package did not pass; the device is as it was before.
        DeviceError: the device cannot be reached, or refuses the package.
    """
    enrolled = find_device(device)
    # Hashing a large package takes as long as logging in, and both mostly wait.
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(read_sealed, Path(package))
        claim = Claim(f"a push of {Path(package).name}", wait_s, say)
        return _push(reading.result, enrolled, claim, permissions, progress)


def pushing(
    package: Path | str, *, permissions: Permissions | None = None, wait_s: float = 0.0
) -> PushTo:
    """`push` for many devices: the package is read and checked once, here.

    Args:
        permissions, wait_s: as of `push`.

    Returns:
        What installs it on the device of a name; it can be pickled. It raises what `push` does.

    Raises:
        PackageError: the file is damaged.
    """
    return PushTo(read_sealed(Path(package)), permissions, wait_s)


@dataclass(frozen=True, slots=True)
class PushTo:
    """`push` of a package that was read."""

    package: Package
    permissions: Permissions | None
    wait_s: float

    def __call__(
        self, device: str, progress: Progress | None = None, say: Say = lambda _: None
    ) -> Committed:
        """Onto the enrolled device of that name."""
        claim = Claim(f"a push of {self.package.path.name}", self.wait_s, say)
        return _push(lambda: self.package, find_device(device), claim, self.permissions, progress)


def _push(
    read: Callable[[], Package],
    device: Device,
    claim: Claim,
    permissions: Permissions | None,
    progress: Progress | None,
) -> Committed:
    with (
        _resumed_by_pushing_again(device),
        agent_on(device, claim=claim, offering=read, progress=progress) as agent,
    ):
        return put(
            agent,
            device,
            read(),
            progress or Silent(),
            permissions=permissions or Permissions(),
            say=claim.say,
            last=True,
        )


@contextmanager
def _resumed_by_pushing_again(device: Device) -> Iterator[None]:
    """What breaks off on the way says how to go on."""
    try:
        yield
    except (TransportError, AgentError) as error:
        is_lost = error.connected if isinstance(error, TransportError) else error.code == AGENT_DIED
        if not is_lost:
            raise
        error.hint = f"{error.hint}; " if error.hint else ""
        error.hint += (
            f"{device.name} uses what it used before, unless edgesdk device installed"
            f" {device.name} says otherwise; push again: it goes on where it broke off"
        )
        raise
