"""Samples cut into the turns they were taken in. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from device_agent.measuring_messages import Conditions, Turn
from device_agent.model_messages import Latency


def turns(latency: Latency) -> tuple[tuple[int, ...], ...]:
    """The samples of each of the agent's turns, in order."""
    return tuple(_cut(latency.samples_ns, latency.block_sizes))


def _cut(samples: tuple[int, ...], sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    start = 0
    for size in sizes:
        yield samples[start : start + size]
        start += size


def within(latency: Latency, turn: Turn) -> tuple[Conditions, ...]:
    """The conditions read in one turn; the first is of the idle device just before."""
    return tuple(at for at in latency.conditions if turn.began_ns <= at.at_ns <= turn.ended_ns)
