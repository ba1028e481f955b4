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
from typing import Any, Callable, List, Tuple

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
from device_agent.timing import SAMPLES_MAX, SETTLE_NS, SETTLE_RUNS
from device_agent.worker_messages import Warm

READINGS = 4
"""Of the clock in each run: before it, and after each of its three parts."""

_NS_PER_SECOND = 1e9

Ask = Callable[[Any, Any], Tuple[Any, bytes]]
"""Ask the model's worker: request, type of the reply; gives the reply and its payload."""
Step = Callable[[], None]
Clock = Callable[[], int]


def bench_stages(
    request: BenchStages,
    prepare: PrepareStages,
    ask: Ask,
    tell: Callable[[Progress], None],
    pause: Step,
) -> StagesBenched:
    """Get a model ready, warm it up and time it in turns.

    Args:
        pause: called before each turn.

    Raises:
        AgentFailure: from `ask`.
    """
    prepared, _ = ask(prepare, StagesPrepared)
    warm, _ = ask(WarmUpStages(request.max_warm_up_seconds), Warm)
    block = TimeStages(
        min_runs=-(-request.min_runs // request.blocks),
        min_seconds=request.min_seconds / request.blocks,
        max_seconds=request.max_seconds / request.blocks,
    )
    parts: Tuple[List[int], ...] = ([], [], [])
    sizes: List[int] = []
    for done in range(request.blocks):
        pause()
        _, payload = ask(block, StagesTimed)
        sizes.append(_add(payload, parts))
        tell(Progress(done + 1, request.blocks, "turns"))
    preprocess, inference, postprocess = parts
    return StagesBenched(
        preprocess_ns=tuple(preprocess),
        inference_ns=tuple(inference),
        postprocess_ns=tuple(postprocess),
        block_sizes=tuple(sizes),
        warm_up_runs=warm.runs,
        steady=warm.steady,
        input_sha256=prepared.input_sha256,
    )


def time_stages(
    preprocess: Step, infer: Step, postprocess: Step, block: TimeStages, clock_ns: Clock
) -> array[int]:
    """Four clock readings of every run of one turn, garbage collection held off meanwhile.

    A few runs before it are not timed, as in `timing.time_block`.
    """
    readings = array("q")
    _settle(preprocess, infer, postprocess, clock_ns)
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


def _settle(preprocess: Step, infer: Step, postprocess: Step, clock_ns: Clock) -> None:
    start = clock_ns()
    for _ in range(SETTLE_RUNS):
        preprocess()
        infer()
        postprocess()
        if clock_ns() - start >= SETTLE_NS:
            return


def _is_over(runs: int, spent_ns: int, block: TimeStages) -> bool:
    if spent_ns >= block.max_seconds * _NS_PER_SECOND or runs >= SAMPLES_MAX:
        return True
    return runs >= block.min_runs and spent_ns >= block.min_seconds * _NS_PER_SECOND


def _add(payload: bytes, parts: Tuple[List[int], ...]) -> int:
    """Add a turn's samples, part by part; how many runs those were."""
    readings = array("q")
    readings.frombytes(payload)
    for at, part in enumerate(parts):
        ends, starts = readings[at + 1 :: READINGS], readings[at::READINGS]
        part.extend(end - start for start, end in zip(starts, ends))
    return len(readings) // READINGS
