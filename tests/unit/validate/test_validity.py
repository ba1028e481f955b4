"""What makes a measurement valid, doubtful or invalid: one fact a test, on a made-up good run."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest

from device_agent.measuring_messages import Conditions, CpuTime
from edgesdk.validate.trend import find_trend
from edgesdk.validate.validity import competing_percent, spoilt, stamp
from edgesdk.values.results import MeasuredDevice, ModelRun
from edgesdk.values.validity import Validity
from tests.unit.report.example import example_results, example_run


def good() -> ModelRun:
    return example_run("int8", 3_000_000)


def stamped(run: ModelRun, *, virtual: bool = False, governor: str = "performance") -> Validity:
    device = example_results().device
    environment = dataclasses.replace(device.environment, governor=governor)
    return stamp(run, MeasuredDevice("pi", "python" if virtual else "board", environment), "w8a8")


def with_conditions(*changes: tuple[slice, dict[str, Any]]) -> ModelRun:
    """The good run; each change replaces fields of the conditions in a slice of them."""
    run = good()
    conditions = list(run.latency.conditions)
    for where, fields in changes:
        conditions[where] = [dataclasses.replace(at, **fields) for at in conditions[where]]
    return dataclasses.replace(
        run, latency=dataclasses.replace(run.latency, conditions=tuple(conditions))
    )


def with_medians(*medians_ns: int) -> ModelRun:
    samples = tuple(itertools.chain.from_iterable([value] * 5 for value in medians_ns))
    return example_run("int8", 1, samples_ns=samples, block_sizes=(5,) * len(medians_ns))


ALL = slice(None)


def test_a_calm_cool_run_is_valid() -> None:
    assert stamped(good()) == Validity("int8", "valid", (), (), 1.0)


def test_a_warm_up_that_never_settled_invalidates_also_on_a_virtual_device() -> None:
    for virtual in (False, True):
        found = stamped(example_run("int8", 3_000_000, steady=False), virtual=virtual)
        assert found.stamp == "invalid"
        assert found.reasons == (
            "INT8 latency is invalid: it was still falling when the time for warming up ended"
            " (24 runs).",
        )


# ---- throttling ----------------------------------------------------------------------------------


def test_one_moment_of_throttling_invalidates() -> None:
    found = stamped(with_conditions((slice(7, 8), {"throttled": ("clock capped", "throttled")})))
    assert found.stamp == "invalid"
    assert found.reasons == (
        "INT8 latency is invalid: the device was held back while it ran (clock capped, throttled).",
    )


def test_throttling_between_two_readings_is_told_by_its_count() -> None:
    found = stamped(with_conditions((slice(9, None), {"throttle_events": {"core too hot": 9}})))
    assert found.stamp == "valid", "a count that was not there before says nothing"
    run = with_conditions(
        (slice(0, 9), {"throttle_events": {"core too hot": 7}}),
        (slice(9, None), {"throttle_events": {"core too hot": 9}}),
    )
    (reason,) = stamped(run).reasons
    assert "held back between the first turn and the last (core too hot 2x)" in reason


def test_throttling_before_the_measurement_does_not_count() -> None:
    assert stamped(with_conditions((ALL, {"throttle_events": {"throttled": 1}}))).stamp == "valid"


def test_a_virtual_device_is_told_what_would_spoil_a_board_s_run() -> None:
    run = with_conditions((slice(7, 8), {"throttled": ("throttled",)}))
    found = stamped(run, virtual=True)
    assert (found.stamp, found.reasons) == ("doubtful", ())
    assert found.remarks == (
        "INT8 latency would be invalid on a board: the device was held back while it ran"
        " (throttled).",
    )
    assert spoilt(found) == found.remarks[0]
    assert spoilt(stamped(busy(5), virtual=True)) == "", "on a board, too, that is a remark"
    twice = dataclasses.replace(found, remarks=(found.remarks[0],) * 3)
    assert spoilt(twice) == f"{found.remarks[0]} (2 more such among the latency's remarks.)"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("clock_hz", "CPU clock"),
        ("temperature_celsius", "temperature"),
        ("throttled", "throttling"),
        ("cpu", "CPU time"),
    ],
)
def test_a_sensor_that_falls_silent_is_told(field: str, words: str) -> None:
    found = stamped(with_conditions((slice(15, None), {field: None})))
    assert found.stamp == "doubtful"
    assert f"told its {words} in 15 of 20 readings only" in found.remarks[0]
    assert stamped(with_conditions((ALL, {field: None}))).stamp == "valid", "it has no such sensor"


def test_a_process_that_is_stopped_and_goes_on_by_turns_invalidates() -> None:
    """Each turn: 40 quick runs and one in which it was stopped; no percentile below 97 sees it."""
    turn = [1_000_000] * 40 + [20_000_000]
    run = example_run("int8", 1, samples_ns=(*turn,) * 10, block_sizes=(41,) * 10)
    assert stamped(run).reasons == (
        "INT8 latency is invalid: it stood still for 33 % of its time, in 10 of 410 runs, each over"
        " 10 times the median.",
    )
    turn = [1_000_000] * 90 + [20_000_000]
    run = example_run("int8", 1, samples_ns=(*turn,) * 10, block_sizes=(91,) * 10)
    assert stamped(run).reasons == ()


# ---- clock ---------------------------------------------------------------------------------------


def test_a_clock_that_falls_invalidates() -> None:
    found = stamped(with_conditions((slice(12, None), {"clock_hz": 1_500_000_000})))
    assert found.reasons == (
        "INT8 latency is invalid: the CPU clock fell from 2.40 to 1.50 GHz while it was timed, in"
        " 4 of 10 turns.",
    )


@pytest.mark.parametrize(
    ("where", "clock_hz"),
    [(slice(12, None), 2_160_000_000), (slice(13, 14), 600_000_000)],
    ids=["by one step", "once"],
)
def test_a_clock_that_hardly_falls_does_not(where: slice, clock_hz: int) -> None:
    assert stamped(with_conditions((where, {"clock_hz": clock_hz}))).stamp == "valid"


def test_an_idle_clock_before_each_turn_is_none_of_the_models() -> None:
    assert stamped(with_conditions((slice(0, None, 2), {"clock_hz": 600_000_000}))).stamp == "valid"


# ---- competing work ------------------------------------------------------------------------------


def busy(percent: int) -> ModelRun:
    run = good()
    conditions = tuple(
        dataclasses.replace(at, cpu=CpuTime(4000 * i, 1000 * i - 40 * percent * i, 0, 3000 * i))
        for i, at in enumerate(run.latency.conditions)
    )
    return dataclasses.replace(run, latency=dataclasses.replace(run.latency, conditions=conditions))


@pytest.mark.parametrize(
    ("percent", "verdict"),
    [(0, "valid"), (3, "valid"), (4, "doubtful"), (10, "doubtful"), (11, "invalid")],
)
def test_work_of_others(percent: int, verdict: str) -> None:
    found = stamped(busy(percent))
    assert found.stamp == verdict
    assert found.competing_percent == percent
    for sentence in (*found.reasons, *found.remarks):
        assert f"which took {percent} % of all its CPUs" in sentence


def test_what_the_hypervisor_takes_is_work_of_others() -> None:
    first, last = CpuTime(0, 0, 0, 0), CpuTime(4000, 500, 500, 3000)
    run = with_conditions((slice(0, None, 2), {"cpu": first}), (slice(1, None, 2), {"cpu": last}))
    assert competing_percent(run.latency) == 12.5


def test_without_cpu_times_nothing_is_said_of_others() -> None:
    found = stamped(with_conditions((ALL, {"cpu": None})))
    assert (found.stamp, found.competing_percent) == ("valid", None)


# ---- change --------------------------------------------------------------------------------------


def test_latency_that_creeps_up_is_doubtful() -> None:
    found = stamped(with_medians(*(100 + i for i in range(10))))
    assert found.stamp == "doubtful"
    assert found.remarks == (
        "INT8 latency rose by 7 % from its first turns to its last (of 10; Mann-Kendall test,"
        " p = 5.5e-07): it is no one steady latency.",
    )


def test_latency_that_steps_up_in_the_middle_is_invalid() -> None:
    found = stamped(with_medians(196, 197, 195, 196, 198, 400, 401, 399, 402, 400))
    assert found.stamp == "invalid"
    assert "rose by 104 %" in found.reasons[0]


def test_latency_that_goes_up_and_down_is_drift_and_far_apart_invalid() -> None:
    some = stamped(with_medians(100, 115, 100, 115, 100, 115))
    assert some.stamp == "doubtful" and "lie between 100 and 115 ns" in some.remarks[0]
    assert stamped(with_medians(100, 160, 100, 160, 100, 160)).stamp == "invalid"


def test_latency_that_wobbles_a_little_is_valid() -> None:
    assert stamped(with_medians(100, 104, 99, 103, 101, 100, 104)).stamp == "valid"


# ---- clocks and sensors --------------------------------------------------------------------------


def test_a_jump_of_the_wall_clock_is_remarked_and_harmless() -> None:
    at = good().latency.conditions[5]
    assert at.wall_ns is not None
    run = with_conditions((slice(5, 6), {"wall_ns": at.wall_ns + 3600 * 10**9}))
    found = stamped(run)
    assert found.stamp == "doubtful"
    assert "wall clock jumped by +3600.0 s" in found.remarks[0] and "hold" in found.remarks[0]


def test_sensors_that_lie_are_quoted_once() -> None:
    run = with_conditions(
        (slice(0, 5), {"odd": ("cpu-thermal: 200.0 C",)}),
        (slice(5, None), {"odd": ("cpu-thermal: 201.0 C", "VDD_IN: -1.000 W")}),
    )
    (remark,) = stamped(run).remarks
    assert remark.endswith("not used: cpu-thermal: 200.0 C; VDD_IN: -1.000 W.")


def test_a_sensor_that_stands_still_for_long_is_doubted() -> None:
    conditions = tuple(Conditions(i * 10**9, 10**9, 50.0, None, throttled=()) for i in range(60))
    run = good()
    still = dataclasses.replace(run.latency, conditions=conditions, turns=())
    found = stamped(dataclasses.replace(run, latency=still))
    assert found.remarks == (
        "The temperature sensor may have stopped: 50.0 °C in each of 60 readings.",
    )


def test_a_device_that_tells_nothing_is_doubtful() -> None:
    nothing = {"clock_hz": None, "temperature_celsius": None, "throttled": None}
    run = with_conditions((ALL, nothing))
    assert stamped(run).stamp == "doubtful"
    assert "nobody knows whether heat held it back" in stamped(run).remarks[0]
    assert stamped(run, virtual=True).stamp == "valid", "its speed says nothing anyway"


def test_a_governor_that_chooses_the_clock_is_remarked() -> None:
    found = stamped(good(), governor="ondemand")
    assert found.stamp == "doubtful" and '"ondemand" governor' in found.remarks[0]


def test_what_spoils_a_board_is_only_remarked_of_a_virtual_device() -> None:
    throttled = with_conditions((slice(7, 8), {"throttled": ("throttled",)}))
    stepped = with_medians(196, 197, 195, 196, 198, 400, 401, 399, 402, 400)
    for run in (throttled, busy(60), stepped):
        assert stamped(run).stamp == "invalid"
        found = stamped(run, virtual=True)
        assert found.stamp == "doubtful" and found.remarks and not found.reasons


# ---- trend ---------------------------------------------------------------------------------------


def test_a_short_series_has_no_trend() -> None:
    assert find_trend([1, 2, 3, 4]) is None


@pytest.mark.parametrize("n", [5, 6, 7])
def test_chances_are_those_of_all_orders(n: int) -> None:
    orders = list(itertools.permutations(range(1, n + 1)))
    for order in orders[:: max(1, len(orders) // 40)]:
        score = abs(_score(order))
        far = sum(abs(_score(other)) >= score for other in orders)
        found = find_trend(order)
        assert found is not None and math.isclose(found.p, far / len(orders))


def _score(order: tuple[int, ...]) -> int:
    return sum((b > a) - (b < a) for a, b in itertools.combinations(order, 2))


def test_long_series_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = [float((7 * i) % 23 + i / 3) for i in range(40)]
    found = find_trend(values)
    reference = stats.kendalltau(range(40), values, method="asymptotic")
    assert found is not None and abs(found.p - reference.pvalue) < 0.005


def test_equal_values_are_no_trend() -> None:
    found = find_trend([5.0] * 12)
    assert found is not None and found.p == 1 and found.change == 0
