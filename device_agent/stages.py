"""Timing whole runs, from picture to answer, apart from the turns in which inference is timed.

A model's own turns stay as they are: preprocessing between two of its runs would leave it colder
caches and, on a small board, a slower clock. So whole runs have turns of their own, after those,
and their inference part is what an application sees. The agent's half asks the worker for turns;
the worker's half times them. Neither needs numpy.
"""

from __future__ import annotations

import gc
import time
from array import array
from typing import Any, Callable, List, Sequence, Tuple

from device_agent.measuring_messages import Conditions, Turn
from device_agent.protocol import Progress
from device_agent.stage_messages import (
    BenchStages,
    PrepareStages,
    StagesBenched,
    StagesPrepared,
    StagesTimed,
    TimeStages,
    WarmUpStages,
)
from device_agent.timing import SAMPLES_MAX
from device_agent.watchdog import FIRST_RUN_S, block_silence_s, warm_up_silence_s
from device_agent.watching import watching
from device_agent.worker_messages import Warm

READINGS = 4
"""Of the clock in each run: before it, and after each of its three parts."""

_NS_PER_SECOND = 1e9

Ask = Callable[[Any, Any, float], Tuple[Any, bytes]]
"""Ask the model's worker: request, type of the reply, and after how many seconds of silence it
hangs; gives the reply and its payload."""
Step = Callable[[], None]
Clock = Callable[[], int]


def bench_stages(
    request: BenchStages,
    prepare: PrepareStages,
    ask: Ask,
    read_conditions: Callable[[], Conditions],
    tell: Callable[[Progress], None],
    pause: Step,
) -> StagesBenched:
    """Get a model ready, warm it up and time it in turns.

    Args:
        pause: called before each turn.

    Raises:
        AgentFailure: from `ask`.
    """
    prepared, _ = ask(prepare, StagesPrepared, FIRST_RUN_S)
    warming = WarmUpStages(request.max_warm_up_seconds)
    warm, _ = ask(warming, Warm, warm_up_silence_s(warming))
    block = TimeStages(
        min_runs=-(-request.min_runs // request.blocks),
        min_seconds=request.min_seconds / request.blocks,
        max_seconds=request.max_seconds / request.blocks,
    )
    runs = _Runs(warm.slowest_ns)
    for done in range(request.blocks):
        pause()
        with watching(read_conditions) as conditions:
            timed, payload = ask(block, StagesTimed, block_silence_s(block, runs.slowest_ns))
        runs.add(timed, payload, conditions)
        tell(Progress(done + 1, request.blocks, "turns"))
    return runs.benched(warm, prepared.input_sha256)


def time_stages(
    preprocess: Step, infer: Step, postprocess: Step, block: TimeStages, clock_ns: Clock
) -> array[int]:
    """Four clock readings of every run of one turn, garbage collection held off meanwhile."""
    readings = array("q")
    spent, runs = 0, 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        while runs == 0 or not _is_over(runs, spent, block):
            start = clock_ns()
            preprocess()
            prepared = clock_ns()
            infer()
            inferred = clock_ns()
            postprocess()
            end = clock_ns()
            readings.extend((start, prepared, inferred, end))
            runs, spent = runs + 1, spent + end - start
    finally:
        if collecting:
            gc.enable()
    return readings


def pause_for(seconds: float) -> Step:
    """A pause of that length, for `bench_stages`."""
    return lambda: time.sleep(seconds)


def _is_over(runs: int, spent_ns: int, block: TimeStages) -> bool:
    if spent_ns >= block.max_seconds * _NS_PER_SECOND or runs >= SAMPLES_MAX:
        return True
    return runs >= block.min_runs and spent_ns >= block.min_seconds * _NS_PER_SECOND


class _Runs:
    """What has been measured so far."""

    def __init__(self, slowest_ns: int) -> None:
        self.slowest_ns = slowest_ns
        self._parts: Tuple[List[int], ...] = ([], [], [])
        self._sizes: List[int] = []
        self._conditions: List[Conditions] = []
        self._turns: List[Turn] = []

    def add(self, timed: StagesTimed, payload: bytes, conditions: List[Conditions]) -> None:
        readings = array("q")
        readings.frombytes(payload)
        for at, part in enumerate(self._parts):
            part.extend(_differences(readings[at::READINGS], readings[at + 1 :: READINGS]))
        whole = _differences(readings[::READINGS], readings[READINGS - 1 :: READINGS])
        self.slowest_ns = max(self.slowest_ns, *whole)
        self._sizes.append(len(whole))
        self._conditions += conditions
        first, last = conditions[0].at_ns, conditions[-1].at_ns
        self._turns.append(Turn(first, last, len(whole) + timed.settling_runs))

    def benched(self, warm: Warm, input_sha256: str) -> StagesBenched:
        preprocess, inference, postprocess = self._parts
        return StagesBenched(
            preprocess_ns=tuple(preprocess),
            inference_ns=tuple(inference),
            postprocess_ns=tuple(postprocess),
            block_sizes=tuple(self._sizes),
            warm_up_runs=warm.runs,
            steady=warm.steady,
            input_sha256=input_sha256,
            conditions=tuple(self._conditions),
            turns=tuple(self._turns),
        )


def _differences(starts: Sequence[int], ends: Sequence[int]) -> List[int]:
    return [end - start for start, end in zip(starts, ends)]
