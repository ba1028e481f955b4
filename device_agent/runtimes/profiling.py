"""What the adapters' profiles share: the order, the runs, and one record made of many times."""

from __future__ import annotations

import time
from typing import Callable, Iterable, List, NamedTuple, Sequence, Tuple

import numpy as np

from device_agent.manifest import Port
from device_agent.profile_messages import OperatorPlace, OperatorTime, Profiled
from device_agent.runtimes.base import LoadedModel, Tell

WARM_UP_RUNS = 5
VALUES_MAX = 20_000
"""Times of operators in one profile: ONNX Runtime writes some 700 bytes for each."""
RUNS_MIN = 5
_TELL_S = 1.0
_NS_PER_SECOND = 1e9


class ProfileOrder(NamedTuple):
    """What is profiled, and how long.

    Args:
        path: of the file that `Runtime.build` gave.
        threads: as for `Runtime.load`.
        inputs: gives the inputs, for the model's ports.
        runs: after warming up.
        max_seconds: stop after this long, one run being done at least.
        tell: hears every second how long it has taken.
    """

    path: str
    threads: int
    inputs: Callable[[Sequence[Port]], Sequence[np.ndarray]]
    runs: int
    max_seconds: float
    tell: Tell


def timed_runs(
    model: LoadedModel,
    order: ProfileOrder,
    operators: int,
    after: Callable[[], None] = lambda: None,
) -> Tuple[int, ...]:
    """Warm a model up and run it; nanoseconds of each run that counts.

    Args:
        operators: how many the model has; with very many, it is run less often.
        after: called after every run, warm-up included, outside of its time.
    """
    model.set_inputs(order.inputs(model.inputs))
    start = told = time.monotonic()
    warm_ups = 0
    samples: List[int] = []
    while len(samples) < runs_for(order.runs, operators):
        before = time.perf_counter_ns()
        model.invoke()
        sample = time.perf_counter_ns() - before
        after()
        now = time.monotonic()
        if now - told >= _TELL_S:
            told = now
            order.tell(int(now - start), "timing each operator")
        out_of_time = now - start >= order.max_seconds
        if warm_ups < WARM_UP_RUNS and not out_of_time:
            warm_ups += 1
            continue
        samples.append(sample)
        if out_of_time:
            break
    return tuple(samples)


def runs_for(wanted: int, operators: int) -> int:
    """How often to run a model, so that not too many times come of it."""
    return max(1, min(wanted, max(RUNS_MIN, VALUES_MAX // max(1, operators))))


def times_of(
    series: Iterable[Tuple[OperatorPlace, Sequence[int]]], runs: int
) -> Tuple[OperatorTime, ...]:
    """One record an operator, of the last `runs` times of each, in nanoseconds."""
    return tuple(
        OperatorTime(place, tuple(times[-runs:]), sum(times[-runs:]) // len(times[-runs:]))
        for place, times in series
    )


def profiled(
    operators: Tuple[OperatorTime, ...],
    samples_ns: Tuple[int, ...],
    source: str,
    resolution_ns: int,
) -> Profiled:
    """The reply, of runs that were timed here."""
    return Profiled("", operators, samples_ns, len(samples_ns), resolution_ns, source)


def not_profiled(reason: str) -> Profiled:
    """The reply where nothing times the operators."""
    return Profiled("", (), (), 0, 0, reason)
