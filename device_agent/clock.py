"""A device's clock, which may be at 1970, in 2100 or right; and dates in their one text form.

A board without a battery starts at 1970 until it reaches a time server, and nothing tells. What it
does know is a floor: the latest time that it has good evidence of, which its state keeps and the
caller passes in. It is later than the floor in any case; the clock itself is believed only from the
floor to ten years on. Where nothing is known, sequence numbers decide, and the caller says so.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Optional

from device_agent.records import record

VALID = "valid"
EXPIRED = "expired"
UNKNOWN = "unknown"

_TEN_YEARS_S = 10 * 365.25 * 24 * 3600
_UTC = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")


@record(frozen=True)
class Clock:
    """What the time is said to be, and what it is at least; both in seconds since 1970 UTC.

    Args:
        now_s: as the system has it.
        floor_s: the latest time there is good evidence of; 0 where there is none.
    """

    now_s: float
    floor_s: int

    @property
    def is_believed(self) -> bool:
        """Whether the system's time can be true: not before the floor, nor ten years after it."""
        return self.floor_s <= self.now_s <= self.floor_s + _TEN_YEARS_S

    def judge(self, expires: Optional[str]) -> str:
        """Whether what holds until a time ("YYYY-MM-DDTHH:MM:SSZ"; None: for ever) still does.

        Returns:
            "valid", "expired", or "unknown" where neither floor nor clock can tell.

        Raises:
            ValueError: no such time.
        """
        if expires is None:
            return VALID
        end_s = parse_utc(expires)
        if self.floor_s >= end_s:
            return EXPIRED
        if not self.is_believed:
            return UNKNOWN
        return VALID if self.now_s < end_s else EXPIRED


def parse_utc(text: str) -> int:
    """Seconds since 1970 of "YYYY-MM-DDTHH:MM:SSZ".

    Raises:
        ValueError: not exactly of that form, or no such time.
    """
    match = _UTC.fullmatch(text)
    if match is None:
        raise ValueError("found time %r, expected YYYY-MM-DDTHH:MM:SSZ" % text)
    year, month, day, hour, minute, second = (int(part) for part in match.groups())
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError as error:
        raise ValueError("found time %r: %s" % (text, error)) from error
    return int(moment.timestamp())


def format_utc(seconds: int) -> str:
    """The text form of seconds since 1970, e.g. "2027-01-31T00:00:00Z"."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()[:19] + "Z"
