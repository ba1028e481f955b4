"""From the windows of a long run to when it gave way, where it settled, and its verdicts. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np

from device_agent.measuring_messages import Conditions, Window
from edgesdk.validate.endurance_gates import judge_endured, not_judged
from edgesdk.validate.energy import Stretch, energy
from edgesdk.validate.gates import Gates, exit_code, outcome
from edgesdk.validate.statistics import block_bootstrap, samples_needed
from edgesdk.validate.validity import CLOCK_FALL_PERCENT, stamp_endured
from edgesdk.values.endurance import Endurance, Endured, GaveWay, Settled, Unsettled, blocks_of
from edgesdk.values.verdict import Estimate

FIRST_WINDOWS = 5
"""Their medians' median is what change is measured against."""
LATENCY_STEP_PERCENT = 10
STEP_WINDOWS = 5
"""A step counts where the latency is higher by so much in so many windows in a row: one slow window
is another program's, and a throttled board stays slow for longer than seconds."""
SETTLED_PERCENT = 3
SMOOTHED_WINDOWS = 5
"""The settled part is the longest end of the run in which the medians, each smoothed over so many
windows, stay within so much of the median of the last fifth. A board that holds its temperature by
changing clocks hops between two steps of it, and is smoothed to one level."""
SETTLED_WINDOWS_MIN = 10
SETTLED_SHARE_MIN = 0.1
"""Of the whole run: a shorter end says nothing of what comes after it."""
_NO_GATES = Gates()


def find_endurance(
    endured: Endured, gates: Gates = _NO_GATES, others: Sequence[str] = ()
) -> Endurance:
    """Derive all that a reader asks of a long run.

    Args:
        gates: those of p95 and of peak memory are judged, by the settled part.
        others: names of gates that were asked for elsewhere, and that no long run is judged by.
    """
    windows = endured.windows
    first = median(window.p50_ns for window in windows[:FIRST_WINDOWS])
    settled = _settled(windows)
    validity = stamp_endured(endured)
    verdicts = judge_endured(endured, settled, validity, gates)
    return Endurance(
        endured=endured,
        seconds=_at_s(windows, windows[-1].ended_ns),
        runs=sum(window.runs for window in windows),
        first_p50_ns=first,
        gave_way=_gave_way(windows, first),
        settled=settled if isinstance(settled, Settled) else None,
        unsettled=settled if isinstance(settled, Unsettled) else None,
        energy=energy(tuple(_stretches(windows))),
        validity=validity,
        verdicts=verdicts,
        not_judged=(*not_judged(gates), *others),
        outcome=outcome(verdicts),
        exit_code=int(exit_code(verdicts)),
    )


def _at_s(windows: Sequence[Window], moment_ns: int) -> float:
    return max(0.0, (moment_ns - windows[0].began_ns) / 1e9)


def _gave_way(windows: Sequence[Window], first: float) -> GaveWay | None:
    """The earliest sign; of those at one moment, the device's own word goes first."""
    signs = [
        sign
        for sign in (_by_flags(windows), _by_clock(windows), _by_latency(windows, first))
        if sign is not None
    ]
    return min(signs, key=lambda sign: sign.at_s, default=None)


def _by_flags(windows: Sequence[Window]) -> GaveWay | None:
    before: dict[str, int] = {}
    for at in _readings(windows):
        risen = [
            source
            for source, count in at.throttle_events.items()
            if count > before.get(source, count)
        ]
        causes = [*(at.throttled or ()), *risen]
        before = dict(at.throttle_events)
        if causes:
            what = ", ".join(dict.fromkeys(causes))
            return GaveWay(_at_s(windows, at.at_ns), "flags", f"the device said: {what}")
    return None


def _by_clock(windows: Sequence[Window]) -> GaveWay | None:
    clocks = [(window, max(found)) for window in windows if (found := _clocks(window))]
    highest = 0
    for index, (window, clock) in enumerate(clocks):
        highest = max(highest, clock)
        limit = highest * (1 - CLOCK_FALL_PERCENT / 100)
        following = [found for _, found in clocks[index : index + STEP_WINDOWS]]
        if len(following) == STEP_WINDOWS and max(following) < limit:
            return GaveWay(
                _at_s(windows, window.began_ns),
                "clock",
                f"the CPU clock fell from {highest / 1e9:.2f} to {clock / 1e9:.2f} GHz",
            )
    return None


