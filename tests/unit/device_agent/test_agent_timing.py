"""Warming up, timing, taking turns: on a clock that the test moves."""

from __future__ import annotations

import gc
from array import array
from typing import Any

import pytest

from device_agent import timing, watchdog
from device_agent.measuring_messages import Conditions, Turn
from device_agent.model_messages import Bench
from device_agent.protocol import Progress
from device_agent.timing import SteadyTest, settle, time_block, warm_up
from device_agent.turns import PAUSE_S, take_turns
from device_agent.worker_messages import TimeBlock, Timed, Warm, WarmUp

MS = 1_000_000


class Device:
    """A clock, and a model whose successive runs take the given milliseconds, the last for ever."""

    def __init__(self, *durations_ms: float) -> None:
        self.now_ns = 0
        self.runs = 0
        self._durations_ms = durations_ms

    def clock(self) -> int:
        return self.now_ns

    def invoke(self) -> None:
        index = min(self.runs, len(self._durations_ms) - 1)
        self.now_ns += int(self._durations_ms[index] * MS)
        self.runs += 1


@pytest.mark.parametrize(
    ("medians", "verdicts"),
    [
        ([10, 10, 10, 10], [False, False, False, True]),
        ([10, 9, 8, 8, 8, 8], [False] * 5 + [True]),
        ([10, 9.9, 9.8, 9.7], [False, False, False, True]),
        ([10, 12, 14, 16], [False, False, False, True]),
        ([10, 10, 10, 9.7, 9.7, 9.7, 9.7], [False] * 6 + [True]),
    ],
    ids=["constant", "falling", "within tolerance", "rising", "late fall"],
)
def test_steady_means_no_longer_falling(medians: list[float], verdicts: list[bool]) -> None:
    test = SteadyTest()
    assert [test.add(median) for median in medians] == verdicts


def test_warming_up_ends_when_steady() -> None:
    device = Device(*[30.0] * 10, *[20.0] * 10, 10.0)
    warm = warm_up(device.invoke, 60.0, device.clock)
    assert warm == Warm(runs=40, steady=True, slowest_ns=30 * MS)
    assert device.runs == 40


def test_warming_up_ends_when_time_is_up() -> None:
    device = Device(*[1000.0 * 0.9**run for run in range(500)])
    warm = warm_up(device.invoke, 5.0, device.clock)
    assert not warm.steady
    assert 5e9 <= device.now_ns <= 6e9


