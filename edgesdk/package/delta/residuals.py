"""Predict a tensor from the old one, and say what is left: the arithmetic of the device, in numpy.

The counterpart of `device_agent.delta_tensors`; every integer here is the one that is computed
there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from device_agent import delta_tensors as agent
from device_agent.delta_tensors import Scaling, Shape

Bytes = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]

_WIDE_BITS = 32


@dataclass(frozen=True, slots=True)
class Residual:
    """What is left of a tensor of bytes, in the order the device reads it.

    Args:
        symbols: folded residuals.
        buckets: of each symbol; None where all are in the first.
    """

    symbols: Bytes
    buckets: Bytes | None


def fold(differences: Bytes) -> Bytes:
    """Differences modulo 256 as symbols: 0, 1, -1, 2, -2 and so on become 0, 1, 2, 3, 4."""
    signed = np.negative(differences.view(np.int8))
    return ((signed << 1) ^ (signed >> 7)).view(np.uint8)


def plain_residual(old: Bytes | None, new: Bytes, shape: Shape) -> Residual:
    """With the old value, or 0 where there is none, as the prediction.

    Args:
        old, new: elements, a byte each, in the file's order.
    """
    return Residual(arranged(fold(new if old is None else new - old), shape), None)


def scaled_residual(
    old: Bytes, new: Bytes, shape: Shape, signed: bool, scaling: Scaling
) -> Residual:
    """With the old value at the new scale as the prediction."""
    count = len(scaling.old_scales)
    multipliers = [agent.multiplier(scaling.ratio(channel)) for channel in range(count)]
    distinct = sorted(set(multipliers))
    tables = [agent.tables(each, signed, *scaling[3:]) for each in distinct]
    predicted, mirrored, buckets = (
        np.array([np.frombuffer(table[part], np.uint8) for table in tables]) for part in range(3)
    )
    place = {multiplier: index for index, multiplier in enumerate(distinct)}
    rows = np.array([place[each] for each in multipliers])
    each = np.broadcast_to(rows[None, :, None], (shape.outer, shape.channels, shape.inner)).ravel()
    raw = new - predicted[each, old]
    # The device flips the residual's bits; the prediction holds the one that is missing then.
    symbols = fold(raw ^ mirrored[each, old])
    return Residual(arranged(symbols, shape), arranged(buckets[each, old], shape))


def arranged(elements: Bytes, shape: Shape) -> Bytes:
    """Elements in the order the device reads their symbols: tile by tile, channel by channel."""
    if shape.outer == 1:
        return elements
    parts = []
    for tile in agent.tiles(shape):
        block = elements[tile.start : tile.start + tile.elements]
        parts.append(block.reshape(tile.outer, tile.channels, tile.row).transpose(1, 0, 2).ravel())
    return np.concatenate(parts)


def runs(shape: Shape) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where the runs of one channel begin in that order, and which channel each is of."""
    if shape.outer == 1:
        channels = np.arange(shape.channels, dtype=np.int64)
        return channels * shape.inner, channels
    starts: list[npt.NDArray[np.int64]] = []
    firsts: list[npt.NDArray[np.int64]] = []
    start = 0
    for tile in agent.tiles(shape):
        starts.append(start + np.arange(tile.channels, dtype=np.int64) * tile.outer * tile.row)
        firsts.append(np.arange(tile.channels, dtype=np.int64))
        start += tile.elements
    return np.concatenate(starts), np.concatenate(firsts)


def nibbles(data: Bytes, count: int, signed: bool) -> Bytes:
    """Half bytes, the lower first, as a byte each."""
    elements = np.empty(2 * len(data), np.uint8)
    elements[0::2] = data & 0x0F
    elements[1::2] = data >> 4
    elements = elements[:count]
    return np.where(signed & (elements >= 8), elements | 0xF0, elements)


def planes(old: Bytes, new: Bytes, width: int) -> tuple[Bytes, Bytes]:
    """Folded residuals byte plane by byte plane, the most significant first, and their contexts.

    Args:
        old: the prediction, little-endian.
    """
    unsigned = np.dtype(f"<u{width}")
    signed = (new.view(unsigned) - old.view(unsigned)).view(np.dtype(f"<i{width}"))
    folded = ((signed << 1) ^ (signed >> (8 * width - 1))).view(np.uint8).reshape(-1, width)
    split = np.ascontiguousarray(folded[:, ::-1].T)
    contexts = np.concatenate([old.reshape(-1, width)[:, -1][None], split[:-1]])
    return split, contexts


def carried(old: Bytes, width: int, scaling: Scaling) -> Bytes:
    """Integers at their new scale."""
    one, mask = 1 << _WIDE_BITS, (1 << 8 * width) - 1
    values = [
        int(value) * int(scaling.ratio(place) * one + 0.5) + one // 2 >> _WIDE_BITS & mask
        for place, value in enumerate(old.view(np.dtype(f"<i{width}")))
    ]
    return np.array(values, np.dtype(f"<u{width}")).view(np.uint8)


def products(floats: npt.NDArray[np.float32], factor: float) -> Bytes:
    """Floats times a factor, rounded once."""
    with np.errstate(over="ignore"):
        return (floats.astype(np.float64) * factor).astype(np.float32).view(np.uint8)


def tiled(count: int, width: int) -> Iterator[slice]:
    """The elements of a wide tensor that the device works on at once."""
    step = agent.TILE // width
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
