"""What a long run comes to: when it gave way, where it settled, what it took."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from device_agent.measuring_messages import Conditions, CpuTime, Power, Sustained, Window
from edgesdk.errors import AgentError
from edgesdk.report.endurance_page import render_endurance
from edgesdk.report.endurance_terminal import CELLS, sparkline
from edgesdk.report.endurance_words import duration_text, endurance_facts
from edgesdk.targets.types import GateBounds
from edgesdk.validate.endurance import find_endurance
from edgesdk.validate.gates import resolve_gates
from edgesdk.values.endurance import Endurance, Endured
from edgesdk.values.results import MeasuredDevice
from tests.unit.report.example import example_results

S = 10**9
Level = Callable[[int], float]


def board(
    seconds: int,
    latency_ms: Level,
    *,
    clock_hz: Callable[[int], int | None] = lambda second: None,
    flags: Callable[[int], tuple[str, ...] | None] = lambda second: None,
    power: Callable[[int], tuple[Power, ...]] = lambda second: (),
    cpu: Callable[[int], CpuTime | None] = lambda second: None,
    name: str = "pi",
    virtual: bool = False,
) -> Endurance:
    """A run of so many windows of a second on a board of which each second is told."""
    random = np.random.default_rng(3)
    windows = []
    for second in range(seconds):
        middle = latency_ms(second) * 1e6
        samples = (middle * np.exp(random.normal(0, 0.01, 50))).astype(int)
        ordered = np.sort(samples)
        reading = Conditions(
            at_ns=second * S + S // 2,
            clock_hz=clock_hz(second),
            temperature_celsius=50.0 + min(30, second),
            load_average=None,
            throttled=flags(second),
            power=power(second),
            cpu=cpu(second),
        )
        runs = int(1e9 / middle)
        windows.append(
            Window(
                began_ns=second * S,
                ended_ns=(second + 1) * S,
                runs=runs,
                total_ns=S,
                fastest_ns=int(ordered[0]),
                slowest_ns=int(ordered[-1]),
                p50_ns=int(ordered[24]),
                p90_ns=int(ordered[44]),
                every=max(1, runs // 50),
                samples_ns=tuple(samples.tolist()),
                conditions=(reading,),
            )
        )
    return find_endurance(endured(windows, name, virtual))


def endured(windows: Sequence[Window], name: str = "pi", virtual: bool = False) -> Endured:
    results = example_results()
    return Endured(
        device=MeasuredDevice(name, "python" if virtual else "board", results.device.environment),
        installed=results.installed,
        opened=results.runs[1].opened,
        sustained=Sustained("int8", 30, True, len(windows), 10**7),
        windows=tuple(windows),
    )


def throttled(second: int) -> float:
    return 2.0 if second < 40 else 4.0


def test_a_board_that_keeps_its_speed_never_gives_way_and_is_settled_throughout() -> None:
    found = board(60, lambda _: 2.0)
    assert found.gave_way is None
    assert found.settled is not None and found.settled.from_s == 0
    assert (found.seconds, found.runs) == (60.0, 60 * 500)
    assert found.validity.stamp == "valid" and found.unsettled is None
    assert found.outcome == "not measured" and found.exit_code == 0


def test_a_hair_quicker_than_at_first_is_no_change() -> None:
    found = board(60, lambda second: 2.0 if second < 20 else 1.992)
    assert dict(endurance_facts(found))["Settled"].endswith(" on, +0 % to the first")


def test_a_throttled_board_is_told_by_its_latency_alone() -> None:
    found = board(100, throttled)
    assert found.gave_way is not None
    assert (found.gave_way.at_s, found.gave_way.sign) == (40.0, "latency")
    assert "rose by 100 %" in found.gave_way.sentence or "rose by 99 %" in found.gave_way.sentence


def test_by_its_clock_before_the_latency_follows() -> None:
    found = board(100, throttled, clock_hz=lambda s: 2_400_000_000 if s < 30 else 1_500_000_000)
    assert found.gave_way is not None
    assert (found.gave_way.at_s, found.gave_way.sign) == (30.0, "clock")
    assert found.gave_way.sentence == "the CPU clock fell from 2.40 to 1.50 GHz"


def test_and_by_its_own_word_before_all() -> None:
    found = board(100, throttled, flags=lambda s: ("soft temperature limit",) if s >= 20 else ())
    assert found.gave_way is not None
    assert (found.gave_way.at_s, found.gave_way.sign) == (20.5, "flags")


@pytest.mark.parametrize("slow", [{50}, {50, 51, 60, 61}])
def test_a_few_slow_seconds_are_no_throttling(slow: set[int]) -> None:
    found = board(100, lambda second: 4.0 if second in slow else 2.0)
    assert found.gave_way is None


def test_one_slow_clock_reading_is_no_throttling() -> None:
    found = board(100, lambda _: 2.0, clock_hz=lambda s: 600_000_000 if s == 9 else 10**9)
    assert found.gave_way is None


def test_a_kept_sample_stands_for_as_many_runs_as_were_left_out() -> None:
    two_levels = board(60, lambda second: 2.0 if second % 2 else 2.02)
    windows = [
        dataclasses.replace(window, runs=50 * (1 if at % 2 else 9))
        for at, window in enumerate(two_levels.endured.windows)
    ]
    settled = find_endurance(endured(windows)).settled
    every_run = np.concatenate([np.repeat(w.samples_ns, w.runs // 50) for w in windows])
    assert settled is not None and settled.windows == len(windows)
    for estimate, probability in ((settled.p50, 0.5), (settled.p90, 0.9), (settled.p95, 0.95)):
        assert estimate is not None and estimate.interval is not None
        assert estimate.value == np.quantile(every_run, probability, method="inverted_cdf")
        assert estimate.n == len(every_run)


def test_the_steady_p90_is_of_the_settled_part_alone() -> None:
    found = board(100, throttled)
    settled = found.settled
    assert settled is not None and 38 <= settled.from_s <= 42
    assert settled.p90.value == pytest.approx(4e6 * np.exp(1.2816 * 0.01), rel=0.003)
    assert settled.p90.n == sum(w.runs for w in found.endured.windows[-settled.windows :])
    interval = settled.p90.interval
    assert interval is not None and interval.method == "block bootstrap"
    assert interval.low < 4e6 * np.exp(1.2816 * 0.01) < interval.high


def test_a_board_that_still_gets_slower_has_not_settled() -> None:
    found = board(100, lambda second: 2.0 + second / 10)
    assert found.settled is None
    told = dict(endurance_facts(found))["Settled"]
    assert told.startswith("no: the latency still changed before the last ")


def test_a_run_of_too_few_windows_says_how_long_it_takes_to_tell() -> None:
    found = board(9, lambda _: 2.0)
    assert found.settled is None and found.unsettled is not None
    told = dict(endurance_facts(found))
    assert told["Settled"] == (
        "not known: the run was too short to tell whether the latency settles: that takes 10"
        " windows, 10 s at the least"
    )
    assert told["Gave way"] == "not seen; the run was too short to tell"
    assert board(10, lambda _: 2.0).settled is not None


def test_of_an_end_that_is_too_short_it_says_how_long_it_was_the_same() -> None:
    found = board(30, lambda second: 3.0 if second < 23 else 2.0)
    assert found.unsettled is not None and found.unsettled.seconds_needed is None
    assert 6 <= found.unsettled.windows <= 8 and found.unsettled.needed == 10
    assert "10 alike are needed" in dict(endurance_facts(found))["Settled"]


def test_percentiles_of_too_few_kept_samples_are_not_given() -> None:
    whole = board(20, lambda _: 2.0).endured
    few = tuple(dataclasses.replace(w, samples_ns=w.samples_ns[:2]) for w in whole.windows)
    settled = find_endurance(dataclasses.replace(whole, windows=few)).settled
    assert settled is not None and settled.p50.value > 0
    assert settled.p90 is not None and settled.p95 is None  # 40 samples; 36 and 72 are needed.


# ---- judged --------------------------------------------------------------------------------------


def judged(found: Endurance, *gates: GateBounds) -> Endurance:
    return find_endurance(found.endured, resolve_gates(GateBounds(), *gates))


def test_the_gates_of_latency_and_memory_are_judged_by_the_settled_part() -> None:
    found = judged(board(100, throttled), GateBounds(max_p95="3 ms", max_peak_ram="64 MiB"))
    p95, memory = found.verdicts
    assert (p95.gate, p95.status) == ("p95", "fail")  # 2 ms at first, 4 ms in the end.
    assert p95.measured is not None and p95.measured.value == pytest.approx(4.07e6, rel=0.01)
    assert (memory.gate, memory.status) == ("peak_ram", "pass")
    assert (found.outcome, found.exit_code) == ("fail", 1)


def test_a_gate_on_a_run_that_did_not_settle_is_not_measured_and_no_pass() -> None:
    for short in (board(5, lambda _: 2.0), board(100, lambda second: 2.0 + second / 10)):
        found = judged(short, GateBounds(max_p95="3 s"))
        (verdict,) = found.verdicts
        assert (verdict.status, found.exit_code) == ("not measured", 6)
        assert found.unsettled is not None and verdict.reason == found.unsettled.sentence


def test_gates_of_other_measurements_are_named_and_not_judged() -> None:
    asked = GateBounds(max_accuracy_drop_points=1.0, max_end_to_end_p95="1 ms", max_p95="1 s")
    found = judged(board(20, lambda _: 2.0), asked)
    assert [verdict.gate for verdict in found.verdicts] == ["p95"]
    assert found.not_judged == ("accuracy", "time from picture to answer")
    assert "accuracy, time from picture to answer" in dict(endurance_facts(found))["Not judged"]


def test_of_an_emulated_processor_no_latency_is_judged() -> None:
    found = board(20, lambda _: 2.0).endured
    emulated = dataclasses.replace(found, device=dataclasses.replace(found.device, kind="arm64"))
    (verdict,) = judged(find_endurance(emulated), GateBounds(max_p95="1 s")).verdicts
    assert verdict.status == "not measured" and "emulated" in verdict.reason


@pytest.mark.parametrize(
    ("others", "stamp", "status"),
    [(2, "valid", "pass"), (6, "doubtful", "pass"), (30, "invalid", "invalid")],
)
def test_other_work_makes_it_doubtful_and_then_invalid(
    others: int, stamp: str, status: str
) -> None:
    """Of every second on four CPUs, so much of all their time is others'."""

    def at(second: int) -> CpuTime:
        busy = 1000 * second
        return CpuTime(4000 * second, 4000 * second - busy - 40 * others * second, 0, busy)

    found = board(60, lambda _: 2.0, cpu=at)
    assert found.validity.stamp == stamp and found.validity.competing_percent == others
    (verdict,) = judged(found, GateBounds(max_p95="1 s")).verdicts
    assert verdict.status == status
    assert dict(endurance_facts(found))["Measurement"] == stamp


