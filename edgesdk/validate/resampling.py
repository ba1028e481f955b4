"""A metric of two models on the same samples, with a paired bootstrap interval. Pure: NumPy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesdk.validate.statistics import CONFIDENCE, MIN_TURNS, expanded_tail
from edgesdk.values.metric import Metric, MetricSummary, NotDefined, Outputs, Score, Truth
from edgesdk.values.verdict import Estimate, Interval

MOST_UNDEFINED = 0.05
"""Share of draws without a value beyond which no interval is given."""

_Floats = npt.NDArray[np.float64]


def summarize_metric(
    metric: Metric, outputs: Sequence[Outputs], truth: Truth, *, seed: int = 0
) -> MetricSummary:
    """Measure a metric of the float and of the converted model.

    Samples are drawn with replacement, and both models are scored on the same draw, so that what
    makes a sample easy or hard cancels: B. Efron and R. J. Tibshirani, An Introduction to the
    Bootstrap (1993), chapters 8 and 13; P. Koehn, EMNLP 2004, pages 388-395, for metrics that are
    no means. Percentile intervals, widened for small n as in `statistics.median_ratio`.

    Assumes samples drawn independently from what the device will meet.

    Args:
        outputs: of the float model and of the converted one.
        truth: what they ought to have been.
    """
    count, scale = len(outputs[0]), 100 if metric.unit == "percent" else 1
    scored = [_score(metric, each, truth) for each in outputs]
    summary = MetricSummary(
        name=metric.name,
        title=metric.title,
        better=metric.better,
        unit=metric.unit,
        float_value=_bare(scored[0], count, scale),
        int8_value=_bare(scored[1], count, scale),
        drop=None,
        samples=count,
        resamples=0,
        undefined=0,
        seed=seed,
        reason=_why_not(scored),
    )
    first, second = scored
    if isinstance(first, str) or isinstance(second, str):
        return summary
    drawn = _draws((first.score, second.score), count, metric.resamples, seed)
    defined = drawn[:, np.isfinite(drawn).all(axis=0)]
    undefined = drawn.shape[1] - defined.shape[1]
    worse = 1 if metric.better == "higher" else -1
    usable = count >= MIN_TURNS and undefined <= MOST_UNDEFINED * metric.resamples

    def estimate(value: float, draws: _Floats) -> Estimate:
        interval = _interval(value * scale, draws * scale, count) if usable else None
        return Estimate(value * scale, count, interval)

    return dataclasses.replace(
        summary,
        float_value=estimate(first.whole, defined[0]),
        int8_value=estimate(second.whole, defined[1]),
        drop=estimate(worse * (first.whole - second.whole), worse * (defined[0] - defined[1])),
        resamples=metric.resamples,
        undefined=undefined,
    )


@dataclass(frozen=True, slots=True)
class _Scored:
    """One model: its value over all samples, and what gives it for others."""

    whole: float
    score: Score


def _score(metric: Metric, outputs: Outputs, truth: Truth) -> _Scored | str:
    """The reason where the metric is not defined for them."""
    try:
        score = metric.prepare(outputs, truth)
        whole = score(np.arange(len(outputs)))
    except NotDefined as error:
        return str(error)
    return _Scored(whole, score) if math.isfinite(whole) else f"{metric.name} gave {whole:g}"


def _bare(scored: _Scored | str, count: int, scale: int) -> Estimate | None:
    return None if isinstance(scored, str) else Estimate(scored.whole * scale, count, None)


def _why_not(scored: Sequence[_Scored | str]) -> str:
    """Of both models, or of the one that has no value."""
    reasons = [each if isinstance(each, str) else "" for each in scored]
    if reasons[0] == reasons[1]:
        return reasons[0]
    named = zip(("of the float model", "of the converted model"), reasons, strict=True)
    return "; ".join(f"{which}, {reason}" for which, reason in named if reason)


def _draws(scores: Sequence[Score], count: int, resamples: int, seed: int) -> _Floats:
    """Both scores on each draw, shape (2, resamples); NaN where they are not defined."""
    random = np.random.default_rng(seed)
    found = np.empty((len(scores), resamples))
    for i in range(resamples):
        chosen = random.integers(count, size=count)
        found[:, i] = [_value(score, chosen) for score in scores]
    return found


def _value(score: Score, chosen: npt.NDArray[np.intp]) -> float:
    try:
        return score(chosen)
    except NotDefined:
        return math.nan


def _interval(value: float, draws: _Floats, count: int) -> Interval:
    tail = expanded_tail(count)
    low, high = (float(end) for end in np.quantile(draws, [tail, 1 - tail]))
    return Interval(
        min(low, value), max(high, value), CONFIDENCE, f"paired bootstrap, {draws.size} resamples"
    )
