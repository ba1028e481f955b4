"""Metrics beyond top-1 and the baseline, in the terminal and on the page."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from edgesdk.cli import render_lab
from edgesdk.report.html import render_html
from edgesdk.report.terminal import render_findings, render_terminal
from edgesdk.values.latency_comparison import (
    Difference,
    LatencyComparison,
    QuantileChange,
    SinceBaseline,
)
from edgesdk.values.metric import MetricSummary
from edgesdk.values.report import Report
from edgesdk.values.verdict import Estimate, Interval
from tests.unit.report.example import example_report
from tests.unit.report.test_report_schema import as_json, errors


def measured(value: float, low: float, high: float, n: int = 640) -> Estimate:
    return Estimate(value, n, Interval(low, high, 0.95, "paired bootstrap, 1000 resamples"))


F1 = MetricSummary(
    *("f1", "F1, macro", "higher", "percent"),
    float_value=measured(91.25, 89.0, 93.1),
    int8_value=measured(90.5, 88.2, 92.4),
    drop=measured(0.75, -0.31, 1.62),
    samples=640,
    resamples=1000,
    undefined=0,
    seed=0,
    reason="",
)
FEW = dataclasses.replace(
    F1,
    title="PR-AUC",
    float_value=Estimate(80.0, 40, None),
    int8_value=Estimate(79.0, 40, None),
    drop=Estimate(1.0, 40, None),
    samples=40,
    resamples=0,
    reason="40 samples are too few for an interval, which takes 50",
)
NONE = dataclasses.replace(
    FEW,
    title="ROC-AUC",
    float_value=None,
    int8_value=None,
    drop=None,
    reason="every sample is of class 3, and a curve needs both kinds",
)
CHANGE = QuantileChange(
    *(0.5, measured(3_104_000, 3_100_000, 3_108_000), measured(3_420_000, 3_410_000, 3_430_000)),
    ratio=measured(1.102, 1.091, 1.113, 20),
    p=0.0002,
    word="slower",
)
SINCE = SinceBaseline(
    "run 12-3fa9c2d1",
    (Difference("threads (converted)", "4", "2"),),
    LatencyComparison("int8", "slower", "", 0.98, (CHANGE,)),
    ("Each side is one session.",),
)
REPORT = dataclasses.replace(example_report(), metrics=(F1, FEW, NONE), since=SINCE)


def terminal(report: Report, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_terminal(report))
    return console.export_text()


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_the_terminal_has_value_interval_and_n() -> None:
    (row,) = (line for line in terminal(REPORT).splitlines() if "F1, macro lost" in line)
    assert "0.75 points" in row and "-0.31 to 1.62" in row and "640 samples" in row


def test_what_is_not_defined_or_has_no_interval_says_why_in_its_row() -> None:
    shown = terminal(REPORT, 160)
    (few,) = (line for line in shown.splitlines() if "PR-AUC lost" in line)
    assert "1.00 points" in few and "too few for an interval" in few and "40 samples" in few
    (none,) = (line for line in shown.splitlines() if "ROC-AUC lost" in line)
    assert "not defined" in none and "every sample is of class 3" in none and "40 samples" in none


def test_the_page_has_them_as_well() -> None:
    page = one_line(render_html(REPORT))
    assert "Other metrics" in page and "F1, macro" in page and "-0.31 to 1.62" in page
    assert "not defined" in page and "every sample is of class 3" in page
    assert "too few for an interval" in page
    assert "Other metrics" not in render_html(example_report())


@pytest.mark.parametrize("shown", [terminal(REPORT, 140), render_html(REPORT)])
def test_the_baseline_is_told_with_its_test(shown: str) -> None:
    told = one_line(shown)
    assert "run 12-3fa9c2d1: slower" in told and "1.102 (+10.2 %)" in told
    assert "1.091 to 1.113" in told and "threads (converted), 4 " in told
    assert "Each side is one session." in told and "in 98 %." in told


def test_why_it_could_not_be_compared_takes_the_place_of_the_table() -> None:
    why = LatencyComparison("int8", "cannot be compared", "run 12 timed no such model", None, ())
    report = dataclasses.replace(REPORT, since=dataclasses.replace(SINCE, latency=why))
    for shown in (terminal(report, 140), render_html(report)):
        assert "cannot be compared: run 12 timed no such model" in one_line(shown)
        assert "after / before" not in shown


def test_without_a_conversion_it_is_the_same() -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(render_findings(REPORT))
    assert "Since the baseline, run 12-3fa9c2d1: slower" in console.export_text()


def test_the_schema_holds_for_them() -> None:
    assert errors(as_json(REPORT)) == []


def test_a_table_of_many_devices_says_what_is_not_defined() -> None:
    told = render_lab.findings(REPORT)
    assert "F1, macro 90.5 %, 0.75 points lost" in told and "ROC-AUC not defined" in told
