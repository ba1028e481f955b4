"""Points in time as people read them in a terminal: in UTC, and marked so, wherever they are shown.

What a device says of time is UTC; so are packages, runs and reports, also of people elsewhere.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def minute(moment: str) -> str:
    """An ISO 8601 time as "2026-11-26 14:58Z".

    Args:
        moment: UTC, or with its offset.
    """
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%MZ}"


def from_now(seconds: float) -> str:
    """So many seconds from now: "14:58:03Z", with the day where that is not today."""
    now = datetime.now(UTC)
    moment = now + timedelta(seconds=seconds)
    if moment.date() == now.date():
        return f"{moment:%H:%M:%SZ}"
    return f"{moment:%Y-%m-%d %H:%MZ}"
