"""What is kept of one tensor while samples stream by: its bounds and, if wanted, a histogram.

The size does not depend on how many values are seen. Only integers and exact bounds are kept, so
the result does not depend on how the values after the first sample are cut into pieces either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BINS = 8192
"""Of a histogram, at least a quarter of them on the side of zero that has the larger values."""

LARGEST = 3e38
"""Beyond it lie the infinities that stand for "minus infinity" in masks and padding."""

_HALF = BINS // 2
_SMALLEST = 2.0**-100
"""Smaller values count as this: bins for them would be too many a unit for float32."""
_CHUNK = 2**15
"""Values binned at once: few enough for what is made of them to stay in the processor's cache."""


class NotANumber(ValueError):
    """A value is NaN."""


@dataclass(slots=True)
class Histogram:
    """Counts of values in `BINS` bins of one width, zero being the edge in the middle.

    The first values other than zero set the width, so that they just fit, as ONNX Runtime's
    calibrators do; where larger ones come, neighbouring bins are merged and the width doubles.
    Bin i holds the values from (i - BINS / 2) * width up to, not including, one width more.

    Args:
        counts: int64 of shape (BINS,).
        bins_per_unit: 1 / width, a float32; 0 until a value other than zero has been seen.
        first_width: the width at the start; 0 as long as there is none.
    """

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    bins_per_unit: float = 0.0
    first_width: float = 0.0

    @property
    def width(self) -> float:
        """Of a bin, in the tensor's unit; 1 where every value is zero."""
        return 1 / self.bins_per_unit if self.bins_per_unit else 1.0

    def add(self, values: Array, largest: float) -> None:
        """Count values of one dimension, none of them larger than `largest` in magnitude."""
        self._reach(largest)
        if self.bins_per_unit == 0:
            self.counts[_HALF] += values.size
            return
        for start in range(0, values.size, _CHUNK):
            self.counts += _counts(values[start : start + _CHUNK], self.bins_per_unit)

    def _reach(self, largest: float) -> None:
        if largest == 0:
            return
        if self.bins_per_unit == 0:
            self.bins_per_unit = _bins_per_unit(largest)
            self.first_width = self.width
        while not _fits(largest, self.bins_per_unit):
            merged = self.counts.reshape(_HALF, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[_HALF // 2 : _HALF // 2 + _HALF] = merged
            self.bins_per_unit /= 2


def _bins_per_unit(largest: float) -> float:
    """The most for which `largest` still falls into the last bin."""
    found = np.float32(_HALF / max(largest, _SMALLEST))
    while not _fits(largest, float(found)):
        found = np.nextafter(found, np.float32(0))
    return float(found)


def _fits(largest: float, bins_per_unit: float) -> bool:
    """Whether the value is below the last bin's edge, computed in float32 as for all values.

    Halving is exact there, so a value's bin after merging is the one it would have had at once.
    """
    with np.errstate(over="ignore"):
        return bool(np.float32(largest) * np.float32(bins_per_unit) < _HALF)


def _counts(values: Array, bins_per_unit: float) -> npt.NDArray[np.int64]:
    places = np.multiply(values, np.float32(bins_per_unit), dtype=np.float32)
    np.floor(places, out=places)
    places += _HALF
    return np.bincount(places.astype(np.intp), minlength=BINS)


@dataclass(frozen=True, slots=True)
class Summary:
    """A tensor on one sample, without what is beyond `LARGEST`.

    Args:
        low: smallest value, NaN if any is; with `high`, infinite and the wrong way round if there
            is none.
        high: largest value.
        values: all of them, float32 of one dimension; None where bounds are all that is wanted.
    """

    low: float
    high: float
    values: Array | None

    @classmethod
    def of(cls, values: Array, counted: bool) -> Summary:
        """Of float32 or float16 values of any shape, which are kept if they are to be counted."""
        flat = np.asarray(values, np.float32).reshape(-1)
        low, high = _bounds(flat)
        if low <= -LARGEST or high >= LARGEST:
            flat = flat[np.abs(flat) < LARGEST]
            low, high = _bounds(flat)
        return cls(low, high, flat if counted else None)


def _bounds(flat: Array) -> tuple[float, float]:
    return (float(flat.min()), float(flat.max())) if flat.size else (np.inf, -np.inf)


@dataclass(slots=True)
class Accumulator:
    """What has been seen of one tensor.

    Args:
        histogram: None where bounds are all that is wanted.
        low: smallest value; with `high`, infinite and the wrong way round until one is seen.
        high: largest value.
    """

    histogram: Histogram | None
    low: float = np.inf
    high: float = -np.inf

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value; zero twice where none was seen."""
        return (self.low, self.high) if self.low <= self.high else (0.0, 0.0)

    def add(self, values: Array) -> None:
        """See a tensor's values on one more sample; what is beyond `LARGEST` is left out.

        Args:
            values: float32 or float16, of any shape.

        Raises:
            NotANumber: one of them is NaN; then nothing has been added.
        """
        self.add_summary(Summary.of(values, counted=self.histogram is not None))

    def add_summary(self, seen: Summary) -> None:
        """As `add`, of values that have been looked at elsewhere.

        Raises:
            NotANumber: one of them is NaN; then nothing has been added.
        """
        if np.isnan(seen.low):
            raise NotANumber
        self.low, self.high = min(self.low, seen.low), max(self.high, seen.high)
        if self.histogram is not None and seen.values is not None and seen.values.size:
            self.histogram.add(seen.values, max(-seen.low, seen.high))
