"""A visit to a device that broke off: did the board restart, or was it the network?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from device_agent.environment_messages import Environment
from edgesdk.devices.conversation.exchange import AGENT_DIED
from edgesdk.devices.inventory import Device
from edgesdk.errors import AgentError, EdgeSDKError, HostKeyMismatch, TransportError
from edgesdk.flows.installing import Say
from edgesdk.flows.session import agent_on
from edgesdk.interruption import check, pause

REBOOTED = "rebooted"
RETURN_S = 90.0
"""How long a board is waited for. Policy: half as much again as the slowest start we found told of,
"on the order of 1 minute" of a Raspberry Pi 3B with Raspbian
(https://himeshp.blogspot.com/2018/08/fast-boot-with-raspberry-pi.html). A Jetson shows its login
prompt after 12 s (Jetson Linux Developer Guide, "Boot Time Optimization")."""
NO_RESULT = "so there is no result"
_EVERY_S = 2.0
"""Policy: every look is a login, which a board that starts should not have to do all the time."""
_GOING_DOWN_S = 4.0
"""A board that shuts down ends its programs first, and answers for a while yet. Policy: news of an
agent that merely died come so much later. Where a service holds the shutdown up for longer (systemd
gives each 90 s: DefaultTimeoutStopSec, systemd-system.conf(5)), only the agent's death is told."""

Look = Callable[[Device], str]
"""Gives the boot id of the device now."""


@contextlib.contextmanager
def reboot_named(
    device: Device,
    environment: Environment,
    say: Say,
    look: Look | None = None,
    sleep: Callable[[float], None] = pause,
    clock: Callable[[], float] = time.monotonic,
    *,
    consequence: str = NO_RESULT,
) -> Iterator[None]:
    """A connection or an agent lost in the block becomes the news of what happened to the board.

    Args:
        environment: the device before.
        look: by a session of its own unless given.
        consequence: of a restart.

    Raises:
        AgentError: "rebooted"; or the agent died, and the board did not restart.
        TransportError: the connection was lost, and the board did not restart, or did not return.
    """
    try:
        yield
    except (TransportError, AgentError) as error:
        check()  # It was we who broke it.
        if not environment.boot_id or not _is_loss(error):
            raise
        waiting = _Waiting(device, look or _boot_id, sleep, clock)
        now = waiting.boot_id_after(error, environment.boot_id, say)
        if now and now != environment.boot_id:
            raise AgentError(
                f"{device.name} restarted while it was measured, {consequence}",
                code=REBOOTED,
                hint="look there why: journalctl --boot=-1 --lines=50; power supply, heat and"
                " watchdogs are the usual causes",
            ) from error
        if isinstance(error, TransportError):
            raise _lost(device, error, now, consequence) from error
        raise


def _is_loss(error: TransportError | AgentError) -> bool:
    return isinstance(error, TransportError) or error.code == AGENT_DIED


@dataclass(frozen=True, slots=True)
class _Waiting:
    """For a device that was lost."""

    device: Device
    look: Look
    sleep: Callable[[float], None]
    clock: Callable[[], float]

    def boot_id_after(self, error: TransportError | AgentError, before: str, say: Say) -> str:
        """The boot id when the device answers; "" of one that does not return."""
        if isinstance(error, AgentError):
            if self._glance() == before:
                self.sleep(_GOING_DOWN_S)
            if (now := self._glance()) is not None:
                return now
        say(f"the connection to {self.device.name} broke: waiting for it to return")
        end_s = self.clock() + RETURN_S  # A look at a host that is silent takes its time, too.
        while self.clock() < end_s:
            if (now := self._glance()) is not None:
                return now
            self.sleep(_EVERY_S)
        return ""

    def _glance(self) -> str | None:
        """The boot id of the device; None of one that does not answer.

        Raises:
            HostKeyMismatch: it is another device that answers.
        """
        try:
            return self.look(self.device)
        except HostKeyMismatch:
            raise
        except EdgeSDKError:
            return None


def _lost(device: Device, error: TransportError, now: str, consequence: str) -> TransportError:
    """What to say of a connection that was lost on the way, by a board that did not restart."""
    if now:
        return TransportError(
            f"{error.message}; {device.name} is back and did not restart, {consequence}",
            hint="it was the network, or the device was too busy to answer: run the command again",
        )
    return TransportError(
        f"{error.message}, and {device.name} did not return within {RETURN_S:.0f} s, {consequence}",
        hint="is it switched on and on the network? It may hang, or lie without power",
    )


def _boot_id(device: Device) -> str:
    with agent_on(device) as agent:
        return agent.environment.boot_id
