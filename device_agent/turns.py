"""A bench: the models take turns in blocks (A B A B ...), so that both see the same device."""

from __future__ import annotations

import time
from array import array
from typing import Any, Callable, List, Optional, Tuple

from device_agent.protocol import Bench, Benched, Conditions, Latency, Progress
from device_agent.worker_messages import TimeBlock, Timed, Warm, WarmUp

PAUSE_S = 0.05
"""Before each turn: time for the other model's threads to go to sleep."""

Ask = Callable[[str, Any, Any], Tuple[Any, bytes]]
"""Ask the worker of a model: key, request, type of the reply; gives the reply and its payload."""


def take_turns(
    request: Bench,
    ask: Ask,
    read_conditions: Callable[[], Conditions],
    tell: Callable[[Progress], None],
    pause: Callable[[float], None] = time.sleep,
) -> Benched:
    """Warm up each model, then time them in turns.

    Raises:
        AgentFailure: from `ask`.
    """
    total = len(request.keys) * (request.blocks + 1)
    runs = []
    for key in request.keys:
        warm, _ = ask(key, WarmUp(request.max_warm_up_seconds), Warm)
        runs.append(_Run(key, warm))
        tell(Progress(len(runs), total, "warm-up"))
    done = len(runs)
    for _ in range(request.blocks):
        for run in runs:
            pause(PAUSE_S)
            run.conditions.append(read_conditions())
            run.add(*ask(run.key, one_block(request), Timed))
            done += 1
            tell(Progress(done, total, "turns"))
    end = read_conditions()
    return Benched(tuple(run.latency(end) for run in runs))


def one_block(request: Bench) -> TimeBlock:
    """The share of one turn in what is asked of each model over all turns."""
    return TimeBlock(
        min_runs=-(-request.min_runs // request.blocks),
        min_seconds=request.min_seconds / request.blocks,
        max_seconds=request.max_seconds / request.blocks,
    )


class _Run:
    """What has been measured of one model so far."""

    def __init__(self, key: str, warm: Warm) -> None:
        self.key = key
        self.conditions: List[Conditions] = []
        self._warm = warm
        self._samples: List[int] = []
        self._block_sizes: List[int] = []
        self._peak: Optional[int] = None

    def add(self, timed: Timed, payload: bytes) -> None:
        samples = array("q")
        samples.frombytes(payload)
        self._samples.extend(samples)
        self._block_sizes.append(len(samples))
        self._peak = timed.peak_rss_bytes

    def latency(self, end: Conditions) -> Latency:
        return Latency(
            key=self.key,
            samples_ns=tuple(self._samples),
            block_sizes=tuple(self._block_sizes),
            warm_up_runs=self._warm.runs,
            steady=self._warm.steady,
            conditions=(*self.conditions, end),
            peak_rss_bytes=self._peak,
        )
