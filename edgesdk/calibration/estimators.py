"""From what was seen of a tensor to the range that its quantized form covers."""

from __future__ import annotations

import numpy as np

from edgesdk.calibration.accumulator import BINS, Accumulator, Histogram
from edgesdk.calibration.entropy import least_divergence
from edgesdk.calibration.squared_error import least_squared_error
from edgesdk.calibration.types import Range
from edgesdk.choices import Method

PERCENTILE = 99.99
"""Share of the values, in percent, that the method "percentile" keeps inside."""


def needs_histogram(method: Method) -> bool:
    """Whether bounds alone do not do."""
    return method != "minmax"


def estimate(seen: Accumulator, method: Method, bits: int, symmetric: bool) -> Range:
    """The range of a tensor.

    Args:
        seen: with a histogram where `method` needs one.
        method: "minmax": all that was seen. "percentile": all but the largest and smallest values.
            "entropy": where the quantized distribution tells most of the real one. "mse": where
            rounding and clipping make the least squared error.
        bits: of the quantized form, 8 or 16.
        symmetric: its zero point is in the middle. The range returned need not be symmetric:
            whoever makes a scale of it takes the larger magnitude.

    Raises:
        ValueError: no histogram was collected and `method` needs one.
    """
    if method == "minmax":
        return Range(*seen.bounds)
    if seen.histogram is None:
        raise ValueError(f"the method {method!r} needs a histogram, found bounds only")
    if seen.histogram.bins_per_unit == 0:
        return Range(*seen.bounds)
    if method == "percentile":
        low, high = percentile(seen.histogram, PERCENTILE, symmetric)
    elif method == "entropy":
        low, high = least_divergence(seen.histogram, seen.bounds, bits)
    else:
        low, high = least_squared_error(seen.histogram, seen.bounds, bits, symmetric)
    return _within(low, high, seen.bounds)


def percentile(histogram: Histogram, percent: float, symmetric: bool) -> tuple[float, float]:
    """Edges of the bins at which the given share of the values is reached.

    Source: `HistogramCollector.compute_percentile` of ONNX Runtime (quantization/calibrate.py):
    of magnitudes where symmetric, else with half of the rest cut off on either side.
    """
    half = BINS // 2
    if symmetric:
        magnitudes = histogram.counts[half:] + histogram.counts[:half][::-1]
        edge = _reached(magnitudes, percent / 100) * histogram.width
        return -edge, edge
    cut = (100 - percent) / 200
    low, high = (_reached(histogram.counts, share) for share in (cut, 1 - cut))
    return (low - half) * histogram.width, (high - half) * histogram.width


def _reached(counts: np.ndarray[tuple[int], np.dtype[np.int64]], share: float) -> int:
    """The first bin with which the given share of the values is reached."""
    return int(np.searchsorted(np.cumsum(counts / counts.sum()), share))


def _within(low: float, high: float, bounds: tuple[float, float]) -> Range:
    """Nothing is gained by covering what was never seen; an edge may lie a bin beyond it."""
    low, high = (min(max(end, bounds[0]), bounds[1]) for end in (low, high))
    return Range(min(low, high), max(low, high))
