"""Facts about where the charts put things."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.report.charts import (
    MOST_CLASSES,
    MOST_POINTS,
    WIDTH,
    class_chart,
    cumulative_chart,
    gauge,
    run_chart,
    size_bar,
)
from edgesdk.validate.summaries import summarize_accuracy, summarize_latency
from edgesdk.values.results import Predictions
from edgesdk.values.verdict import Verdict
from tests.unit.report.example import example_report, example_results, example_run


def numbers(path: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", path)]


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**11), min_size=1, max_size=300))
def test_any_samples_are_drawn_inside_the_frame(samples: list[int]) -> None:
    run = example_run("int8", 1, 1, samples_ns=tuple(samples), block_sizes=(len(samples),))
    chart = run_chart(run, summarize_latency(run))
    drawn = chart.dots.count("M") + chart.arrows.count("M")
    assert drawn == len(samples)
    for bar in chart.bars:
        assert chart.top - 0.2 <= bar.y <= bar.y + bar.height <= chart.bottom + 0.2
    for x, y, *_ in (numbers(dot) for dot in chart.dots.split("M")[1:]):
        assert chart.left <= x <= chart.right and chart.top <= y <= chart.bottom
    overall = cumulative_chart([run])
    assert overall is not None
    for x in numbers(" ".join(re.findall(r"H\S+", overall.curves[0].path))):
        assert overall.left <= x <= overall.right


def test_many_runs_are_thinned_and_the_chart_says_so() -> None:
    run = example_run("int8", 1, 1, samples_ns=tuple(range(1, 6001)), block_sizes=(3000, 3000))
    chart = run_chart(run, summarize_latency(run))
    assert chart.every == 4
    assert chart.dots.count("M") <= MOST_POINTS


def test_far_outliers_do_not_squeeze_the_rest_and_are_counted() -> None:
    samples = (1_000_000, 1_010_000, 1_020_000) * 40 + (90_000_000,)
    run = example_run("int8", 1, 1, samples_ns=samples, block_sizes=(121,))
    chart = run_chart(run, summarize_latency(run))
    assert (chart.beyond, chart.slowest) == (1, "90.0 ms")
    heights = {y for _, y, *_ in (numbers(dot) for dot in chart.dots.split("M")[1:])}
    assert max(heights) - min(heights) > 50


def test_both_models_share_an_axis_from_zero() -> None:
    chart = cumulative_chart(example_results().runs)
    assert chart is not None
    assert chart.x_ticks[0].text in ("0", "0.0") and chart.x_ticks[0].at == chart.left
    float_curve, int8_curve = chart.curves
    assert int8_curve.label_x < float_curve.label_x


def test_without_runs_there_is_no_chart() -> None:
    assert cumulative_chart(()) is None
    assert class_chart(()) is None


def test_the_package_is_drawn_in_proportion_to_its_budget() -> None:
    bar = size_bar(example_report())
    assert bar.budget_x == WIDTH
    assert bar.end_x == pytest.approx(WIDTH * 458_752 / 2**20, abs=0.1)
    assert sum(segment.size_bytes for segment in bar.segments) == 458_752
    assert [segment.name for segment in bar.segments][-1] == "manifest and framing"


def test_a_package_over_budget_reaches_beyond_the_mark() -> None:
    report = example_report()
    package = dataclasses.replace(report.package, budget_bytes=200_000)
    bar = size_bar(dataclasses.replace(report, package=package))
    assert bar.budget_x is not None and bar.budget_x < bar.end_x == WIDTH


def test_without_budget_there_is_no_mark() -> None:
    report = example_report()
    package = dataclasses.replace(report.package, budget_bytes=None)
    assert size_bar(dataclasses.replace(report, package=package)).budget_x is None


def test_a_gauge_shows_on_which_side_of_the_bound_a_value_lies() -> None:
    for verdict in example_report().verdicts:
        found = gauge(verdict)
        assert found is not None
        assert found.low <= found.value <= found.high
        assert (found.value <= found.bound) == (verdict.status == "pass")


def test_a_bound_of_zero_can_be_drawn() -> None:
    accuracy = example_report().accuracy
    assert accuracy is not None
    zero = dataclasses.replace(accuracy.drop, value=0.0, interval=None)
    found = gauge(Verdict("parity", "", "percent", 0.0, zero, "pass"))
    assert found is not None and found.bound == found.value


def test_what_was_not_measured_has_no_gauge() -> None:
    assert gauge(Verdict("parity", "", "percent", 0.0, None, "not measured")) is None


def test_classes_that_lost_lie_left_of_zero() -> None:
    accuracy = example_report().accuracy
    assert accuracy is not None
    chart = class_chart(accuracy.classes)
    assert chart is not None and len(chart.rows) == 10
    worst = chart.rows[3]
    assert worst.high < chart.zero and worst.sure == "worse"
    for row in chart.rows:
        assert chart.left <= row.low <= row.value <= row.high <= chart.right


def test_of_many_classes_those_that_changed_most_are_drawn() -> None:
    labels = tuple(range(50)) * 2
    changed = tuple(-1 if label in (7, 49) else label for label in labels)
    accuracy = summarize_accuracy(Predictions(labels, labels, changed))
    assert accuracy is not None
    chart = class_chart(accuracy.classes)
    assert chart is not None
    assert (len(chart.rows), chart.left_out) == (MOST_CLASSES, 50 - MOST_CLASSES)
    assert {7, 49} <= {row.row.label for row in chart.rows}
    assert [row.row.label for row in chart.rows] == sorted(row.row.label for row in chart.rows)
