"""The steps that make what is no known tensor: copies, differences and new bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from device_agent.delta_tensors import Shape
from edgesdk.package.delta import residuals
from edgesdk.package.delta.bytewise import Match, match_bytes
from edgesdk.package.delta.modelling import symbol_bits
from edgesdk.package.delta.steps import Add, ByteStep, Copy, Insert, Step

Bytes = npt.NDArray[np.uint8]

_MODELLED_MIN = 2048
"""Bytes from which on a stretch of differences, or of new bytes, is modelled as a tensor."""
_MODELLED_ROW = 256
_MODELLED_GAIN = 0.95
_COPY_MIN = 32
"""Equal bytes from which on a copy is shorter than differences of 0."""
_STRETCH_ENDS = 4096
"""Equal bytes that end a stretch of differences that may be a tensor."""
_STEP_BYTES = 2
"""What a step takes in the program, once that is packed."""


def steps_of_bytes(old: Bytes, new: Bytes) -> list[Step]:
    """A file without tensors."""
    matches = match_bytes(old, new, correlate=False)
    coarse = [step for match in matches for step in byte_steps(match, old, new)]
    return joined([fine for step in coarse for fine in _fine(step)])


def rough_size(steps: Sequence[Step]) -> int:
    """Bytes that the steps' inserted bytes and differences take, one quick coder later."""
    data = b"".join(step.data for step in steps if isinstance(step, Insert))
    added = b"".join(step.differences for step in steps if isinstance(step, Add))
    return len(zlib.compress(data)) + len(zlib.compress(added))


def byte_steps(match: Match, old: Bytes, new: Bytes) -> Iterator[Step]:
    """Copies where many bytes are equal, and long differences that are mostly 0 between."""
    data = new[match.new : match.new + match.size]
    if match.old < 0:
        yield Insert(data.tobytes())
    else:
        differences = data - old[match.old : match.old + match.size]
        yield from _cut(Add(match.old, differences.tobytes()), _STRETCH_ENDS)


def _cut(step: Add, least: int) -> Iterator[Copy | Add]:
    """Differences as copies, where at least so many are 0 or all are, and what is between."""
    least = min(least, step.size)
    equal = np.frombuffer(step.differences, np.uint8) == 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], equal.view(np.int8), [0]])))
    pairs = edges.reshape(-1, 2)
    position = 0
    for start, end in pairs[pairs[:, 1] - pairs[:, 0] >= least].tolist():
        if start > position:
            yield Add(step.base + position, step.differences[position:start])
        yield Copy(step.base + start, end - start)
        position = end
    if position < step.size:
        yield Add(step.base + position, step.differences[position:])


def _fine(step: Step) -> Iterator[Step]:
    """Differences cut wherever a copy is shorter."""
    return _cut(step, _COPY_MIN) if isinstance(step, Add) else iter((step,))


def modelled(steps: Sequence[Step]) -> Iterator[Step]:
    """Long differences, or new bytes, as tensors of nothing but rows, where that is shorter."""
    for step in steps:
        fine = list(_fine(step))
        if not isinstance(step, Insert | Add) or step.size < _MODELLED_MIN:
            yield from fine
            continue
        content = step.data if isinstance(step, Insert) else step.differences
        size = len(content) // _MODELLED_ROW * _MODELLED_ROW
        symbols = residuals.fold(np.frombuffer(content, np.uint8, size))
        otherwise = len(zlib.compress(content)) + _STEP_BYTES * len(fine)
        if symbol_bits(symbols, None) > 8 * _MODELLED_GAIN * otherwise:
            yield from fine
            continue
        shape = Shape(1, size // _MODELLED_ROW, _MODELLED_ROW)
        base = None if isinstance(step, Insert) else step.base
        yield ByteStep(shape, False, True, base, None, symbols, None)
        if isinstance(step, Insert):
            yield Insert(content[size:])
        else:
            yield Add(step.base + size, content[size:])


def joined(steps: Sequence[Step]) -> list[Step]:
    """Neighbours of one kind as one step."""
    found: list[Step] = []
    for step in steps:
        last = found[-1] if found else None
        if isinstance(step, Copy) and isinstance(last, Copy) and last.base + last.size == step.base:
            found[-1] = Copy(last.base, last.size + step.size)
        elif isinstance(step, Insert) and isinstance(last, Insert):
            found[-1] = Insert(last.data + step.data)
        elif isinstance(step, Add) and isinstance(last, Add) and last.base + last.size == step.base:
            found[-1] = Add(last.base, last.differences + step.differences)
        else:
            found.append(step)
    return found


def append(steps: list[Step], step: Step) -> None:
    """Append a step; one that continues a copy makes that longer."""
    last = steps[-1] if steps else None
    if isinstance(step, Copy) and isinstance(last, Copy) and last.base + last.size == step.base:
        steps[-1] = Copy(last.base, last.size + step.size)
    elif step.size:
        steps.append(step)


def gaps(taken: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    starts = [0, *(end for _, end in taken)]
    ends = [*(start for start, _ in taken), size]
    return list(zip(starts, ends, strict=True))


def joined_bytes(data: Bytes, gaps: Sequence[tuple[int, int]]) -> Bytes:
    return np.concatenate([data[start:end] for start, end in gaps])


def split(
    match: Match, cuts: npt.NDArray[np.int64], old_cuts: npt.NDArray[np.int64]
) -> Iterator[Match]:
    """A match in parts that cross no cut of either file."""
    start, end = match.new, match.new + match.size
    places = set(cuts[(cuts > start) & (cuts < end)].tolist())
    if match.old >= 0:
        moved = old_cuts - match.old + match.new
        places |= set(moved[(moved > start) & (moved < end)].tolist())
    edges = [start, *sorted(places), end]
    for begin, stop in pairwise(edges):
        old = match.old + begin - start if match.old >= 0 else -1
        yield Match(begin, stop - begin, old)
