"""What a graph costs in memory, from the sizes and lifetimes of its tensors. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One operator: the activations it reads and writes, by name."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]


def alive_at_peak(
    steps: Sequence[Step],
    size_bytes: Mapping[str, int],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> frozenset[str]:
    """The activations alive together that have the largest sum, running the steps in order.

    A tensor lives from the step that writes it (graph inputs: from the start) to the last step that
    reads it (graph outputs: to the end). This is the lower bound of any arena; alignment and
    scratch buffers come on top.

    Args:
        size_bytes: of every activation, in bytes; tensors not named here cost nothing.
    """
    last_use = {name: index for index, step in enumerate(steps) for name in step.reads}
    last_use |= dict.fromkeys(outputs, len(steps))
    alive = {name: size_bytes.get(name, 0) for name in inputs}
    peak = dict(alive)
    for index, step in enumerate(steps):
        alive |= {name: size_bytes.get(name, 0) for name in step.writes}
        if sum(alive.values()) > sum(peak.values()):
            peak = dict(alive)
        alive = {name: size for name, size in alive.items() if last_use.get(name, -1) > index}
    return frozenset(peak)