def _by_latency(windows: Sequence[Window], first: float) -> GaveWay | None:
    limit = first * (1 + LATENCY_STEP_PERCENT / 100)
    for index in range(len(windows) - STEP_WINDOWS + 1):
        following = [window.p50_ns for window in windows[index : index + STEP_WINDOWS]]
        if min(following) > limit:
            percent = 100 * (median(following) / first - 1)
            return GaveWay(
                _at_s(windows, windows[index].began_ns),
                "latency",
                f"the median latency rose by {percent:.0f} % and stayed there for"
                f" {STEP_WINDOWS} windows or more",
            )
    return None


def _settled(windows: Sequence[Window]) -> Settled | Unsettled:
    medians = [float(window.p50_ns) for window in windows]
    level = median(medians[-max(1, len(medians) // 5) :])
    start = len(medians)
    while start > 0 and _is_near(_smoothed(medians, start - 1), level):
        start -= 1
    count = len(medians) - start
    needed = max(SETTLED_WINDOWS_MIN, math.ceil(SETTLED_SHARE_MIN * len(medians)))
    if count < needed:
        return Unsettled(count, needed, _seconds_needed(windows))
    last = windows[start:]
    pooled = _Pooled(last)
    return Settled(
        from_s=_at_s(windows, last[0].began_ns),
        windows=count,
        p50=pooled.quantile(0.50),
        p90=pooled.supported_quantile(0.90),
        p95=pooled.supported_quantile(0.95),
    )


def _seconds_needed(windows: Sequence[Window]) -> float | None:
    """How long it takes to see as many windows as are needed; None where there were as many."""
    if len(windows) >= SETTLED_WINDOWS_MIN:
        return None
    return math.ceil(SETTLED_WINDOWS_MIN * _at_s(windows, windows[-1].ended_ns) / len(windows))


def _smoothed(medians: Sequence[float], index: int) -> float:
    half = SMOOTHED_WINDOWS // 2
    return median(medians[max(0, index - half) : index + half + 1])


def _is_near(value: float, level: float) -> bool:
    return abs(value - level) <= level * SETTLED_PERCENT / 100


class _Pooled:
    """The kept samples of windows, each standing for as many runs as were left out.

    Sorted once for all quantiles and for every draw of blocks, which only changes their weights.
    """

    def __init__(self, windows: Sequence[Window]) -> None:
        blocks = list(blocks_of(windows))
        values = np.array([ns for window in windows for ns in window.samples_ns], dtype=np.float64)
        kept = [len(window.samples_ns) for window in windows]
        order = np.argsort(values)
        self._values = values[order]
        self._weights = np.repeat([w.runs / n for w, n in zip(windows, kept, strict=True)], kept)
        self._weights = self._weights[order]
        self._block = np.repeat([i for i, block in enumerate(blocks) for _ in block], kept)[order]
        self._blocks = range(len(blocks))
        self._runs = sum(window.runs for window in windows)

    def quantile(self, probability: float) -> Estimate:
        """In nanoseconds, with an interval by blocks of neighbouring windows; `n` is all runs."""
        found = block_bootstrap(self._blocks, lambda drawn: self._of(drawn, probability))
        return Estimate(found.value, self._runs, found.interval)

    def supported_quantile(self, probability: float) -> Estimate | None:
        """None where too few samples were kept for an interval, as of any other measurement."""
        supported = len(self._values) >= samples_needed(probability)
        return self.quantile(probability) if supported else None

    def _of(self, drawn: Sequence[int], probability: float) -> float:
        times = np.bincount(drawn, minlength=len(self._blocks))
        reached = np.cumsum(self._weights * times[self._block])
        index = int(np.searchsorted(reached, probability * reached[-1]))
        return float(self._values[index])


def _stretches(windows: Sequence[Window]) -> Iterator[Stretch]:
    """Blocks of windows, since one window has a reading or two only."""
    for block in blocks_of(windows):
        readings = tuple(_readings(block))
        seconds = (block[-1].ended_ns - block[0].began_ns) / 1e9
        yield Stretch(readings, seconds, sum(window.runs for window in block))


def _readings(windows: Sequence[Window]) -> Iterator[Conditions]:
    return itertools.chain.from_iterable(window.conditions for window in windows)


def _clocks(window: Window) -> list[int]:
    return [at.clock_hz for at in window.conditions if at.clock_hz is not None]
