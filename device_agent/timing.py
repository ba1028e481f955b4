"""Warming up and timing: when is a model steady, and when has a turn run long enough."""

from __future__ import annotations

import gc
import math
from array import array
from typing import Callable, List, Optional, Sequence

from device_agent.measuring_messages import WINDOW_RUNS_MIN
from device_agent.worker_messages import TimeBlock, Warm, Windowed

TOLERANCE = 0.02
CALM_WINDOWS = 3
WINDOW_RUNS = 5
WINDOW_NS = 20_000_000
SETTLE_RUNS = 3
SETTLE_NS = 200_000_000
SAMPLES_MAX = 5_000
"""Most samples of one turn: more would not sharpen any percentile, and all of them are kept."""
WINDOW_SAMPLES_MAX = 1_000_000
"""Of a window, which may be of any length: 8 MB."""

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
    return _samples(invoke, lambda runs, spent: _is_over(runs, spent, block), clock_ns)


def time_window(invoke: Invoke, seconds: float, clock_ns: Clock) -> array[int]:
    """The nanoseconds of every run of one window of time; `WINDOW_RUNS_MIN` runs at least."""

    def is_over(runs: int, spent_ns: int) -> bool:
        enough = runs >= WINDOW_RUNS_MIN and spent_ns >= seconds * _NS_PER_SECOND
        return enough or runs >= WINDOW_SAMPLES_MAX

    return _samples(invoke, is_over, clock_ns)


def sum_up(samples: Sequence[int], kept: int) -> Windowed:
    """What a window's samples come to, all but what is kept of them.

    Args:
        samples: nanoseconds, in order; at least one.
        kept: how many samples to keep at most: every n-th, so that they lie evenly in time.
    """
    ordered = sorted(samples)
    return Windowed(
        runs=len(ordered),
        total_ns=sum(ordered),
        fastest_ns=ordered[0],
        slowest_ns=ordered[-1],
        p50_ns=ordered[math.ceil(0.5 * len(ordered)) - 1],
        p90_ns=ordered[math.ceil(0.9 * len(ordered)) - 1],
        every=max(1, -(-len(ordered) // kept)),
        peak_rss_bytes=None,
        payload_bytes=0,
    )


def _samples(invoke: Invoke, is_over: Callable[[int, int], bool], clock_ns: Clock) -> array[int]:
    samples = array("q")
    spent = 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        while not is_over(len(samples), spent):
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
