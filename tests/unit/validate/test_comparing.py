"""Facts about two runs held against each other."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edgesdk.cli.render_compare import comparison
from edgesdk.serial import to_dict
from edgesdk.validate.comparing import ComparisonGates, Side, compare_runs, since_baseline
from edgesdk.values.comparison import Comparison
from edgesdk.values.metric import MetricSummary
from edgesdk.values.results import Results
from edgesdk.values.run import RunHead, SeenValidity, seen
from edgesdk.values.verdict import Estimate, Interval
from tests.unit.history.measurements import findings_of
from tests.unit.report.example import EVALUATION, example_results, example_run

NO_GATES = ComparisonGates()


def side(
    number: int, results: Results | None = None, *, data: str = EVALUATION.sha256, **more: Any
) -> Side:
    """A run as the history gives it."""
    document = to_dict(findings_of(results or example_results()))
    return Side(f"run {number}", data, seen(document, "it"), **more)


def compared_with(before: Side, after: Side, gates: ComparisonGates = NO_GATES) -> Comparison:
    head = RunHead(
        *(1, "0" * 64, "2026-03-14T15:09:26+00:00", "bench", "bench-pi", "board", "raspberry-pi-5"),
        *("keywords", "1.2.0", "0" * 64, "", "pass", "valid", None, None, None, None, False),
    )
    return compare_runs((head, head), before, after, gates)


def timed(int8_ns: int, float_ns: int = 8_412_000, **latency: Any) -> Results:
    return example_results(
        runs=(example_run("float", float_ns), example_run("int8", int8_ns, **latency))
    )


def placed(
    results: Results | None = None, *, name: str = "", kind: str = "board", **environment: Any
) -> Results:
    results = results or example_results()
    device = dataclasses.replace(
        results.device,
        name=name or results.device.name,
        kind=kind,
        environment=dataclasses.replace(results.device.environment, **environment),
    )
    return dataclasses.replace(results, device=device)


def latency(compared: Comparison, role: str = "int8") -> Any:
    return next(each for each in compared.latencies if each.role == role)


def guessing(wrong: int, *, of: int = 500, first: int = 0) -> Results:
    """Predictions of which `wrong` are, from number `first` on."""
    labels = tuple(int(i) for i in np.arange(of) % 10)
    int8 = tuple(
        (label + 1) % 10 if first <= i < first + wrong else label for i, label in enumerate(labels)
    )
    predictions = dataclasses.replace(
        example_results().predictions,
        labels=labels,
        float_top1=labels,
        int8_top1=int8,  # type: ignore[type-var]
    )
    return example_results(predictions=predictions)


def test_a_slower_run_is_slower_by_both_quantiles() -> None:
    compared = compared_with(side(1, timed(3_104_000)), side(2, timed(3_420_000)))
    found = latency(compared)
    assert found.word == "slower" and found.slower_chance > 0.9
    assert [change.probability for change in found.changes] == [0.5, 0.95]
    assert found.changes[0].ratio.value == pytest.approx(1.1, abs=0.01)
    assert compared.exit_code == 0


def test_a_faster_run_is_faster() -> None:
    compared = compared_with(side(1, timed(3_420_000)), side(2, timed(3_104_000)))
    assert latency(compared).word == "faster"


def test_the_same_measurement_shows_no_difference() -> None:
    compared = compared_with(side(1), side(2))
    assert latency(compared).word == latency(compared, "float").word == "no difference shown"
    assert compared.differences == ()


@pytest.mark.parametrize(
    "changes",
    [{"board": "Raspberry Pi 4"}, {"machine": "x86_64"}, {"cpu_model": "other"}, {"cpu_count": 2}],
)
def test_latencies_of_different_devices_are_not_compared(changes: dict[str, Any]) -> None:
    compared = compared_with(side(1), side(2, placed(**changes)))
    assert latency(compared).word == "cannot be compared"
    assert "different devices" in latency(compared).reason


def test_a_board_is_not_compared_with_a_virtual_device() -> None:
    compared = compared_with(side(1), side(2, placed(kind="python")))
    assert "found bench-pi, then bench-pi (virtual)" in latency(compared).reason


def test_two_boards_of_one_kind_are_compared_with_a_caution() -> None:
    compared = compared_with(side(1), side(2, placed(name="bench-pi-2")))
    assert latency(compared).reason == ""
    assert any("two boards of one kind" in caution for caution in compared.cautions)
    assert compared.differences[0].what == "device"


def test_emulated_latency_is_never_compared() -> None:
    compared = compared_with(side(1, placed(kind="arm64")), side(2, placed(kind="arm64")))
    assert "an emulated processor's latency is no device's" in latency(compared).reason


def test_two_virtual_measurements_say_that_they_are() -> None:
    compared = compared_with(side(1, placed(kind="python")), side(2, placed(kind="python")))
    assert any("virtual devices" in caution for caution in compared.cautions)


def test_what_else_differs_is_told() -> None:
    results = example_results()
    run = results.runs[1]
    opened = dataclasses.replace(
        run.opened,
        kernel_path="builtin",
        threads=1,
        runtime=dataclasses.replace(run.opened.runtime, version="2.4.0"),
    )
    changed = dataclasses.replace(
        placed(governor="powersave"),
        runs=(results.runs[0], dataclasses.replace(run, opened=opened)),
        installed=dataclasses.replace(results.installed, version="1.3.0", package_id="f" * 64),
    )
    found = {
        each.what: (each.before, each.after)
        for each in compared_with(side(1), side(2, changed)).differences
    }
    assert found == {
        "governor": ("performance", "powersave"),
        "runtime (converted)": ("ai-edge-litert 2.3.0", "ai-edge-litert 2.4.0"),
        "kernels (converted)": ("xnnpack", "builtin"),
        "threads (converted)": ("4", "1"),
        "package": ("keywords 1.2.0 (0123456789ab)", "keywords 1.3.0 (ffffffffffff)"),
    }


def test_a_run_that_never_settled_cannot_be_compared() -> None:
    compared = compared_with(side(1), side(2, timed(3_104_000, steady=False)))
    assert "run 2 is invalid" in latency(compared).reason


def test_what_the_report_says_of_a_latency_counts() -> None:
    results = side(2).results
    said = (
        SeenValidity("int8", ("The clock was throttled.",), ()),
        SeenValidity("float", (), ("Others took 7 % of the CPUs.",)),
    )
    stamped = Side("run 2", "", dataclasses.replace(results, validities=said))
    compared = compared_with(side(1), stamped)
    assert latency(compared).reason == "run 2 is invalid: The clock was throttled."
    assert "run 2: Others took 7 % of the CPUs." in compared.cautions


def test_a_run_without_turns_enough_cannot_be_compared() -> None:
    few = timed(3_104_000, samples_ns=(3_100_000,) * 40, block_sizes=(10,) * 4)
    assert "4 turns, expected 5 or more" in latency(compared_with(side(1), side(2, few))).reason


def test_a_control_that_moved_too_casts_doubt_on_the_package() -> None:
    compared = compared_with(
        side(1, timed(3_104_000, 8_412_000)), side(2, timed(3_420_000, 9_300_000))
    )
    assert any("the control, is slower, too" in caution for caution in compared.cautions)


def test_single_sessions_say_so_and_repeats_give_the_noise() -> None:
    once = compared_with(side(1), side(2))
    assert any("Each side is one session" in caution for caution in once.cautions)
    noisy = compared_with(
        side(1, repeats_ns=(3.0e6, 3.4e6)), side(2, timed(3_260_000), repeats_ns=(3.26e6,))
    )
    assert any("13.3 % apart" in caution for caution in noisy.cautions)


@pytest.mark.parametrize(
    ("after_ns", "bound", "code", "status"),
    [(3_420_000, 5, 1, "fail"), (3_420_000, 15, 0, "pass"), (3_104_000, 0, 0, "pass")],
)
def test_the_latency_gate(after_ns: int, bound: float, code: int, status: str) -> None:
    gates = ComparisonGates(max_latency_regression_percent=bound)
    compared = compared_with(side(1, timed(3_104_000)), side(2, timed(after_ns)), gates)
    assert (compared.exit_code, compared.verdicts[0].status) == (code, status)


def test_a_gate_on_what_cannot_be_compared_is_invalid() -> None:
    gates = ComparisonGates(max_latency_regression_percent=5)
    compared = compared_with(side(1), side(2, placed(kind="python")), gates)
    assert (compared.exit_code, compared.verdicts[0].status) == (6, "invalid")


def test_nothing_comparable_is_exit_code_6_without_any_gate() -> None:
    other = placed(example_results(predictions=None), kind="python")
    compared = compared_with(side(1, example_results(predictions=None)), side(2, other))
    assert (compared.exit_code, compared.outcome) == (6, "invalid")


def test_lost_accuracy_is_judged_on_pairs() -> None:
    compared = compared_with(side(1, guessing(10)), side(2, guessing(30)))
    found = compared.accuracy
    assert found is not None and found.word == "worse"
    assert (found.before_only, found.after_only) == (20, 0)
    assert found.drop is not None and found.drop.value == pytest.approx(4.0)


def test_as_many_mistakes_elsewhere_are_no_loss() -> None:
    compared = compared_with(side(1, guessing(20)), side(2, guessing(20, first=100)))
    assert compared.accuracy is not None and compared.accuracy.word == "no difference shown"


@pytest.mark.parametrize(("bound", "code"), [(1.0, 1), (5.0, 0)])
def test_the_accuracy_gate(bound: float, code: int) -> None:
    gates = ComparisonGates(max_accuracy_regression_points=bound)
    assert compared_with(side(1, guessing(10)), side(2, guessing(30)), gates).exit_code == code


def test_accuracy_on_other_data_cannot_be_compared() -> None:
    compared = compared_with(side(1), side(2, data="f" * 64))
    assert compared.accuracy is not None
    assert "evaluation data are not the same" in compared.accuracy.reason


def test_fields_that_another_version_added_are_no_hindrance() -> None:
    document = to_dict(findings_of())
    document["results"]["device"]["environment"]["new"] = 1
    document["another"] = {}
    assert seen(document, "it") == side(1).results


def test_a_short_measurement_beside_a_long_one_is_remarked() -> None:
    run = example_run("int8", 3_104_000)
    long, sizes = run.latency.samples_ns * 4, run.latency.block_sizes * 4
    longer = dataclasses.replace(
        run, latency=dataclasses.replace(run.latency, samples_ns=long, block_sizes=sizes)
    )
    one, four = example_results(runs=(run,)), example_results(runs=(longer,))
    said = " ".join(since_baseline(side(1, one), side(2, four)).cautions)
    assert "the shorter one saw less of heat" in said
    same = " ".join(since_baseline(side(1, one), side(2, one)).cautions)
    assert "the shorter one" not in same


def with_metric(number: int, value: float | None, *, data: str = EVALUATION.sha256) -> Side:
    """A run that measured a metric beyond top-1."""
    estimate = (
        None if value is None else Estimate(value, 640, Interval(value - 1, value + 1, 0.95, "b"))
    )
    metric = MetricSummary(
        *("f1", "F1", "higher", "own", estimate, estimate, estimate, 640, 0, 0, 0, "")
    )
    document = to_dict(dataclasses.replace(findings_of(example_results()), metrics=(metric,)))
    return Side(f"run {number}", data, seen(document, "it"))


def test_metrics_stand_side_by_side_with_their_own_intervals() -> None:
    compared = compared_with(with_metric(1, 90.0), with_metric(2, 85.0))
    (metric,) = compared.metrics
    assert (metric.title, metric.reason) == ("F1", "")
    assert metric.before is not None and metric.after is not None
    assert (metric.before.value, metric.after.value) == (90.0, 85.0)
    assert metric.before.interval == Interval(89.0, 91.0, 0.95, "b")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (with_metric(1, 90.0), side(2), "not in run 2"),
        (side(1), with_metric(2, 90.0), "not in run 1"),
        (with_metric(1, None), with_metric(2, None), "it is not defined for the samples"),
        (
            with_metric(1, 90.0),
            with_metric(2, 90.0, data="0" * 64),
            "their evaluation data are not",
        ),
    ],
    ids=["not after", "not before", "not defined", "other data"],
)
def test_metrics_that_say_nothing_of_each_other(before: Side, after: Side, reason: str) -> None:
    (metric,) = compared_with(before, after).metrics
    assert metric.reason.startswith(reason)


def test_metrics_are_shown() -> None:
    console = Console(file=io.StringIO(), width=100)
    comparison(console, compared_with(with_metric(1, 90.0), with_metric(2, 85.0)))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "F1 of the converted model: side by side: no outputs are kept to pair" in shown
    assert "89.0 to 91.0" in shown and "640" in shown
