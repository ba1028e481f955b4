"""Facts about how figures and outcomes are written."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.report.wording import (
    count_text,
    headline,
    interval_text,
    latency_problem,
    p_text,
    shortened,
    size_change,
    summary,
    value_text,
)
from edgesdk.text import plain
from edgesdk.validate.gates import Gates
from edgesdk.values.validity import Validity
from edgesdk.values.verdict import Estimate, Interval, Unit, with_symbol, written
from tests.unit.report.example import GATES, example_report, example_results
from tests.unit.report.sessions import REPORTS


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, 100, Interval(low, high, 0.95, "made up"))


@pytest.mark.parametrize(
    ("unit", "value", "low", "high", "value_shown", "interval_shown"),
    [
        ("ns", 8_412_345, 8_400_000, 8_420_000, "8.412 ms", "8.400 to 8.420 ms"),
        ("ns", 8_412_345, 7_000_000, 9_000_000, "8.41 ms", "7.00 to 9.00 ms"),
        ("ns", 37_200, 37_199, 37_201, "37.200 us", "37.199 to 37.201 us"),
        ("ns", 412, 411, 413, "412 ns", "411 to 413 ns"),
        ("points", 0.6, 0.21, 1.1, "0.60 points", "0.21 to 1.10 points"),
        ("points", -0.0001, -0.9, 0.9, "0.00 points", "-0.90 to 0.90 points"),
        ("percent", 90.8, 89.5, 92.0, "90.8 %", "89.5 to 92.0 %"),
        ("times", 2.718, 2.71, 2.735, "2.718 times", "2.710 to 2.735 times"),
        ("bytes", 48_500_000, 48_500_000, 48_500_000, "46.3 MiB", "46.3 to 46.3 MiB"),
    ],
)
def test_a_value_is_written_as_finely_as_its_interval_allows(
    unit: Unit, value: float, low: float, high: float, value_shown: str, interval_shown: str
) -> None:
    found = estimate(value, low, high)
    assert value_text(found, unit) == value_shown
    assert interval_text(found, unit) == interval_shown


@given(st.floats(1, 1e11), st.floats(1, 1e11))
def test_times_a_nanosecond_apart_read_differently(first: float, second: float) -> None:
    _, (one, other) = written("ns", first, second)
    if abs(first - second) > 2:
        assert one != other


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("ns", 10_000_000, "10 ms"),
        ("points", 1.0, "1 point"),
        ("points", 0.5, "0.5 points"),
        ("points", 0.0, "0 points"),
        ("bytes", 2**20, "1 MiB"),
        ("bytes", 100, "100 B"),
        ("bytes", 120 * 2**20, "120 MiB"),
        ("percent", 0.5, "0.5 %"),
    ],
)
def test_a_bound_is_written_short(unit: Unit, value: float, text: str) -> None:
    assert with_symbol(unit, value) == text


def test_what_was_not_measured_is_said_not_shown_as_zero() -> None:
    assert value_text(None, "ns") == "not measured"
    assert interval_text(None, "ns") == ""
    assert interval_text(Estimate(1.0, 1, None), "ns") == ""


@pytest.mark.parametrize(
    ("n", "noun", "text"), [(1, "run", "1 run"), (0, "run", "0 runs"), (2000, "run", "2,000 runs")]
)
def test_a_count_agrees_with_its_noun(n: int, noun: str, text: str) -> None:
    assert count_text(n, noun) == text


@pytest.mark.parametrize(
    ("p", "text"), [(0.0703125, "0.07"), (1.0, "1"), (1e-9, "below 0.0001"), (0.00012, "0.00012")]
)
def test_a_p_value_keeps_two_digits(p: float, text: str) -> None:
    assert p_text(p) == text


@pytest.mark.parametrize("char", ["\x1b", "\n", "\r", "\x07", "\u202e", "\u200b", "\ud800"])
def test_characters_that_act_are_replaced(char: str) -> None:
    assert plain(f"a{char}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_ordinary_text_of_any_language_stays() -> None:
    assert plain("Zürich 模型 é") == "Zürich 模型 é"


@pytest.mark.parametrize(
    ("gates", "results", "text"),
    [
        (Gates(), example_results(), "No gate was set, so nothing was judged."),
        (Gates(max_p95_ns=10**9), example_results(), "The gate passed."),
        (
            Gates(max_p95_ns=10**9, max_accuracy_drop_points=5.0),
            example_results(),
            "All 2 gates passed.",
        ),
        (
            Gates(max_p95_ns=1, max_accuracy_drop_points=1.0),
            example_results(predictions=None),
            "1 of 2 gates failed: INT8 latency, 95th percentile."
            " 1 of 2 gates was not measured: accuracy lost to INT8.",
        ),
        (
            Gates(max_accuracy_drop_points=1.0),
            example_results(),
            "The gate passed, but it is too close to call: measuring again could turn it.",
        ),
        (
            GATES,
            example_results(),
            "All 5 gates passed, but 1 of them is too close to call: measuring again could turn"
            " it.",
        ),
        (
            Gates(max_p95_ns=1, max_accuracy_drop_points=1.0),
            example_results(),
            "1 of 2 gates failed: INT8 latency, 95th percentile."
            " 1 of the verdicts is too close to call: measuring again could turn it.",
        ),
        (
            dataclasses.replace(GATES, asked=("accuracy_drop",)),
            example_results(predictions=None, parity=None),
            "1 of 5 gates was asked for but not measured: accuracy lost to INT8."
            " 1 of 5 gates was not measured: output values off the golden vectors.",
        ),
    ],
)
def test_the_outcome_in_words(gates: Gates, results: object, text: str) -> None:
    assert summary(example_report(gates=gates, results=results)) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("everything passed", "pass"),
        ("nothing measured", "pass in part"),
        ("a gate failed", "fail"),
        ("never settled", "invalid"),
        ("no gates", "not measured"),
        ("an asked gate was not measured", "not measured"),
    ],
)
def test_a_pass_that_leaves_gates_unmeasured_is_one_in_part(name: str, word: str) -> None:
    assert headline(REPORTS[name]) == word


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (370, 100, "3.7 times smaller"),
        (100, 112, "1.1 times larger"),
        (100, 1000, "10.0 times larger"),
        (100, 100, "about the same size"),
        (100, 101, "about the same size"),
        (101, 100, "about the same size"),
    ],
)
def test_a_change_of_size_in_words(before: int, after: int, text: str) -> None:
    assert size_change(before, after) == text


@given(st.text(), st.integers(3, 80))
def test_a_shortened_name_keeps_both_ends(name: str, most: int) -> None:
    short = shortened(name, most)
    assert len(short) == min(len(name), most)
    assert short == name or (name.startswith(short[:1]) and name.endswith(short[-1:]))


def test_a_latency_is_withheld_if_it_is_invalid_or_rests_on_too_few_runs() -> None:
    good = example_report()
    float_, int8 = good.latencies
    assert latency_problem(good, "int8") == ("", "")
    assert latency_problem(dataclasses.replace(good, latencies=(float_,)), "int8")[0] == (
        "not measured"
    )
    bad = Validity("int8", "invalid", ("It was too hot.", "It was dark."), ())
    found = dataclasses.replace(good, validities=(good.validities[0], bad))
    assert latency_problem(found, "int8") == ("invalid", "It was too hot. It was dark.")
    assert latency_problem(found, "float") == ("", "")
    few = dataclasses.replace(int8, n=5, p50=None)
    assert latency_problem(dataclasses.replace(good, latencies=(float_, few)), "int8") == (
        "not measured",
        "5 runs are too few.",
    )


def test_a_reason_below_a_pass_is_no_doubt_of_its_bound() -> None:
    """What would have spoilt a board's run stands below a virtual device's gate."""
    good = REPORTS["everything passed"]
    told = tuple(
        dataclasses.replace(verdict, reason="would be invalid on a board")
        for verdict in good.verdicts
    )
    assert summary(dataclasses.replace(good, verdicts=told)) == summary(good)
