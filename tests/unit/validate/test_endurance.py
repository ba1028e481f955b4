"""What a long run comes to: when it gave way, where it settled, what it took."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from device_agent.measuring_messages import Conditions, Power, Sustained, Window
from edgesdk.errors import AgentError
from edgesdk.report.endurance_page import render_endurance
from edgesdk.report.endurance_terminal import CELLS, sparkline
from edgesdk.report.endurance_words import duration_text, endurance_facts
from edgesdk.validate.endurance import find_endurance
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
    assert (found.seconds, found.runs, found.remarks) == (60.0, 60 * 500, ())


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
    assert ("Settled", "no: the latency still changed at the end") in endurance_facts(found)


def test_too_short_an_end_is_not_settled() -> None:
    assert board(9, lambda _: 2.0).settled is None


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
