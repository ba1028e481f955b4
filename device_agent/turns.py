"""A bench: the models take turns in blocks (A B A B ...), so that both see the same device."""

from __future__ import annotations

import time
from array import array
from typing import Any, Callable, List, Optional, Tuple

from device_agent.measuring_messages import Conditions, Turn
from device_agent.model_messages import Bench, Benched, Latency
from device_agent.protocol import Progress
from device_agent.watchdog import block_silence_s, warm_up_silence_s
from device_agent.watching import watching
from device_agent.worker_messages import TimeBlock, Timed, Warm, WarmUp

PAUSE_S = 0.05
"""Before each turn: time for the other model's threads to go to sleep."""

Ask = Callable[[str, Any, Any, float], Tuple[Any, bytes]]
"""Ask the worker of a model: key, request, type of the reply, and after how many seconds of silence
it hangs; gives the reply and its payload."""


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
        warming = WarmUp(request.max_warm_up_seconds)
        warm, _ = ask(key, warming, Warm, warm_up_silence_s(warming))
        runs.append(_Run(key, warm))
        tell(Progress(len(runs), total, "warm-up"))
    done = len(runs)
    for _ in range(request.blocks):
        for run in runs:
            pause(PAUSE_S)
            _time(run, one_block(request), ask, read_conditions)
            done += 1
            tell(Progress(done, total, "turns"))
    return Benched(tuple(run.latency() for run in runs))


def one_block(request: Bench) -> TimeBlock:
    """The share of one turn in what is asked of each model over all turns."""
    return TimeBlock(
        min_runs=-(-request.min_runs // request.blocks),
        min_seconds=request.min_seconds / request.blocks,
        max_seconds=request.max_seconds / request.blocks,
    )


def _time(run: _Run, block: TimeBlock, ask: Ask, read_conditions: Callable[[], Conditions]) -> None:
    with watching(read_conditions) as conditions:
        timed, payload = ask(run.key, block, Timed, block_silence_s(block, run.slowest_ns))
    run.add(timed, payload, conditions)


class _Run:
    """What has been measured of one model so far."""

    def __init__(self, key: str, warm: Warm) -> None:
        self.key = key
        self.slowest_ns = warm.slowest_ns
        self._warm = warm
        self._conditions: List[Conditions] = []
        self._samples: List[int] = []
        self._block_sizes: List[int] = []
        self._turns: List[Turn] = []
        self._peak: Optional[int] = None

    def add(self, timed: Timed, payload: bytes, conditions: List[Conditions]) -> None:
        samples = array("q")
        samples.frombytes(payload)
        self._samples.extend(samples)
        self._block_sizes.append(len(samples))
        self._peak = timed.peak_rss_bytes
        self.slowest_ns = max(self.slowest_ns, *samples)
        self._conditions += conditions
        first, last = conditions[0].at_ns, conditions[-1].at_ns
        self._turns.append(Turn(first, last, len(samples) + timed.settling_runs))

    def latency(self) -> Latency:
        return Latency(
            key=self.key,
            samples_ns=tuple(self._samples),
            block_sizes=tuple(self._block_sizes),
            warm_up_runs=self._warm.runs,
            steady=self._warm.steady,
            conditions=tuple(self._conditions),
            peak_rss_bytes=self._peak,
            turns=tuple(self._turns),
        )
