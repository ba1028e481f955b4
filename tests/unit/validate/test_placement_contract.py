"""Facts about placement: what counts as accelerated, what fails, and where the time goes."""

from __future__ import annotations

import dataclasses

import pytest

from device_agent.environment_messages import RuntimeVersion
from device_agent.profile_messages import ModelPlacement, OperatorPlace, OperatorTime, Profiled
from edgesdk.validate.build import find_caveats
from edgesdk.validate.gates import Gates, judge
from edgesdk.validate.placement import summarize_placement, summarize_profiles
from edgesdk.values.forecast import Placement
from edgesdk.values.placement import PlacementSummary
from edgesdk.values.results import Results
from edgesdk.values.verdict import Verdict
from tests.unit.report.example import example_results, example_target

COMPILED = OperatorPlace("edgetpu-custom-op", "c", "edgetpu", "Edge TPU")
FORECAST = (
    *(Placement(index, "CONV_2D", name, "edgetpu") for index, name in enumerate("abc")),
    Placement(3, "SOFTMAX", "d", "cpu", "Operation not supported"),
)


def results(*operators: OperatorPlace, forecast: str = "", **more: str) -> Results:
    found = ModelPlacement(operators, "a test", forecast=forecast, **more)
    return example_results(placement=found)


def summary(
    *operators: OperatorPlace, expected: tuple[Placement, ...] = FORECAST, forecast: str = ""
) -> PlacementSummary:
    found = summarize_placement(results(*operators, forecast=forecast), expected)
    assert found is not None
    return found


def verdicts(found: PlacementSummary, least: float | None = None) -> list[Verdict]:
    gates = Gates(min_accelerated_fraction=least)
    return [*judge(example_results(parity=None), gates, placement=found)]


def cpu(kind: str, name: str, delegate: str = "") -> OperatorPlace:
    return OperatorPlace(kind, name, "cpu", delegate)


def test_a_compiled_operator_stands_for_all_that_were_compiled_into_it() -> None:
    found = summary(COMPILED, cpu("SOFTMAX", "d"))
    assert (found.accelerated_fraction, found.forecast_fraction) == (0.75, 0.75)
    assert found.units == {"cpu": 1, "edgetpu": 1}
    assert [each.name for each in found.on_cpu] == ["d"] and found.moved == ()
    (verdict,) = verdicts(found)
    assert (verdict.gate, verdict.status, verdict.bound) == ("placement", "pass", 25.0)


def test_the_share_of_the_arithmetic_stands_beside_that_of_the_operators() -> None:
    counts = (700, 200, 100, 0)
    expected = tuple(
        dataclasses.replace(each, macs=count) for each, count in zip(FORECAST, counts, strict=True)
    )
    fallen = summary(COMPILED, cpu("CONV_2D", "b"), cpu("SOFTMAX", "d"), expected=expected)
    assert (fallen.accelerated_fraction, fallen.accelerated_macs_fraction) == (0.5, 0.8)
    assert summary(COMPILED, cpu("SOFTMAX", "d")).accelerated_macs_fraction is None


def test_a_silent_fallback_fails_unasked_and_names_the_operators() -> None:
    found = summary(COMPILED, cpu("CONV_2D", "b"), cpu("SOFTMAX", "d"))
    assert found.accelerated_fraction == 0.5
    (verdict,) = verdicts(found)
    assert (verdict.status, verdict.asked) == ("fail", False)
    assert verdict.reason == "CONV_2D b is on cpu, not on edgetpu as forecast"


def test_an_accelerator_that_took_nothing() -> None:
    found = summary(*(cpu("CONV_2D", name) for name in "abc"), cpu("SOFTMAX", "d"))
    assert found.accelerated_fraction == 0
    (verdict,) = verdicts(found)
    assert verdict.status == "fail"
    assert verdict.reason.count("as forecast") == 3


def test_an_accelerator_that_took_it_as_a_whole_may_do_better_than_forecast() -> None:
    found = summary(OperatorPlace("EPContext", "all", "htp", "QNNExecutionProvider"))
    assert (found.accelerated_fraction, found.moved, found.on_cpu) == (1.0, (), ())
    assert verdicts(found)[0].status == "pass"


def test_the_bound_that_was_asked_for_goes_before_the_forecast() -> None:
    found = summary(COMPILED, cpu("SOFTMAX", "d"))
    assert verdicts(found, 0.75)[0].status == "pass"
    (verdict,) = verdicts(found, 0.9)
    assert (verdict.status, verdict.bound) == ("fail", 10.0)
    assert verdict.reason == "on the CPU: SOFTMAX d"


