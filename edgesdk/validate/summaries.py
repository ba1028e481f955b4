"""Raw results to figures: latency, accuracy, agreement, speed-up. Pure; judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgesdk.validate.energy import Stretch, energy
from edgesdk.validate.statistics import (
    mcnemar_p,
    median_ratio,
    paired_difference,
    proportion,
    quantile,
)
from edgesdk.validate.turns import turns, within
from edgesdk.validate.validity import stamp
from edgesdk.values.report import AccuracySummary, ClassAccuracy, LatencySummary
from edgesdk.values.results import ModelRun, Predictions, Results
from edgesdk.values.verdict import Estimate, Interval


def summarize_latency(run: ModelRun) -> LatencySummary:
    """Quantiles of one model's latency, in nanoseconds."""
    samples, sizes = run.latency.samples_ns, run.latency.block_sizes
    return LatencySummary(
        role=run.role,
        n=len(samples),
        steady=run.latency.steady,
        minimum=Estimate(float(min(samples)), len(samples), None),
        p50=quantile(samples, 0.50, turns=sizes),
        p95=quantile(samples, 0.95, turns=sizes),
        p99=quantile(samples, 0.99, turns=sizes),
        energy=energy(tuple(_stretches(run))),
    )


def _stretches(run: ModelRun) -> Iterator[Stretch]:
    for turn in run.latency.turns:
        readings = within(run.latency, turn)
        yield Stretch(readings, (turn.ended_ns - turn.began_ns) / 1e9, turn.runs)


def speedup(results: Results) -> Estimate | None:
    """Float median over the converted model's; None unless both were timed and are valid."""
    slow, fast = results.run("float"), results.run("int8")
    if slow is None or fast is None:
        return None
    if not all(stamp(run, results.device).is_valid for run in (slow, fast)):
        return None
    return median_ratio(turns(slow.latency), turns(fast.latency))


def agreement_percent(predictions: Predictions) -> Estimate:
    """Share of samples that both models put in the same class, in percent."""
    pairs = zip(predictions.float_top1, predictions.int8_top1, strict=True)
    same = sum(a == b for a, b in pairs)
    return times(proportion(same, len(predictions.float_top1)), 100)


def summarize_accuracy(predictions: Predictions) -> AccuracySummary | None:
    """Accuracy of both models and what conversion cost; None without labels."""
    if predictions.labels is None:
        return None
    float_right = _right(predictions.float_top1, predictions.labels)
    int8_right = _right(predictions.int8_top1, predictions.labels)
    lost, gained = _discordant(float_right, int8_right)
    n = len(predictions.labels)
    return AccuracySummary(
        float_percent=times(proportion(sum(float_right), n), 100),
        int8_percent=times(proportion(sum(int8_right), n), 100),
        drop=times(paired_difference(lost, gained, n), 100),
        float_only=lost,
        int8_only=gained,
        mcnemar_p=mcnemar_p(lost, gained),
        classes=tuple(_classes(predictions.labels, float_right, int8_right)),
    )


def _right(top1: tuple[int, ...], labels: tuple[int, ...]) -> tuple[bool, ...]:
    return tuple(guess == label for guess, label in zip(top1, labels, strict=True))


def _discordant(first: Sequence[bool], second: Sequence[bool]) -> tuple[int, int]:
    pairs = list(zip(first, second, strict=True))
    return pairs.count((True, False)), pairs.count((False, True))


def _classes(
    labels: tuple[int, ...], float_right: Sequence[bool], int8_right: Sequence[bool]
) -> Iterator[ClassAccuracy]:
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    for label in sorted(members):
        first = [float_right[i] for i in members[label]]
        second = [int8_right[i] for i in members[label]]
        difference = paired_difference(*_discordant(first, second), len(first))
        yield ClassAccuracy(label, len(first), sum(first), sum(second), times(difference, 100))


def times(estimate: Estimate, factor: float) -> Estimate:
    """The estimate in another unit, `factor` of which make one of its own."""
    interval = estimate.interval and Interval(
        estimate.interval.low * factor,
        estimate.interval.high * factor,
        estimate.interval.confidence,
        estimate.interval.method,
    )
    return Estimate(estimate.value * factor, estimate.n, interval)
