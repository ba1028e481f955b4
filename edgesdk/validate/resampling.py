"""A metric of two models on the same samples, with a paired bootstrap interval. Pure: NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgesdk.validate.statistics import CONFIDENCE, MIN_TURNS, expanded_tail
from edgesdk.values.metric import Metric, MetricSummary, Outputs, Score, Truth
from edgesdk.values.verdict import Estimate, Interval

MOST_UNDEFINED = 0.05
"""Share of draws without a value beyond which no interval is given."""

_Floats = npt.NDArray[np.float64]


def summarize_metric(
    metric: Metric, outputs: Sequence[Outputs], truth: Truth, *, seed: int = 0
) -> MetricSummary | None:
    """Measure a metric of the float and of the converted model.

    Samples are drawn with replacement, and both models are scored on the same draw, so that what
    makes a sample easy or hard cancels: B. Efron and R. J. Tibshirani, An Introduction to the
    Bootstrap (1993), chapters 8 and 13; P. Koehn, EMNLP 2004, pages 388-395, for metrics that are
    no means. Percentile intervals, widened for small n as in `statistics.median_ratio`.

    Assumes samples drawn independently from what the device will meet.

    Args:
        outputs: of the float model and of the converted one.
        truth: what they ought to have been.

    Returns:
        None where the metric is not defined for the samples at all.
    """
    count = len(outputs[0])
    scores = [metric.prepare(each, truth) for each in outputs]
    everything = np.arange(count)
    whole = [score(everything) for score in scores]
    if not all(map(math.isfinite, whole)):
        return None
    drawn = _draws(scores, count, metric.resamples, seed)
    defined = drawn[:, np.isfinite(drawn).all(axis=0)]
    undefined = drawn.shape[1] - defined.shape[1]
    worse = 1 if metric.better == "higher" else -1
    usable = count >= MIN_TURNS and undefined <= MOST_UNDEFINED * metric.resamples
    scale = 100 if metric.unit == "percent" else 1

    def estimate(value: float, draws: _Floats) -> Estimate:
        interval = _interval(value * scale, draws * scale, count) if usable else None
        return Estimate(value * scale, count, interval)

    return MetricSummary(
        name=metric.name,
        title=metric.title,
        better=metric.better,
        unit=metric.unit,
        float_value=estimate(whole[0], defined[0]),
        int8_value=estimate(whole[1], defined[1]),
        drop=estimate(worse * (whole[0] - whole[1]), worse * (defined[0] - defined[1])),
        resamples=metric.resamples,
        undefined=undefined,
        seed=seed,
    )


def _draws(scores: Sequence[Score], count: int, resamples: int, seed: int) -> _Floats:
    """Both scores on each draw, shape (2, resamples)."""
    random = np.random.default_rng(seed)
    found = np.empty((len(scores), resamples))
    for i in range(resamples):
        chosen = random.integers(count, size=count)
        found[:, i] = [score(chosen) for score in scores]
    return found


def _interval(value: float, draws: _Floats, count: int) -> Interval:
    tail = expanded_tail(count)
    low, high = (float(end) for end in np.quantile(draws, [tail, 1 - tail]))
    return Interval(
        min(low, value), max(high, value), CONFIDENCE, f"paired bootstrap, {draws.size} resamples"
    )
