"""The range that makes the least mean squared error of quantization, from a histogram.

A value inside the range is rounded to the next level, one outside is moved to the outermost level.
Scale and zero point are those that ONNX Runtime makes of a range (`compute_scale_zp` in
quantization/quant_utils.py): zero is always a level. The bins' centres stand for their values;
where a step is not much wider than a bin they cannot, and rounding costs step**2 / 12, the variance
of a uniform error (B. Widrow, I. Kollar, "Quantization Noise", 2008, section 1.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from edgesdk.calibration.accumulator import BINS, Histogram

Floats = npt.NDArray[np.float64]

_CANDIDATES = 24
"""Ends of the range that are tried at once; then as many between the two beside the best."""
_REFINEMENTS = 2
_ROUNDS = 2
"""Both ends depend on one another a little: each is looked for again with the other one known."""
_SMALLEST_SHARE = 0.02
"""Of the largest value; less is never best, not even for 4 bits and normal values."""
_WIDE_STEP = 4
"""Bins a step, from which their centres do for their values."""


@dataclass(frozen=True, slots=True)
class _Values:
    """Centres of the bins that hold something, how many values they hold, and a bin's width."""

    centres: Floats
    counts: Floats
    width: float


def least_squared_error(
    histogram: Histogram, bounds: tuple[float, float], bits: int, symmetric: bool
) -> tuple[float, float]:
    """The best range with zero inside, not beyond `bounds` where these have zero inside."""
    values = _values(histogram)
    lowest, highest = min(bounds[0], 0.0), max(bounds[1], 0.0)
    if symmetric:
        end = _best(max(-lowest, highest), partial(_symmetric_errors, values, bits))
        return -end, end
    low, high = lowest, highest
    for _ in range(_ROUNDS):
        high = _best(highest, partial(_errors_above, values, bits, low))
        low = 0.0 - _best(-lowest, partial(_errors_below, values, bits, high))
    return low, high


def _values(histogram: Histogram) -> _Values:
    (places,) = np.nonzero(histogram.counts)
    centres = (places - BINS // 2 + 0.5) * histogram.width
    counts = histogram.counts[places].astype(np.float64)
    return _Values(np.asarray(centres, np.float64), counts, histogram.width)


def _best(largest: float, errors: Callable[[Floats], Floats]) -> float:
    """The magnitude up to `largest` with the least error."""
    if largest == 0:
        return 0.0
    start, end = _SMALLEST_SHARE * largest, largest
    for _ in range(1 + _REFINEMENTS):
        ends = np.linspace(start, end, _CANDIDATES)
        best = int(np.argmin(errors(ends)))
        start, end = ends[max(best - 1, 0)], ends[min(best + 1, _CANDIDATES - 1)]
    return float(ends[best])


def _symmetric_errors(values: _Values, bits: int, ends: Floats) -> Floats:
    steps = 2 * ends / (2**bits - 2)
    return _summed(values, steps, np.zeros_like(ends), 2.0 ** (bits - 1) - 1)


def _errors_above(values: _Values, bits: int, low: float, highs: Floats) -> Floats:
    return _errors(values, bits, np.full_like(highs, low), highs)


def _errors_below(values: _Values, bits: int, high: float, magnitudes: Floats) -> Floats:
    return _errors(values, bits, -magnitudes, np.full_like(magnitudes, high))


def _errors(values: _Values, bits: int, low: Floats, high: Floats) -> Floats:
    levels = 2**bits - 1
    steps = np.maximum(high - low, np.finfo(np.float32).tiny) / levels
    middle = levels / 2
    return _summed(values, steps, middle - np.round(-low / steps), middle)


def _summed(values: _Values, steps: Floats, offset: Floats, reach: float) -> Floats:
    """The error of each candidate, whose levels are the multiples of its step within `reach` of
    `offset`."""
    step = steps[:, None]
    levels = np.round(values.centres / step)
    lowest, highest = (offset - reach)[:, None], (offset + reach)[:, None]
    inside = (levels >= lowest) & (levels <= highest)
    kept = np.clip(levels, lowest, highest) * step
    error = np.square(values.centres - kept)
    fine = step < _WIDE_STEP * values.width
    error = np.where(inside & fine, step**2 / 12, error)
    return np.asarray(error @ values.counts)