def test_energy_of_a_run_by_watts_and_by_joules() -> None:
    def power(second: int) -> tuple[Power, ...]:
        return (
            Power("VDD_IN", 6_000_000, None),
            Power("package-0", None, 4_000_000 * second),
            Power("silent", None, None),
        )

    found = board(60, lambda _: 2.0, power=power)
    watts, joules = found.energy
    assert (watts.rail, joules.rail) == ("VDD_IN", "package-0")
    assert watts.joules.value == pytest.approx(0.012)
    assert joules.joules.value == pytest.approx(0.008)
    assert watts.joules.interval is not None
    text = dict(endurance_facts(found))["Energy"]
    assert text.startswith("12 mJ an inference on VDD_IN") and "idle power too" in text


def test_without_a_sensor_energy_is_not_measured() -> None:
    found = board(20, lambda _: 2.0)
    assert found.energy == ()
    assert dict(endurance_facts(found))["Energy"] == "not measured: no power sensor"


def test_a_run_that_lost_windows_is_refused() -> None:
    whole = board(20, lambda _: 2.0).endured
    with pytest.raises(AgentError, match="found 19 windows of the long run, expected 20"):
        dataclasses.replace(whole, windows=whole.windows[:-1])


# ---- shown ---------------------------------------------------------------------------------------


def test_the_page_draws_the_curve_and_what_was_seen() -> None:
    page = render_endurance(board(100, throttled, clock_hz=lambda _: 2_400_000_000))
    assert 'class="p50" d="M' in page and 'class="clock" d="M' in page
    assert 'class="way"' in page and 'class="settled"' in page and "2.4 GHz" in page
    assert "after 40 s" in page and "VIRTUAL DEVICE" not in page


def test_the_page_of_a_virtual_device_says_so() -> None:
    page = render_endurance(board(20, lambda _: 2.0, virtual=True))
    assert "VIRTUAL DEVICE" in page and "[VIRTUAL]" in page


def test_the_page_escapes_what_a_device_is_called() -> None:
    page = render_endurance(board(20, lambda _: 2.0, name="<script>alert(1)</script>"))
    assert "<script" not in page


def test_a_line_of_blocks_begins_at_zero_and_fits() -> None:
    assert sparkline([1.0, 8.0]) == "▂█"
    assert len(sparkline([float(i) for i in range(1, 1801)])) <= CELLS


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.345, "2.3 s"), (42, "42 s"), (60, "1 min"), (750, "12 min 30 s"), (7500, "2 h 5 min")],
)
def test_times_as_a_person_reads_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
