"""Estimates with their uncertainty, the verdicts made of them, and how both are written out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgesdk.units import GIB, KIB, MIB

Status = Literal["pass", "fail", "not measured", "invalid"]
Unit = Literal["ns", "bytes", "points", "percent", "times", "own"]

_SCALES: dict[Unit, tuple[tuple[int, str, int], ...]] = {
    "ns": ((10**9, "s", 9), (10**6, "ms", 6), (10**3, "us", 3), (1, "ns", 0)),
    "bytes": ((GIB, "GiB", 9), (MIB, "MiB", 6), (KIB, "KiB", 3), (1, "B", 0)),
    "points": ((1, "points", 3),),
    "percent": ((1, "%", 3),),
    "times": ((1, "times", 3),),
    "own": ((1, "", 6),),
}
"""Unit to (size, symbol, most decimals), largest first; nothing is finer than 1 ns or 1 B."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, with the method that made it."""

    low: float
    high: float
    confidence: float
    method: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value in the unit its owner names, from n samples."""

    value: float
    n: int
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate, judged.

    Args:
        gate: its id, e.g. "accuracy_drop".
        title: what it asks, for a reader.
        unit: of bound and value.
        bound: the highest value that passes.
        measured: None when not measured.
        status: the verdict.
        reason: why it was not measured or is invalid; for pass and fail, whether the interval
            leaves room for the other outcome, or what failed.
        asked: the user set this bound; otherwise it is the target's default.
    """

    gate: str
    title: str
    unit: Unit
    bound: float
    measured: Estimate | None
    status: Status
    reason: str = ""
    asked: bool = False

    @property
    def missed(self) -> bool:
        """The user asked for it, and it was not measured."""
        return self.asked and self.status == "not measured"


def written(unit: Unit, first: float, *others: float) -> tuple[str, tuple[str, ...]]:
    """Values as text on one scale, with enough digits to tell the smallest from the largest.

    Args:
        unit: of the values.
        first: the value that picks the scale (so 1.2e6 ns picks ms) and gets three digits or more.

    Returns:
        The symbol, and the numbers without it in the order given.
    """
    scales = _SCALES[unit]
    size, symbol, most = next((s for s in scales if abs(first) >= s[0]), scales[-1])
    scaled = [value / size for value in (first, *others)]
    decimals = min(most, max(_three_digits(scaled[0]), _two_digits(max(scaled) - min(scaled))))
    return symbol, tuple(f"{value:.{decimals}f}" for value in _no_negative_zero(scaled, decimals))


def with_symbol(unit: Unit, value: float) -> str:
    """One value with its symbol, as short as it is exact to three digits: "10 ms", "1 point"."""
    symbol, (text,) = written(unit, value)
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text} {'point' if symbol == 'points' and text == '1' else symbol}".rstrip()


def _three_digits(value: float) -> int:
    return 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2


def _two_digits(spread: float) -> int:
    return math.ceil(-math.log10(spread)) + 1 if spread > 0 else 0


def _no_negative_zero(values: list[float], decimals: int) -> list[float]:
    return [round(value, decimals) + 0.0 for value in values]
