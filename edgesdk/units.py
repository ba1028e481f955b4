"""Byte and time units, in one place. MiB is 2**20; times inside the code are nanoseconds."""

from __future__ import annotations

import re

from edgesdk.errors import UsageError

KIB = 2**10
MIB = 2**20
GIB = 2**30

_BYTE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": KIB, "MIB": MIB, "GIB": GIB}
_MINUTE_NS = 60 * 10**9
_LONGEST_NS = 7 * 24 * 60 * _MINUTE_NS
_TIME_UNITS_NS = {
    **{"NS": 1, "US": 10**3, "MS": 10**6, "S": 10**9},
    **{"M": _MINUTE_NS, "MIN": _MINUTE_NS, "H": 60 * _MINUTE_NS, "D": 24 * 60 * _MINUTE_NS},
}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


def parse_bytes(text: str) -> int:
    """Read a size such as "512 KiB" or "4 MB" as a number of bytes.

    Raises:
        UsageError: not a number followed by B, KB, MB, GB, KiB, MiB or GiB.
    """
    return _parse(text, _BYTE_UNITS, "a size such as '512 KiB' or '4 MB'")


def parse_duration_ns(text: str, *, least_ns: int = 1) -> int:
    """Read a duration such as "10 ms" as nanoseconds.

    Raises:
        UsageError: not a number followed by ns, us, ms, s, min or m (minutes), h or d; or less than
            `least_ns`, or more than 7 days, which nothing here may take.
    """
    duration_ns = _parse(text, _TIME_UNITS_NS, "a duration such as '10 ms' or '2 s'")
    if not least_ns <= duration_ns <= _LONGEST_NS:
        least = {0: "", 1: "more than 0 and "}.get(
            least_ns, f"{least_ns / 10**9:g} s or more, and "
        )
        raise UsageError(f"found {text!r}, expected {least}at most 7 days")
    return duration_ns


def _parse(text: str, units: dict[str, int], expected: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].upper() not in units:
        raise UsageError(f"found {text!r}, expected {expected}")
    whole, _, fraction = match[1].partition(".")
    return _divided(int(whole + fraction) * units[match[2].upper()], 10 ** len(fraction))


def _divided(number: int, divisor: int) -> int:
    """Exact, rounded half to even, for numbers that a float could not hold."""
    quotient, rest = divmod(number, divisor)
    return quotient + (2 * rest > divisor or (2 * rest == divisor and quotient % 2 == 1))


def format_bytes(count: int) -> str:
    """Bytes as a person reads them: "412 B", "96.2 KiB", "3.40 MiB"."""
    for name, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if count >= size:
            return f"{_three_digits(count / size)} {name}"
    return f"{count} B"


def format_ns(duration_ns: float) -> str:
    """Nanoseconds as a person reads them: "37.2 us", "1.20 ms", "2.51 s"."""
    for name, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if duration_ns >= size:
            return f"{_three_digits(duration_ns / size)} {name}"
    return f"{_three_digits(duration_ns)} ns"


def _three_digits(value: float) -> str:
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{decimals}f}"
