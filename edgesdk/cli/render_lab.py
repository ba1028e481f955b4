"""A lab as a person reads it in a terminal: whose a device is, many devices at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from edgesdk.text import plain

if TYPE_CHECKING:
    from rich.console import Console

    from device_agent.lease_messages import Lease


def lease(console: Console, name: str, kept: Lease) -> None:
    """A lease that was just taken."""
    _line(console, f"{name} is yours until {_clock(kept.left_s)}")
    _line(console, f"  edgesdk device release {name} gives it back")


def released(console: Console, name: str, given: Lease | None) -> None:
    """A lease that was given back."""
    if given is None:
        _line(console, f"{name} was kept by nobody")
    else:
        _line(console, f"{name} is free; it was kept by {holder(given)}")


def holder(held: Lease) -> str:
    """Who has a device, and what for: "anna@desk (process 4711) for a night of tests"."""
    process = f" (process {held.pid})" if held.pid else ""
    purpose = f" for {held.purpose}" if held.purpose else ""
    return (held.owner or "someone") + process + purpose


def whose(held: Lease) -> str:
    """A lease in full; the clock is this workstation's."""
    until = f"until {_clock(held.left_s)}" if held.kept else "until that ends"
    return f"{holder(held)}, since {_clock(-held.age_s)} {until}"


def _clock(seconds_from_now: float) -> str:
    """Local time, with the day where it is not today."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds_from_now)
    local = moment.astimezone()
    is_today = local.date() == datetime.now(UTC).astimezone().date()
    return f"{local:%H:%M:%S}" if is_today else f"{local:%Y-%m-%d %H:%M}"


def _line(console: Console, text: str) -> None:
    console.print(plain(text), markup=False, soft_wrap=True)
