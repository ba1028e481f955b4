"""Whose a board is: leased while it is used, kept for hours, given back.

The lease itself lies on the device (`device_agent.leases`), so that it holds against everybody,
from whatever workstation they come.
"""

from __future__ import annotations

import getpass
import os
import random
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from device_agent.lease_messages import Lease, Leased, TakeLease
from device_agent.protocol import ErrorCode
from edgesdk.devices.agent import AgentSession
from edgesdk.errors import AgentError
from edgesdk.interruption import pause

Say = Callable[[str], None]

_POLL_S = 2.0
"""How often a board that is someone else's is asked again, give or take half of it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Wanted: a device to ourselves while a session lasts.

    Args:
        purpose: what for, as others are told.
        wait_s: how long to wait for someone else to be done.
        say: told whom we wait for, and whose expired lease was found.
    """

    purpose: str
    wait_s: float = 0.0
    say: Say = lambda _: None

    def request(self) -> TakeLease:
        """What the device is asked."""
        return TakeLease(whoami(), os.getpid(), self.purpose)

    def note(self, leased: Leased) -> None:
        """Pass on what was found there."""
        if leased.note:
            self.say(leased.note)


def whoami(environ: Mapping[str, str] = os.environ) -> str:
    """Who leases: "user@host", or `$EDGESDK_OWNER` where the machine's name changes every day."""
    return environ.get("EDGESDK_OWNER") or f"{_user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container's user may have no account.
        return str(os.getuid())


def wait_for(
    agent: AgentSession,
    claim: Claim,
    *,
    request: TakeLease | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = pause,
) -> Leased:
    """Lease the device as soon as nobody else has it, within `claim.wait_s`.

    Args:
        request: what is asked for; the claim's own, for this session, unless given.

    Raises:
        AgentError: with code "busy": it is still someone else's.
    """
    end_s = clock() + claim.wait_s
    told = ""
    while True:
        try:
            return agent.take_lease(request or claim.request())
        except AgentError as error:
            left_s = end_s - clock()
            if error.code != ErrorCode.BUSY or left_s <= 0:
                raise
            holder = error.message.partition(" since ")[0]  # What follows counts the time.
            if told != holder:
                told = holder
                claim.say(f"{error.message}; waiting for it")
        sleep(min(left_s, _POLL_S * random.uniform(0.5, 1.5)))


def keep(agent: AgentSession, seconds: int, claim: Claim) -> Leased:
    """Keep a device to ourselves beyond this session.

    Raises:
        AgentError: with code "busy": it is someone else's; "bad_request": for too long.
    """
    request = TakeLease(whoami(), os.getpid(), claim.purpose, seconds, keep=True)
    return wait_for(agent, claim, request=request)


def give_back(agent: AgentSession, *, force: bool) -> Lease | None:
    """Give back what was kept, be it someone else's with `force`; None where nothing was."""
    return agent.release_lease(whoami(), force=force)
