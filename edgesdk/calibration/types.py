"""What calibration results in, and the ways to get there."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """The values of a tensor that are worth representing, from `low` to `high`, both finite.

    Whether zero is inside is the business of whoever makes scale and zero point from it.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"[{self.low}, {self.high}] is not a finite range")
