"""Estimates with their uncertainty, and the verdicts made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "fail", "not measured", "invalid"]


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
        unit: of bound and value: "points", "ns", "bytes" or "percent".
        bound: the highest value that passes.
        measured: None when not measured.
        status: the verdict.
        reason: why it was not measured or is invalid; for pass and fail, whether the interval
            leaves room for the other outcome.
    """

    gate: str
    title: str
    unit: str
    bound: float
    measured: Estimate | None
    status: Status
    reason: str = ""
