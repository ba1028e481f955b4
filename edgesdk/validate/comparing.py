"""Two stored runs held against each other: what else differs, what moved, and is it chance. Pure.

Latency of two different devices is not compared at all, nor that of a board with that of a virtual
device. What may explain a change by itself (runtime, threads, kernels, governor) is told first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edgesdk.errors import ExitCode
from edgesdk.validate.gates import exit_code, outcome
from edgesdk.validate.judging import doubt
from edgesdk.validate.regression import TwoRuns
from edgesdk.validate.statistics import (
    MIN_TURNS,
    mcnemar_p,
    paired_difference,
    proportion,
    samples_needed,
)
from edgesdk.validate.summaries import times
from edgesdk.values.comparison import (
    AccuracyComparison,
    AccuracyWord,
    Comparison,
    MetricComparison,
)
from edgesdk.values.latency_comparison import (
    Difference,
    LatencyComparison,
    LatencyWord,
    QuantileChange,
    SinceBaseline,
)
from edgesdk.values.results import Role
from edgesdk.values.run import RunHead, SeenEstimate, SeenModel, SeenResults, place
from edgesdk.values.verdict import Estimate, Interval, Status, Unit, Verdict

ALPHA = 0.05
UNEQUAL_TIMES = 3
"""Measurements that took so many times longer than others met other conditions. Ours, by reason and
no source: with the same `--seconds` both take about that long, whatever the models' speed; it takes
other `--seconds`, or a model of very slow runs, to differ so much. It is remarked only."""
_PROBABILITIES = (0.5, 0.95)
_SAME: Final = "no difference shown"
_ROLES: tuple[Role, ...] = ("int8", "float")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs.

    Args:
        called: what to call it, e.g. "run 12-3fa9c2d1", or "this run" while it is not yet kept.
        data_sha256: of the evaluation data; "" without such.
        results: read from the run.
        repeats_ns: medians of the converted model in all kept runs of this very package on this
            device, this run among them.
    """

    called: str
    data_sha256: str
    results: SeenResults
    repeats_ns: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ComparisonGates:
    """How much worse the later run may be; None where there is no gate.

    Args:
        max_latency_regression_percent: of the converted model's median and 95th percentile.
        max_accuracy_regression_points: of its top-1 accuracy.
    """

    max_latency_regression_percent: float | None = None
    max_accuracy_regression_points: float | None = None


def compare_runs(
    heads: tuple[RunHead, RunHead],
    before: Side,
    after: Side,
    gates: ComparisonGates = ComparisonGates(),
) -> Comparison:
    """What became of the earlier run in the later one."""
    latencies = tuple(_latencies(before, after))
    accuracy = _accuracy(before, after)
    metrics = tuple(_metrics(before, after))
    verdicts = tuple(_verdicts(latencies, accuracy, gates, before.called))
    reasons = [each.reason for each in latencies] + [each.reason for each in metrics]
    compared = "" in reasons or (accuracy is not None and not accuracy.reason)
    code = exit_code(verdicts)
    if not compared and code == ExitCode.PASSED:
        code = ExitCode.INVALID_MEASUREMENT
    return Comparison(
        before=heads[0],
        after=heads[1],
        differences=tuple(_differences(before, after)),
        latencies=latencies,
        accuracy=accuracy,
        metrics=metrics,
        cautions=(*_order(heads), *_cautions(before, after, latencies)),
        verdicts=verdicts,
        outcome=outcome(verdicts) if compared else "invalid",
        exit_code=int(code),
    )


def since_baseline(before: Side, now: Side) -> SinceBaseline:
    """The converted model's latency of a new measurement held against an earlier run's."""
    latency = compare_latency("int8", before, now)
    return SinceBaseline(
        baseline=before.called,
        differences=tuple(_differences(before, now)),
        latency=latency,
        cautions=tuple(_cautions(before, now, (latency,))),
    )


def latency_verdict(
    compared: LatencyComparison, bound_percent: float, before: str, *, asked: bool = True
) -> Verdict:
    """Whether the converted model became slower than a bound allows.

    It fails only where the change is beyond the bound and the test shows it: by the median, or by
    the 95th percentile.
    """
    if compared.reason:
        return _verdict(
            *("latency_regression", _latency_title(before), bound_percent, None, "invalid"),
            reason=compared.reason,
            asked=asked,
        )
    beyond = [
        change
        for change in compared.changes
        if change.word == "slower" and _percent(change.ratio).value > bound_percent
    ]
    told = max(beyond or compared.changes[:1], key=lambda change: change.ratio.value)
    measured = _percent(told.ratio)
    return _verdict(
        *("latency_regression", _latency_title(before), bound_percent, measured),
        "fail" if beyond else "pass",
        reason=_doubt(measured, bound_percent, bool(beyond), "percent"),
        asked=asked,
    )


