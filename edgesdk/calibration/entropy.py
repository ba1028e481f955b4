"""The range whose quantized distribution tells most of the real one (Kullback-Leibler).

Source: `HistogramCollector.get_entropy_threshold` of ONNX Runtime (quantization/calibrate.py),
after S. Migacz, "8-bit Inference with TensorRT", GTC 2017. Results are the same bin for bin, given
the same histogram; what is summed there value by value is here a difference of running sums.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesdk.calibration.accumulator import BINS, Histogram

LEVELS = 128
"""Bins of the quantized distribution, for 8 bits, as in ONNX Runtime and TensorRT."""
FIRST_BINS = 2048
"""Bins that cover the first sample; ONNX Runtime's `num_bins`, and TensorRT's number."""
_SMOOTHING = 0.0001

Counts = npt.NDArray[np.int64]


def least_divergence(
    histogram: Histogram, bounds: tuple[float, float], bits: int
) -> tuple[float, float]:
    """The range around zero that tells most, as edges of bins.

    For 16 bits there are more levels than bins, so no range tells less than the whole: that is it.
    """
    if bits > 8:
        return bounds
    counts, width = coarser(histogram, max(-bounds[0], bounds[1]))
    middle = counts.size // 2
    if middle <= LEVELS // 2:
        return bounds
    reaches = range(LEVELS // 2, middle + 1)
    running = np.concatenate(([0], np.cumsum(counts)))
    divergences = [_divergence(counts, running, middle, reach) for reach in reaches]
    best = reaches[int(np.argmin(divergences))]
    return -best * width, min(best + 1, middle) * width


def coarser(histogram: Histogram, largest: float) -> tuple[Counts, float]:
    """An even number of bins around zero that just hold `largest`, and their width.

    As many cover the first sample as in ONNX Runtime, unless later values are so much larger, four
    times at most, that the histogram has none so narrow left.
    """
    merged = max(1, round(BINS / FIRST_BINS * histogram.first_width / histogram.width))
    counts = histogram.counts.reshape(-1, merged).sum(axis=1)
    width = merged * histogram.width
    middle, reach = counts.size // 2, int(np.ceil(largest / width))
    return counts[middle - reach : middle + reach], width


def _divergence(counts: Counts, running: Counts, middle: int, reach: int) -> float:
    """Of the histogram cut off at `reach` bins from zero and of its form in `LEVELS` bins."""
    start, end = middle - reach, min(middle + reach + 1, counts.size)
    inside = counts[start:end]
    reference = inside.copy()
    reference[0] += running[start]
    reference[-1] += running[-1] - running[end]
    each = inside.size // LEVELS
    merged_size = each * LEVELS
    sums = inside[:merged_size].reshape(LEVELS, each).sum(axis=1)
    sums[-1] += running[end] - running[start + merged_size]
    nonzero = reference != 0
    filled = nonzero[:merged_size].reshape(LEVELS, each).sum(axis=1)
    levels = np.where(filled > 0, sums // np.maximum(filled, 1), 0)
    quantized = np.zeros_like(reference)
    quantized[:merged_size] = np.repeat(levels, each)
    if not nonzero.any() or not levels.any():
        return np.inf
    return _relative_entropy(_smoothed(reference, nonzero), _smoothed(quantized, quantized != 0))


def _smoothed(counts: Counts, nonzero: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """A little is taken from what there is and given to where there is nothing."""
    there = np.count_nonzero(nonzero)
    taken = _SMOOTHING * (counts.size - there) / there
    smoothed = counts.astype(np.float32)
    smoothed -= np.float32(taken)
    smoothed[~nonzero] = _SMOOTHING
    return smoothed


def _relative_entropy(
    reference: npt.NDArray[np.float32], quantized: npt.NDArray[np.float32]
) -> float:
    reference /= reference.sum()
    quantized /= quantized.sum()
    return float(np.sum(reference * np.log(reference / quantized)))