def test_a_package_alone_says_how_many_operators_its_compiler_took() -> None:
    told = "3 edgetpu, 1 cpu"
    whole = summary(COMPILED, cpu("SOFTMAX", "d"), expected=(), forecast=told)
    assert (whole.accelerated_fraction, whole.forecast_fraction) == (0.75, 0.75)
    assert verdicts(whole)[0].status == "pass"
    lost = summary(COMPILED, cpu("ADD", "x"), cpu("SOFTMAX", "d"), expected=(), forecast=told)
    assert lost.accelerated_fraction == 0.5
    assert verdicts(lost)[0].reason == "on the CPU: ADD x; SOFTMAX d"


def test_a_forecast_that_nobody_understands_is_none() -> None:
    assert summary(cpu("ADD", "x"), expected=(), forecast="lots, 3, x y").forecast_fraction is None


def test_a_target_without_an_accelerator_has_no_such_gate_unless_asked() -> None:
    found = summary(cpu("ADD", "a", "XNNPACK"), expected=())
    assert (found.accelerated_fraction, found.delegates) == (0.0, {"XNNPACK": 1})
    assert verdicts(found) == []
    (verdict,) = verdicts(found, 0.5)
    assert verdict.status == "fail"
    assert verdict.reason == "all operators run on the CPU, and none was forecast elsewhere"


def test_what_a_runtime_does_not_say_is_not_measured() -> None:
    (verdict,) = verdicts(summary())
    assert (verdict.status, verdict.reason) == ("not measured", "a test")
    assert judge(example_results(parity=None), Gates(min_accelerated_fraction=1.0)) == (
        Verdict(
            *("placement", "Operators on the CPU", "percent", 0.0, None),
            *("not measured", "the device was not asked"),
        ),
    )


# ---- XNNPACK -------------------------------------------------------------------------------------


def with_kernels(expected: str, found: str, package: str = "ai-edge-litert") -> Results:
    told = ModelPlacement((cpu("CONV_2D", "a"), cpu("ADD", "b")), "a test", found, "", expected)
    device = example_results().device
    litert = (RuntimeVersion("litert", package, "2.14.0"),)
    environment = dataclasses.replace(device.environment, runtimes=litert)
    return example_results(
        placement=told, device=dataclasses.replace(device, environment=environment)
    )


def test_xnnpack_that_is_silently_off_fails_and_names_the_operators() -> None:
    (verdict,) = judge(with_kernels("xnnpack", "builtin"), Gates())
    assert (verdict.gate, verdict.status) == ("kernels", "fail")
    assert verdict.reason.endswith("built-in kernels computed CONV_2D a; ADD b")


@pytest.mark.parametrize(
    ("expected", "found"),
    [("xnnpack", "xnnpack"), ("builtin", "builtin"), ("", "builtin"), ("xnnpack", "edgetpu")],
)
def test_kernels_that_are_as_they_were_make_no_gate(expected: str, found: str) -> None:
    assert judge(with_kernels(expected, found), Gates()) == ()


def test_tflite_runtime_leaves_int8_to_slow_kernels_by_design() -> None:
    old = with_kernels("xnnpack", "builtin", "tflite-runtime")
    assert judge(old, Gates()) == ()
    assert any("many times faster" in each for each in find_caveats(old, example_target()))


# ---- time ----------------------------------------------------------------------------------------


def profile(*times: OperatorTime, samples_ns: tuple[int, ...] = (6_000_000,)) -> Results:
    found = Profiled("int8", times, samples_ns, len(samples_ns), 1_000, "a test")
    return example_results(profiles=(found,), placement=ModelPlacement((COMPILED,), "a test"))


FAST = OperatorTime(COMPILED, (200, 100, 300), 200)
SLOW = OperatorTime(cpu("SOFTMAX", "d"), (600, 500, 9_000), 3_366)


def test_operators_are_told_slowest_first_by_their_median() -> None:
    (found,) = summarize_profiles(profile(FAST, SLOW))
    assert [(each.name, each.typical_ns, each.share) for each in found.operators] == [
        ("d", 600, 0.75),
        ("c", 200, 0.25),
    ]
    assert (found.statistic, found.sum_ns) == ("median", 800)


def test_profiled_runs_are_held_against_the_clean_ones() -> None:
    (found,) = summarize_profiles(profile(FAST))
    assert found.latency_ns is not None and found.overhead_percent is not None
    assert found.overhead_percent == pytest.approx(100 * (6_000_000 / found.latency_ns - 1))


def test_a_mean_is_called_one() -> None:
    (found,) = summarize_profiles(profile(OperatorTime(COMPILED, (), 40), samples_ns=()))
    assert (found.statistic, found.operators[0].typical_ns) == ("mean", 40)
    assert (found.profiled_ns, found.overhead_percent) == (None, None)


def test_the_share_of_time_off_the_cpu_is_told_beside_that_of_operators() -> None:
    found = summarize_placement(profile(FAST, SLOW))
    assert found is not None and found.accelerated_time_fraction == 0.25
    without = summarize_placement(results(COMPILED))
    assert without is not None and without.accelerated_time_fraction is None