def compare_latency(role: Role, before: Side, after: Side) -> LatencyComparison:
    """One role's latency, or why it cannot be compared."""
    first, second = before.results.run(role), after.results.run(role)
    if reason := _why_not(before, after, first, second):
        return LatencyComparison(role, "cannot be compared", reason, None, ())
    assert first is not None and second is not None
    runs = TwoRuns(first.latency.turns(), second.latency.turns())
    chance, rank_p = runs.slower_chance()
    changes = []
    for probability in _PROBABILITIES:
        shift = runs.shift(probability)
        if shift is not None:
            p = rank_p if probability == 0.5 else shift.p
            word = _word(shift.ratio, p)
            changes.append(
                QuantileChange(probability, shift.before, shift.after, shift.ratio, p, word)
            )
    moved = (change.word for change in changes if change.word != _SAME)
    return LatencyComparison(role, next(moved, _SAME), "", chance, tuple(changes))


def _latencies(before: Side, after: Side) -> Iterator[LatencyComparison]:
    for role in _ROLES:
        both = before.results.run(role) and after.results.run(role)
        either = before.results.runs or after.results.runs
        if both or (role == "int8" and either):
            yield compare_latency(role, before, after)


def _why_not(before: Side, after: Side, first: SeenModel | None, second: SeenModel | None) -> str:
    """Why two latencies say nothing about each other; "" where they do."""
    if reason := _other_device(before.results, after.results):
        return reason
    if before.results.unbroken is not after.results.unbroken:
        long, other = (before, after) if before.results.unbroken else (after, before)
        return (
            f"{long.called} ran without a pause and {other.called} in turns, which is another"
            " latency: hold it against another bench --sustained"
        )
    for side, run in ((before, first), (after, second)):
        if run is None:
            return f"{side.called} timed no such model"
        if invalid := side.results.why_invalid(run.role):
            return f"{side.called} is invalid: {invalid}"
        if side.results.unbroken and not run.latency.samples_ns:
            return f"{side.called} has no part in which its latency is known to have settled"
        if not run.latency.steady:
            return f"{side.called} is invalid: its latency was still falling"
        turns = sum(1 for size in run.latency.block_sizes if size)
        if turns < MIN_TURNS:
            return f"{side.called} has {turns} turns, expected {MIN_TURNS} or more"
        if len(run.latency.samples_ns) < samples_needed(0.5):
            return f"{side.called} has {len(run.latency.samples_ns)} timed runs"
    return ""


def _other_device(before: SeenResults, after: SeenResults) -> str:
    one, other = before.device, after.device
    first, second = place(one.name, one.kind), place(other.name, other.kind)
    if "arm64" in (one.kind, other.kind):
        return f"an emulated processor's latency is no device's: found {first}, then {second}"
    if one.kind != other.kind:
        return f"different kinds of device are not compared: found {first}, then {second}"
    for what, a, b in (
        ("board", one.environment.board, other.environment.board),
        ("machine", one.environment.machine, other.environment.machine),
        ("processor", one.environment.cpu_model, other.environment.cpu_model),
        ("CPUs", one.environment.cpu_count, other.environment.cpu_count),
    ):
        if a != b:
            return f"they were measured on different devices: {what} {a or '?'}, then {b or '?'}"
    return ""


def _word(ratio: Estimate, p: float) -> LatencyWord:
    """Two quantiles are looked at, so that each is tested at half of 5 %."""
    if ratio.interval is None or p > ALPHA / len(_PROBABILITIES):
        return "no difference shown"
    if ratio.interval.low > 1:
        return "slower"
    return "faster" if ratio.interval.high < 1 else "no difference shown"