def test_short_runs_fill_a_window_of_time() -> None:
    device = Device(0.5)
    assert warm_up(device.invoke, 60.0, device.clock) == Warm(4 * 40, True, MS // 2)


def test_without_time_there_is_no_warm_up() -> None:
    device = Device(1.0)
    assert warm_up(device.invoke, 0.0, device.clock) == Warm(0, False, 0)


@pytest.mark.parametrize(
    ("run_ms", "block", "runs"),
    [
        (1.0, TimeBlock(100, 0.01, 9.0), 100),
        (1.0, TimeBlock(10, 0.5, 9.0), 500),
        (100.0, TimeBlock(100, 0.0, 1.0), 10),
        (5000.0, TimeBlock(100, 0.0, 1.0), 1),
        (1.0, TimeBlock(0, 0.0, 0.0), 1),
    ],
    ids=["enough runs", "enough time", "time is up", "one run at least", "nothing asked"],
)
def test_a_turn_is_long_enough_but_bounded(run_ms: float, block: TimeBlock, runs: int) -> None:
    device = Device(run_ms)
    samples = time_block(device.invoke, block, device.clock)
    assert samples == array("q", [int(run_ms * MS)] * runs)


def test_a_turn_begins_with_runs_that_are_not_timed() -> None:
    device = Device(9.0)
    assert settle(device.invoke, device.clock) == timing.SETTLE_RUNS == device.runs


def test_a_slow_model_settles_in_one_run() -> None:
    device = Device(1000.0)
    assert settle(device.invoke, device.clock) == 1 == device.runs


def test_samples_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SAMPLES_MAX", 50)
    device = Device(0.001)
    assert len(time_block(device.invoke, TimeBlock(0, 60.0, 60.0), device.clock)) == 50


def test_no_garbage_is_collected_meanwhile() -> None:
    collecting = []
    device = Device(1.0)

    def invoke() -> None:
        collecting.append(gc.isenabled())
        device.invoke()

    time_block(invoke, TimeBlock(3, 0.0, 9.0), device.clock)
    assert collecting[-3:] == [False] * 3
    assert gc.isenabled()


def test_garbage_is_collected_again_after_an_error() -> None:
    def invoke() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        time_block(invoke, TimeBlock(3, 0.0, 9.0), Device(1.0).clock)
    assert gc.isenabled()


# ---- turns ---------------------------------------------------------------------------------------

BENCH = Bench(
    keys=("a", "b"),
    blocks=2,
    min_runs=5,
    min_seconds=1.0,
    max_seconds=4.0,
    max_warm_up_seconds=3.0,
)


class Workers:
    """Answers as workers do, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.told: list[Progress] = []
        self.moments = 0
        self.pauses: list[float] = []
        self.silences: list[float] = []

    def ask(self, key: str, request: Any, expected: Any, silence_s: float) -> tuple[Any, bytes]:
        self.asked.append((key, request))
        self.silences.append(silence_s)
        if isinstance(request, WarmUp):
            return Warm(7 if key == "a" else 8, key == "a", 100 * MS), b""
        samples = array("q", [len(self.asked)] * 3)
        return Timed(1000 * len(self.asked), 2, 24), samples.tobytes()

    def conditions(self) -> Conditions:
        self.moments += 1
        return Conditions(self.moments, None, None, None)


def test_models_take_turns() -> None:
    workers = Workers()
    benched = take_turns(
        BENCH, workers.ask, workers.conditions, workers.told.append, workers.pauses.append
    )
    turn = TimeBlock(min_runs=3, min_seconds=0.5, max_seconds=2.0)
    assert workers.asked == [
        ("a", WarmUp(3.0)),
        ("b", WarmUp(3.0)),
        ("a", turn),
        ("b", turn),
        ("a", turn),
        ("b", turn),
    ]
    assert workers.pauses == [PAUSE_S] * 4
    first, second = benched.latencies
    assert (first.key, first.warm_up_runs, first.steady) == ("a", 7, True)
    assert (second.key, second.warm_up_runs, second.steady) == ("b", 8, False)
    assert first.samples_ns == (3, 3, 3, 5, 5, 5) and second.samples_ns == (4, 4, 4, 6, 6, 6)
    assert first.block_sizes == (3, 3)
    assert (first.peak_rss_bytes, second.peak_rss_bytes) == (5000, 6000)
    assert [moment.at_ns for moment in first.conditions] == [1, 2, 5, 6]
    assert [moment.at_ns for moment in second.conditions] == [3, 4, 7, 8]
    assert first.turns == (Turn(1, 2, 5), Turn(5, 6, 5))
    assert second.turns == (Turn(3, 4, 5), Turn(7, 8, 5))


def test_silence_is_allowed_for_by_what_was_measured() -> None:
    workers = Workers()
    take_turns(BENCH, workers.ask, workers.conditions, workers.told.append, lambda _: None)
    assert workers.silences == [
        *[BENCH.max_warm_up_seconds + watchdog.FIRST_RUN_S] * 2,
        *[2.0 + watchdog.LEAST_S + watchdog.TIMES_SLOWEST * 0.1] * 4,
    ]


def test_progress_reaches_its_total() -> None:
    workers = Workers()
    take_turns(BENCH, workers.ask, workers.conditions, workers.told.append, lambda _: None)
    assert [told.done for told in workers.told] == [1, 2, 3, 4, 5, 6]
    assert {told.total for told in workers.told} == {6}
