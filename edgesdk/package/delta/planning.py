"""The program of a delta: piece by piece of the new file, what step makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgesdk.models.ranges.types import TensorRange
from edgesdk.package.delta.byte_steps import (
    append,
    byte_steps,
    gaps,
    joined,
    joined_bytes,
    modelled,
    split,
    steps_of_bytes,
)
from edgesdk.package.delta.bytewise import Match, match_bytes
from edgesdk.package.delta.side import Side
from edgesdk.package.delta.steps import Copy, Step
from edgesdk.package.delta.tensor_steps import TensorSteps
from edgesdk.package.delta.versions import Bytes, Versions


@dataclass(frozen=True, slots=True)
class Plan:
    """The two halves of a program.

    Args:
        owners: of a step, by its place in both halves in a row, the tensor that it makes or scales.
    """

    side: tuple[Step, ...]
    main: tuple[Step, ...]
    owners: dict[int, TensorRange]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of the new file with steps of its own."""

    start: int
    end: int
    steps: tuple[Step, ...]
    tensor: TensorRange | None


def plan_bytes(old: Bytes, new: Bytes) -> Plan:
    """A program that knows bytes only."""
    return Plan((), tuple(steps_of_bytes(old, new)), {})


def plan_tensors(versions: Versions) -> Plan:
    """A program that knows where the tensors lie; of files without any, one by content."""
    side = Side(versions)
    pieces = _pieces(versions, side)
    between = _between(versions, [(piece.start, piece.end) for piece in pieces])
    main: list[Step] = []
    owned: dict[int, TensorRange] = {}
    for index, steps in enumerate(between):
        for step in modelled(joined(steps)):
            append(main, step)
        for piece in pieces[index : index + 1]:
            for step in piece.steps:
                append(main, step)
                if piece.tensor is not None and not isinstance(step, Copy):
                    owned[len(main) - 1] = piece.tensor
    owners = {
        place: tensor
        for tensor in versions.new_layout.tensors
        for scale in tensor.scales[:1]
        if (place := side.places.get(scale.start)) is not None
    }
    owners |= {len(side.steps) + place: tensor for place, tensor in owned.items()}
    return Plan(tuple(side.steps), tuple(main), owners)


def _pieces(versions: Versions, side: Side) -> list[_Piece]:
    """What has steps of its own, in the file's order; of two that overlap the first."""
    pieces = []
    for floats in (*versions.new_layout.vectors, *side.single_scales()):
        if (step := side.written(floats)) is not None:
            pieces.append(_Piece(floats.start, floats.end, (step,), None))
    taken = {piece.start for piece in pieces}
    finder = TensorSteps(versions, side)
    for tensor in versions.new_layout.tensors:
        if tensor.start not in taken and (steps := finder.steps(tensor)):
            pieces.append(_Piece(tensor.start, tensor.end, tuple(steps), tensor))
    apart: list[_Piece] = []
    for piece in sorted(pieces, key=lambda each: each.start):
        if not apart or piece.start >= apart[-1].end:
            apart.append(piece)
    return apart


def _between(versions: Versions, taken: Sequence[tuple[int, int]]) -> list[list[Step]]:
    """The steps before, between and behind the pieces.

    The bytes outside the pieces, and outside of what they were in the old file, are matched as if
    they were all there is.
    """
    made = versions.paired({start for start, _ in taken})
    old_taken = [(place.start, place.end) for place in made]
    old_gaps, new_gaps = gaps(old_taken, len(versions.old)), gaps(taken, len(versions.new))
    old = joined_bytes(versions.old, old_gaps)
    new = joined_bytes(versions.new, new_gaps)
    old_cuts = np.cumsum([0, *(end - start for start, end in old_gaps)])
    cuts = np.cumsum([0, *(end - start for start, end in new_gaps)])
    steps: list[list[Step]] = [[] for _ in new_gaps]
    for match in match_bytes(old, new):
        for part in split(match, cuts, old_cuts):
            gap = int(np.searchsorted(cuts, part.new, "right")) - 1
            moved = Match(new_gaps[gap][0] + part.new - int(cuts[gap]), part.size, -1)
            if part.old >= 0:
                home = int(np.searchsorted(old_cuts, part.old, "right")) - 1
                place = old_gaps[home][0] + part.old - int(old_cuts[home])
                moved = Match(moved.new, moved.size, place)
            steps[gap].extend(byte_steps(moved, versions.old, versions.new))
    return steps