def _accuracy(before: Side, after: Side) -> AccuracyComparison | None:
    first, second = before.results.predictions, after.results.predictions
    if first is None and second is None:
        return None
    for side, found in ((before, first), (after, second)):
        if found is None:
            return _incomparable(f"{side.called} predicted nothing")
        if found.labels is None:
            return _incomparable(f"the data of {side.called} carry no labels")
    assert first is not None and second is not None
    if before.data_sha256 != after.data_sha256:
        return _incomparable("their evaluation data are not the same (by SHA-256)")
    if first.labels != second.labels:
        return _incomparable("the same samples are labelled otherwise")
    assert first.labels is not None
    right = [
        [guess == label for guess, label in zip(run.int8_top1, first.labels, strict=True)]
        for run in (first, second)
    ]
    pairs = list(zip(*right, strict=True))
    lost, gained, n = pairs.count((True, False)), pairs.count((False, True)), len(pairs)
    drop, p = times(paired_difference(lost, gained, n), 100), mcnemar_p(lost, gained)
    return AccuracyComparison(
        word=_accuracy_word(drop, p),
        reason="",
        before_percent=times(proportion(sum(right[0]), n), 100),
        after_percent=times(proportion(sum(right[1]), n), 100),
        drop=drop,
        before_only=lost,
        after_only=gained,
        mcnemar_p=p,
    )


def _metrics(before: Side, after: Side) -> Iterator[MetricComparison]:
    """Side by side: values are kept, and no outputs to pair."""
    sides = (before, after)
    found = [{each.name: each for each in side.results.metrics} for side in sides]
    for name in dict.fromkeys((*found[0], *found[1])):
        told = next(each[name] for each in found if name in each)
        values = [_estimate(each[name].int8_value) if name in each else None for each in found]
        lacking = [each.called for each, has in zip(sides, found, strict=True) if name not in has]
        reason = ""
        if lacking:
            reason = f"not in {lacking[0]}"
        elif None in values:
            reason = "it is not defined for the samples (edgesdk runs show says why)"
        elif before.data_sha256 != after.data_sha256:
            reason = "their evaluation data are not the same (by SHA-256)"
        unit: Literal["percent", "own"] = "percent" if told.unit == "percent" else "own"
        yield MetricComparison(told.name, told.title, unit, reason, *values)


def _estimate(found: SeenEstimate | None) -> Estimate | None:
    if found is None:
        return None
    interval = found.interval and Interval(**vars(found.interval))
    return Estimate(found.value, found.n, interval or None)


def _incomparable(reason: str) -> AccuracyComparison:
    return AccuracyComparison("cannot be compared", reason, None, None, None, 0, 0, None)


def _accuracy_word(drop: Estimate, p: float) -> AccuracyWord:
    if p > ALPHA or drop.value == 0:
        return "no difference shown"
    return "worse" if drop.value > 0 else "better"


def _differences(before: Side, after: Side) -> Iterator[Difference]:
    for what, a, b in _facts(before, after):
        if a != b:
            yield Difference(what, str(a or "-"), str(b or "-"))


def _facts(before: Side, after: Side) -> Iterator[tuple[str, object, object]]:
    one, other = before.results, after.results
    yield "device", _device(one), _device(other)
    for name in ("board", "machine", "cpu_model", "cpu_count", "kernel", "governor"):
        what = name.replace("_", " ").replace("cpu", "CPU")
        yield what, getattr(one.device.environment, name), getattr(other.device.environment, name)
    for role in _ROLES:
        first, second = one.run(role), other.run(role)
        if first is None or second is None:
            continue
        title = "converted" if role == "int8" else "float"
        for what, a, b in zip(
            ("runtime", "kernels", "threads"), _setting(first), _setting(second), strict=True
        ):
            yield f"{what} ({title})", a, b
    yield "package", _package(one), _package(other)
    if one.predictions and other.predictions:
        yield "evaluation data", before.data_sha256[:12], after.data_sha256[:12]


def _device(results: SeenResults) -> str:
    return place(results.device.name, results.device.kind)


def _setting(run: SeenModel) -> tuple[str, str, int]:
    opened = run.opened
    runtime = f"{opened.runtime.package} {opened.runtime.version}"
    return runtime, opened.kernel_path, opened.threads


def _package(results: SeenResults) -> str:
    installed = results.installed
    return f"{installed.name} {installed.version} ({installed.package_id[:12]})"


def _order(heads: tuple[RunHead, RunHead]) -> Iterator[str]:
    if heads[0].created > heads[1].created:
        yield (
            f"Run {heads[0].id}, which is held as the earlier one, was made after run"
            f" {heads[1].id}."
        )


