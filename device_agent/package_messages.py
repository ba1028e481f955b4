"""Messages of packages, from an offer to the inventory (`device_agent.protocol`)."""

from __future__ import annotations

from dataclasses import field
from typing import Dict, Optional, Tuple

from device_agent.preprocessing import Stages
from device_agent.records import record


@record(frozen=True)
class Offer:
    """May this package be installed? Its head follows as payload. Reply: `Offered`.

    All that can be judged without the rest is judged here: signatures, sequence, expiry, the
    device's fitness, budgets, room on the disk. `Failure` "base_missing" asks for the full package.

    Args:
        allow_unsigned: the user said so; a device of a lab may take it.
        override: armored signature of an `Override`; "" without one.
    """

    payload_bytes: int
    allow_unsigned: bool = False
    override: str = ""


@record(frozen=True)
class Offered:
    """It may.

    Args:
        package_id: of the package it makes.
        already: it is on the device, whole; nothing need travel.
        resume_at: offset in the package file from where its bytes are wanted.
        signed_by: name of the key that signed it; "" where it is unsigned.
        expiry: "none", "valid", or "unknown" where the device's clock cannot be believed.
    """

    package_id: str
    already: bool
    resume_at: int
    signed_by: str
    expiry: str


@record(frozen=True)
class Install:
    """The bytes of the package just offered follow as payload. Reply: `Installed`, on trial.

    With `commit`, what `Commit` does follows at once, and its reply is the only one. With `last`
    as well, the session ends where that is no `Failure`, which saves the host a round trip.

    They begin where `Offered.resume_at` says. Without a payload, for a package that is there.
    `Failure` "resume_failed" asks for another `Offer`: what had come before was damaged, and is
    gone.
    """

    package_id: str
    payload_bytes: int
    commit: bool = False
    last: bool = False


@record(frozen=True)
class Installed:
    """A package on the device, every file verified and durable.

    Args:
        target: id of the target it was converted for.
        runtime: one of `manifest.RUNTIMES`.
        runtime_min_version: lowest version of that runtime.
        installed_bytes: size of its files.
        already: it had been there before; nothing was written.
        state: "trial": nobody uses it yet. "current", "previous".
        sequence: its place among the packages of its name.
        signed_by: name of the key that signed it; "" where it is unsigned.
        fallbacks: runs that the guarded runner gave to the fallback model, by reason.
        stages: what it declares of pictures and answers; None where it does not.
    """

    package_id: str
    name: str
    version: str
    target: str
    runtime: str
    runtime_min_version: str
    installed_bytes: int
    already: bool
    state: str = "current"
    sequence: int = 0
    signed_by: str = ""
    fallbacks: Dict[str, int] = field(default_factory=dict)
    stages: Optional[Stages] = None


@record(frozen=True)
class Commit:
    """Check the health of the package on trial and make it the current one. Reply: `Committed`.

    Where it is not healthy, `Failure` "unhealthy": the trial is over and the device is as before.
    So it is when the session ends without this message.
    """

    package_id: str


@record(frozen=True)
class Health:
    """What the health check saw; None where the package asks for no such thing.

    Args:
        parity_mismatch_percent: golden values more than a step off; None, too, where the package
            has none for the kernels that compute here.
        latency_ns: of the median inference.
        runs: that latency is of.
        command_status: exit status of the user's command.
    """

    parity_mismatch_percent: Optional[float] = None
    latency_ns: Optional[int] = None
    runs: int = 0
    peak_rss_bytes: Optional[int] = None
    command_status: Optional[int] = None


@record(frozen=True)
class Committed:
    """The package is the current one of its name.

    Args:
        already: it had been; nothing was checked or changed.
        previous: id of the package that `Rollback` would bring back; "" without one.
        health: None where nothing was checked.
    """

    installed: Installed
    already: bool
    previous: str
    health: Optional[Health] = None


@record(frozen=True)
class Rollback:
    """Make the previous package the current one again. Reply: `Installed`.

    Args:
        name: of the package; "" is the one that was committed last.
    """

    name: str = ""


@record(frozen=True)
class Current:
    """Which package is the current one? Reply: `Installed`, or `Failure` "not_installed".

    Args:
        name: of the package; "" is the one that was committed last.
    """

    name: str = ""


@record(frozen=True)
class ListInstalled:
    """Everything on the device. Reply: `Inventory`."""


@record(frozen=True)
class Damaged:
    """A package of the device that cannot be read any more, or is gone.

    Args:
        state: as of `Installed`; "" where nothing needs it.
        problem: what is wrong with it.
    """

    package_id: str
    state: str
    problem: str


@record(frozen=True)
class Inventory:
    """The packages on the device, current ones first.

    Args:
        active: name of the package that was committed last; "" without one.
        damaged: those whose manifest cannot be read. That the files of the others are whole is
            seen when they are used.
    """

    packages: Tuple[Installed, ...]
    active: str
    damaged: Tuple[Damaged, ...] = ()


PACKAGE_MESSAGES = (
    Offer,
    Offered,
    Install,
    Installed,
    Commit,
    Committed,
    Rollback,
    Current,
    ListInstalled,
    Inventory,
)
