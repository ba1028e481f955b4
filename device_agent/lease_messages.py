"""Leases on the wire (`device_agent.protocol`): who uses a device, until when and what for."""

from __future__ import annotations

from typing import Optional, Tuple

from device_agent.records import record

LONGEST_S = 7 * 24 * 3600
"""Of a lease that is kept."""


@record(frozen=True)
class Lease:
    """A device is someone's for a while.

    Args:
        owner: who has it, "user@host".
        pid: of the process there that took it; 0 where nobody said.
        purpose: what for, in their words.
        kept: it outlives the session that took it; otherwise it ends with that.
        age_s: seconds since it was taken, by the device's own count.
        left_s: seconds until it expires, unless it is renewed.
    """

    owner: str
    pid: int
    purpose: str
    kept: bool
    age_s: float
    left_s: float


@record(frozen=True)
class TakeLease:
    """This device is ours now. Reply: `Leased`, or `Failure` "busy" that says whose it is.

    Args:
        owner: as of `Lease`.
        pid: as of `Lease`.
        purpose: as of `Lease`.
        seconds: of a kept lease, how long. The other kind lasts as long as this session lives.
        keep: it outlives this session. A lease that the same owner kept is replaced.
    """

    owner: str
    pid: int
    purpose: str
    seconds: int = 0
    keep: bool = False


@record(frozen=True)
class Leased:
    """It is.

    Args:
        note: whose lease was found expired, or left behind, and is gone; "" where none was.
    """

    lease: Lease
    note: str = ""


@record(frozen=True)
class ReleaseLease:
    """Give back the lease that was kept. Reply: `Released`.

    Args:
        owner: whose it has to be; someone else's is left alone ("busy") unless `force` is set.
    """

    owner: str
    force: bool = False


@record(frozen=True)
class Released:
    """What was given back; None where nothing was kept."""

    lease: Optional[Lease]


@record(frozen=True)
class ListLeases:
    """Whose is the device? Reply: `Leases`."""


@record(frozen=True)
class Leases:
    """The leases that hold: at most one that was kept and one of a session."""

    leases: Tuple[Lease, ...]


LEASE_MESSAGES = (TakeLease, Leased, ReleaseLease, Released, ListLeases, Leases)
