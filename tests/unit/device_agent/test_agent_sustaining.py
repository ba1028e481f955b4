"""A long run on the device, on a clock that the test moves: windows, bounds, hangs."""

from __future__ import annotations

import math
from array import array
from typing import Any

import pytest

from device_agent import timing, watchdog
from device_agent.measuring_messages import WINDOW_RUNS_MIN, Conditions, Sustain, Window
from device_agent.sustaining import sustain
from device_agent.timing import sum_up, time_window
from device_agent.worker_messages import TimeWindow, Warm, WarmUp, Windowed

MS = 1_000_000


class ThrottledBoard:
    """A board whose model takes 2 ms a run and, hot after three seconds, 4 ms.

    It is the worker and the sensors at once; its clock moves with the runs.
    """

    def __init__(self) -> None:
        self.now_ns = 0
        self.sent: list[Window] = []
        self.silences: list[float] = []

    def clock(self) -> int:
        return self.now_ns

    @property
    def is_hot(self) -> bool:
        return self.now_ns >= 3_000 * MS

    def invoke(self) -> None:
        self.now_ns += 4 * MS if self.is_hot else 2 * MS

    def conditions(self) -> Conditions:
        clock_hz = 1_500_000_000 if self.is_hot else 2_400_000_000
        flags = ("soft temperature limit",) if self.is_hot else ()
        return Conditions(self.now_ns, clock_hz, 60.0, None, throttled=flags)

    def ask(self, key: str, request: Any, expected: Any, silence_s: float) -> tuple[Any, bytes]:
        self.silences.append(silence_s)
        if isinstance(request, WarmUp):
            return Warm(12, True, 2 * MS), b""
        assert isinstance(request, TimeWindow)
        samples = time_window(self.invoke, request.seconds, self.clock)
        found = sum_up(samples, request.kept_samples)
        return found, samples[:: found.every].tobytes()


def test_windows_follow_one_another_and_tell_what_happened() -> None:
    board = ThrottledBoard()
    done = sustain(
        Sustain("int8", 6.0, 1.0, 100, 5.0),
        board.ask,
        board.conditions,
        board.sent.append,
        board.clock,
    )
    assert (done.windows, done.warm_up_runs, done.steady) == (6, 12, True)
    assert [window.runs for window in board.sent] == [500] * 3 + [250] * 3
    assert [window.p50_ns for window in board.sent] == [2 * MS] * 3 + [4 * MS] * 3
    for before, after in zip(board.sent, board.sent[1:], strict=False):
        assert before.ended_ns == after.began_ns
    assert all(len(window.samples_ns) <= 100 for window in board.sent)
    assert [window.every for window in board.sent] == [5] * 3 + [3] * 3
    assert board.sent[0].conditions, "what was read at the beginning"


def test_silence_is_allowed_for_by_what_was_measured() -> None:
    board = ThrottledBoard()
    request = Sustain("int8", 2.0, 1.0, 100, 5.0)
    sustain(request, board.ask, board.conditions, board.sent.append, board.clock)
    beyond_s = watchdog.LEAST_S + watchdog.TIMES_SLOWEST * 0.002
    assert board.silences == [5.0 + watchdog.FIRST_RUN_S, 1.0 + beyond_s, 1.0 + beyond_s]


@pytest.mark.parametrize(("count", "kept"), [(1, 5), (5, 5), (6, 5), (999, 10), (1000, 10)])
def test_a_window_is_summed_up_from_all_of_its_runs(count: int, kept: int) -> None:
    samples = array("q", [(7919 * i) % 10_007 + 1 for i in range(count)])
    found = sum_up(samples, kept)
    ordered = sorted(samples)
    assert (found.runs, found.total_ns) == (count, sum(samples))
    assert (found.fastest_ns, found.slowest_ns) == (ordered[0], ordered[-1])
    assert found.p50_ns == ordered[math.ceil(0.5 * count) - 1]
    assert found.p90_ns == ordered[math.ceil(0.9 * count) - 1]
    assert 1 <= len(samples[:: found.every]) <= kept
    assert isinstance(found, Windowed)


def test_a_window_of_a_slow_model_has_ten_runs() -> None:
    board = ThrottledBoard()
    assert len(time_window(board.invoke, 0.0, board.clock)) == WINDOW_RUNS_MIN


def test_a_window_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "WINDOW_SAMPLES_MAX", 50)
    board = ThrottledBoard()
    assert len(time_window(board.invoke, 60.0, board.clock)) == 50
