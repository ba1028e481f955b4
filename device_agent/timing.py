"""Warming up and timing: when is a model steady, and when has a turn run long enough."""

from __future__ import annotations

import gc
from array import array
from typing import Callable, List, Optional

from device_agent.worker_messages import TimeBlock, Warm

TOLERANCE = 0.02
CALM_WINDOWS = 3
WINDOW_RUNS = 5
WINDOW_NS = 20_000_000
SETTLE_RUNS = 3
SETTLE_NS = 200_000_000
SAMPLES_MAX = 5_000
"""Most samples of one turn: more would not sharpen any percentile, and all of them are kept."""

_NS_PER_SECOND = 1e9

Invoke = Callable[[], None]
Clock = Callable[[], int]


class SteadyTest:
    """Watches the medians of successive windows of runs.

    Steady means: for `CALM_WINDOWS` windows in a row, the median was not lower by more than
    `TOLERANCE` than the best window before. It says that warming up no longer helps, not that the
    latency is constant.
    """

    def __init__(self) -> None:
        self._best: Optional[float] = None
        self._calm = 0

    def add(self, median: float) -> bool:
        """Take the next window's median; whether the latency is steady now."""
        if self._best is not None and median >= self._best * (1 - TOLERANCE):
            self._calm += 1
        else:
            self._calm = 0
        self._best = median if self._best is None else min(self._best, median)
        return self._calm >= CALM_WINDOWS


def warm_up(invoke: Invoke, max_seconds: float, clock_ns: Clock) -> Warm:
    """Run in windows of at least `WINDOW_RUNS` runs and `WINDOW_NS` until steady or out of time."""
    end = clock_ns() + max_seconds * _NS_PER_SECOND
    steady, runs, slowest, test = False, 0, 0, SteadyTest()
    while not steady and clock_ns() < end:
        window = _window(invoke, end, clock_ns)
        runs += len(window)
        slowest = max([slowest, *window])
        # A window that time cut short says nothing.
        if len(window) >= WINDOW_RUNS:
            steady = test.add(sorted(window)[len(window) // 2])
    return Warm(runs, steady, slowest)


def _window(invoke: Invoke, end_ns: float, clock_ns: Clock) -> List[int]:
    window: List[int] = []
    spent = 0
    while (len(window) < WINDOW_RUNS or spent < WINDOW_NS) and clock_ns() < end_ns:
        window.append(_time(invoke, clock_ns))
        spent += window[-1]
    return window


def time_block(invoke: Invoke, block: TimeBlock, clock_ns: Clock) -> array[int]:
    """The nanoseconds of every run of one turn, garbage collection held off meanwhile."""
    samples = array("q")
    spent = 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        while not _is_over(len(samples), spent, block):
            sample = _time(invoke, clock_ns)
            samples.append(sample)
            spent += sample
    finally:
        if collecting:
            gc.enable()
    return samples


def _is_over(runs: int, spent_ns: int, block: TimeBlock) -> bool:
    if runs == 0:
        return False
    if spent_ns >= block.max_seconds * _NS_PER_SECOND or runs >= SAMPLES_MAX:
        return True
    return runs >= block.min_runs and spent_ns >= block.min_seconds * _NS_PER_SECOND


def settle(invoke: Invoke, clock_ns: Clock) -> int:
    """A few runs before a turn, how many: the model that ran before left the caches cold."""
    spent = 0
    for done in range(1, SETTLE_RUNS + 1):
        spent += _time(invoke, clock_ns)
        if spent >= SETTLE_NS:
            return done
    return SETTLE_RUNS


def _time(invoke: Invoke, clock_ns: Clock) -> int:
    start = clock_ns()
    invoke()
    return clock_ns() - start
