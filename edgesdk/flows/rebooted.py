"""A connection that broke in the middle of a measurement: did the board restart?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from device_agent.environment_messages import Environment
from edgesdk.devices.inventory import Device
from edgesdk.errors import AgentError, EdgeSDKError, TransportError
from edgesdk.flows.installing import Say
from edgesdk.flows.session import agent_on
from edgesdk.interruption import check, pause

REBOOTED = "rebooted"
RETURN_S = 90.0
"""How long a board is waited for: small ones take 20 to 60 s to start."""
_EVERY_S = 5.0


@contextlib.contextmanager
def reboot_named(
    device: Device,
    environment: Environment,
    say: Say,
    look: Callable[[Device], str] | None = None,
    sleep: Callable[[float], None] = pause,
) -> Iterator[None]:
    """A connection lost in the block becomes the news that the board restarted, if it did.

    Args:
        environment: the device before.
        look: gives the boot id of the device now; by a session of its own unless given.

    Raises:
        AgentError: "rebooted".
        TransportError: the connection was lost for another reason, or the board did not return.
    """
    try:
        yield
    except TransportError as error:
        check()  # It was we who broke it.
        if environment.boot_id:
            say(f"the connection to {device.name} broke: waiting for it to return")
            now = _return_of(device, look or _boot_id, sleep)
            if now and now != environment.boot_id:
                raise AgentError(
                    f"{device.name} restarted while it was measured, so there is no result",
                    code=REBOOTED,
                    hint="look there why: journalctl --boot=-1 --lines=50; power supply, heat and"
                    " watchdogs are the usual causes",
                ) from error
        raise


def _return_of(
    device: Device, look: Callable[[Device], str], sleep: Callable[[float], None]
) -> str:
    """The boot id of a device as soon as it answers; "" of one that does not."""
    for _ in range(int(RETURN_S / _EVERY_S)):
        try:
            return look(device)
        except EdgeSDKError:
            sleep(_EVERY_S)
    return ""


def _boot_id(device: Device) -> str:
    with agent_on(device) as agent:
        return agent.environment.boot_id