def _cautions(before: Side, after: Side, latencies: Sequence[LatencyComparison]) -> Iterator[str]:
    compared = {each.role: each for each in latencies if not each.reason}
    if not compared:
        return
    one, other = before.results.device, after.results.device
    if one.kind != "board":
        yield (
            "Both were measured on virtual devices: the latencies are those of the workstation,"
            " and so is what moved."
        )
    names = [side.results.installed.name for side in (before, after)]
    if names[0] != names[1]:
        yield f"They are of two packages, {names[0]} and {names[1]}, and may be of two networks."
    yield from _unequal_times(before, after)
    if one.name != other.name:
        yield f"{one.name} and {other.name} may be two boards of one kind; boards differ, too."
    if "int8" in compared:
        yield from _session_caution(compared["int8"], before, after)
    if "float" in compared and compared["float"].word in ("slower", "faster"):
        yield (
            f"The float model, the control, is {compared['float'].word}, too: what changed may be"
            " the device, its load or the float model itself rather than the package."
        )
    for side in (before, after):
        for role in compared:
            yield from (f"{side.called}: {each}" for each in side.results.remarks(role))


def _unequal_times(before: Side, after: Side) -> Iterator[str]:
    if before.results.unbroken:  # Of these only a part of the samples is kept.
        return
    seconds = [
        sum(run.latency.samples_ns) / 1e9 if (run := side.results.run("int8")) else 0.0
        for side in (before, after)
    ]
    if min(seconds) > 0 and max(seconds) > UNEQUAL_TIMES * min(seconds):
        yield (
            f"The converted model was timed for {seconds[0]:.2g} s in one and {seconds[1]:.2g} s in"
            " the other: the shorter one saw less of heat and of what else the device does."
        )


def _session_caution(compared: LatencyComparison, before: Side, after: Side) -> Iterator[str]:
    """Memory layout, temperature and what else runs differ from session to session.

    An interval made within one session does not know of them: T. Kalibera and R. Jones, Rigorous
    benchmarking in reasonable time, ISMM 2013.
    """
    change = abs(compared.changes[0].ratio.value - 1) * 100
    repeated = [side.repeats_ns for side in (before, after) if len(side.repeats_ns) > 1]
    if not repeated:
        yield (
            "Each side is one session, and sessions of the very same package differ, too, which"
            " the interval does not know of: measure each again."
        )
        return
    spread = max(max(medians) / min(medians) - 1 for medians in repeated) * 100
    if compared.word != _SAME and spread >= change:
        yield (
            f"The medians of one and the same package on {before.results.device.name} lie up to"
            f" {spread:.1f} % apart in the runs that are kept, no less than the {change:.1f} %"
            " found here."
        )


def _verdicts(
    latencies: Sequence[LatencyComparison],
    accuracy: AccuracyComparison | None,
    gates: ComparisonGates,
    before: str,
) -> Iterator[Verdict]:
    if gates.max_latency_regression_percent is not None:
        converted = next((each for each in latencies if each.role == "int8"), None)
        yield latency_verdict(converted or _untimed(), gates.max_latency_regression_percent, before)
    if gates.max_accuracy_regression_points is not None:
        bound = gates.max_accuracy_regression_points
        yield _accuracy_verdict(accuracy, bound, f"Accuracy lost since {before}")


def _untimed() -> LatencyComparison:
    return LatencyComparison("int8", "cannot be compared", "neither run timed it", None, ())


def _accuracy_verdict(accuracy: AccuracyComparison | None, bound: float, title: str) -> Verdict:
    if accuracy is None or accuracy.drop is None:
        reason = "neither run predicted anything" if accuracy is None else accuracy.reason
        return Verdict(
            "accuracy_regression", title, "points", bound, None, "invalid", reason, asked=True
        )
    failed = accuracy.word == "worse" and accuracy.drop.value > bound
    return Verdict(
        *("accuracy_regression", title, "points", bound, accuracy.drop),
        "fail" if failed else "pass",
        _doubt(accuracy.drop, bound, failed, "points"),
        asked=True,
    )


def _latency_title(before: str) -> str:
    return f"Latency added since {before}"


def _verdict(
    gate: str,
    title: str,
    bound: float,
    measured: Estimate | None,
    status: Status,
    *,
    reason: str,
    asked: bool,
) -> Verdict:
    return Verdict(gate, title, "percent", bound, measured, status, reason, asked)


def _percent(ratio: Estimate) -> Estimate:
    """By how many percent it became slower."""
    interval = ratio.interval and Interval(
        100 * (ratio.interval.low - 1),
        100 * (ratio.interval.high - 1),
        ratio.interval.confidence,
        ratio.interval.method,
    )
    return Estimate(100 * (ratio.value - 1), ratio.n, interval)


def _doubt(measured: Estimate, bound: float, failed: bool, unit: Unit) -> str:
    if not failed and measured.value > bound:
        return "within uncertainty: beyond the bound, but no difference is shown"
    return doubt(unit, bound, measured, not failed)
