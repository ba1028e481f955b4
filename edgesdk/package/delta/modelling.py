"""Sort the symbols of all tensors into streams, so that each stream holds what is alike.

A coder without a model of its own does well on symbols of one distribution. What tells them apart
is known to the device beforehand, or costs little to say: the fraction of the prediction (its
bucket), how much its channel changed (a class, said for each channel where that pays, else for the
tensor), and of wide elements the byte before it. Streams are as many as pay for their tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from device_agent.delta_tensors import BUCKETS, NO_STREAM
from edgesdk.package.delta.coding import entropy_bits
from edgesdk.package.delta.residuals import runs, tiled
from edgesdk.package.delta.steps import ByteStep, Modelling, Step, WideStep

Bytes = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

_CELL_SYMBOLS = 64
"""Symbols from here on count as one when classes are chosen."""
_CELLS = (BUCKETS + 1) * _CELL_SYMBOLS
_ROUNDS = 3
_FIRST_CLASS_BITS = 3.0
_CLASS_STEP = 0.4
_CLASSES_MAX = 32
_STREAM_BITS = 160.0
_SYMBOL_BITS = 5.0
"""What a stream costs in the patch, and each symbol that occurs in it, in a table."""
_OWN_TABLES = 16384
"""A wide tensor of so many elements does not share its tables."""
_CLUSTERS_MAX, _PLANE_CLUSTERS_MAX = 48, 6
_WIDE_STREAMS_MAX = 60


def model(steps: Sequence[Step]) -> Modelling:
    """Choose the streams of every tensor among the steps, in the order of the program."""
    streams = _Streams()
    small = {place: step for place, step in enumerate(steps) if isinstance(step, ByteStep)}
    wide = {place: step for place, step in enumerate(steps) if isinstance(step, WideStep)}
    classes, profiles = _classes(small, streams)
    planes, tables = _tables(wide, streams)
    for place in sorted({*small, *wide}):
        if place in small:
            streams.feed(_byte_places(small[place], classes[place], profiles))
        else:
            streams.feed(_wide_places(wide[place], [tables[each] for each in planes[place]]))
    return Modelling(streams.symbols(), profiles, tables, classes, planes)


def symbol_shares(
    steps: Sequence[Step], modelling: Modelling, stream_bytes: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Bytes that each step's symbols take of the streams they are in.

    Args:
        stream_bytes: what each stream takes in the patch.
    """
    lengths = np.zeros((256, 256))
    for stream, symbols in enumerate(modelling.streams):
        counts = np.bincount(symbols, minlength=256)
        # Nothing is free in a stream of one symbol.
        bits = np.log2(counts.sum() / np.maximum(counts, 1)) + 0.01
        lengths[stream] = bits * (stream_bytes[stream] / float((counts * bits).sum()))
    shares = np.zeros(len(steps))
    for place, step in enumerate(steps):
        pieces: Iterable[tuple[Bytes, Bytes]] = ()
        if isinstance(step, ByteStep):
            pieces = _byte_places(step, modelling.classes[place], modelling.profiles)
        elif isinstance(step, WideStep):
            pieces = _wide_places(step, [modelling.tables[t] for t in modelling.planes[place]])
        shares[place] = sum(float(lengths[places, symbols].sum()) for places, symbols in pieces)
    return shares


class _Streams:
    """Streams as they fill."""

    def __init__(self) -> None:
        self._parts: list[list[Bytes]] = []

    def open(self) -> int:
        """The number of a new stream."""
        self._parts.append([])
        return len(self._parts) - 1

    def feed(self, pieces: Iterable[tuple[Bytes, Bytes]]) -> None:
        """Append symbols to the streams that stand beside them."""
        for places, symbols in pieces:
            order = np.argsort(places, kind="stable")
            counts = np.bincount(places, minlength=256)
            for stream, part in enumerate(np.split(symbols[order], np.cumsum(counts)[:-1])):
                if len(part) and stream != NO_STREAM:
                    self._parts[stream].append(part)

    def symbols(self) -> list[Bytes]:
        """Each stream's symbols."""
        return [np.concatenate(parts) for parts in self._parts]


def _byte_places(
    step: ByteStep, classes: bytes, profiles: Sequence[tuple[int, ...]]
) -> Iterator[tuple[Bytes, Bytes]]:
    known = np.array(profiles, np.uint8)
    rows = _of_elements(step, np.frombuffer(classes, np.uint8))
    buckets = 0 if step.buckets is None else step.buckets
    yield known[rows, buckets], step.symbols


def _of_elements(step: ByteStep, classes: Bytes) -> Array:
    """The class of each element; one number where it is the same for all."""
    if len(classes) == 1:
        return np.broadcast_to(classes, step.symbols.shape)
    starts, channels = runs(step.shape)
    lengths = np.diff(np.append(starts, len(step.symbols)))
    return np.repeat(classes[channels], lengths)


def _wide_places(
    step: WideStep, tables: Sequence[tuple[int, ...]]
) -> Iterator[tuple[Bytes, Bytes]]:
    for tile in tiled(step.planes.shape[1], step.width):
        for plane, context, table in zip(step.planes, step.contexts, tables, strict=True):
            yield np.array(table, np.uint8)[context[tile]], plane[tile]


# --- classes of channels --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Counted:
    """A step and what its symbols are, coarsely.

    Args:
        cells: bucket and symbol of each.
    """

    step: ByteStep
    cells: npt.NDArray[np.uint16]

    def sums(self, weights: Array) -> Array:
        """Of each channel, what its cells weigh together."""
        starts, channels = runs(self.step.shape)
        sums = np.zeros(self.step.shape.channels)
        np.add.at(sums, channels, np.add.reduceat(weights[self.cells], starts))
        return sums


def _classes(
    steps: dict[int, ByteStep], streams: _Streams
) -> tuple[dict[int, bytes], list[tuple[int, ...]]]:
    """The classes of each step's channels, and the streams of each class's buckets."""
    if not steps:
        return {}, []
    counted = {place: _Counted(step, _cells(step)) for place, step in steps.items()}
    chosen = _first_classes(counted)
    for _ in range(_ROUNDS):
        chosen = _chosen_again(counted, chosen)
    used = sorted({value for classes in chosen.values() for value in classes.tolist()})
    numbers = np.zeros(256, np.uint8)
    numbers[used] = np.arange(len(used))
    classes = {place: numbers[each].tobytes() for place, each in chosen.items()}
    exact = np.zeros((len(used), BUCKETS + 1, 256), np.int64)
    for place, step in steps.items():
        exact += _exact_counts(step, classes[place], len(used))
    found = clustered(exact.reshape(-1, 256), _CLUSTERS_MAX, streams.open)
    profiles = np.array(found).reshape(len(used), BUCKETS + 1)
    return classes, [tuple(row) for row in profiles.tolist()]


def _cells(step: ByteStep) -> npt.NDArray[np.uint16]:
    cells = np.minimum(step.symbols, _CELL_SYMBOLS - 1).astype(np.uint16)
    if step.buckets is not None:
        cells += step.buckets.astype(np.uint16) * np.uint16(_CELL_SYMBOLS)
    return cells


def _first_classes(counted: dict[int, _Counted]) -> dict[int, Bytes]:
    """By the mean magnitude of a channel's residuals."""
    magnitudes = np.tile((np.arange(_CELL_SYMBOLS) + 1) // 2, BUCKETS + 1).astype(np.float64)
    chosen = {}
    for place, each in counted.items():
        mean = each.sums(magnitudes) * each.step.shape.channels / len(each.cells)
        levels = np.log2(mean + 0.01) / _CLASS_STEP
        lowest = np.log2(0.01) / _CLASS_STEP
        chosen[place] = np.clip(np.rint(levels - lowest), 0, _CLASSES_MAX - 1).astype(np.uint8)
    return chosen


def _chosen_again(counted: dict[int, _Counted], chosen: dict[int, Bytes]) -> dict[int, Bytes]:
    """Each channel, or each tensor as a whole, in the class that codes it in the fewest bits."""
    counts = np.zeros((_CLASSES_MAX, _CELLS))
    said = np.zeros(_CLASSES_MAX)
    for place, each in counted.items():
        counts += _coarse_counts(each, chosen[place])
        if len(chosen[place]) > 1:
            said += np.bincount(chosen[place], minlength=_CLASSES_MAX)
    lengths = _lengths(counts)
    used = np.flatnonzero(counts.sum(axis=1))
    class_bits = np.log2((said.sum() + len(used)) / (said[used] + 1)) if said.any() else 0.0
    again = {}
    for place, each in counted.items():
        costs = np.array([each.sums(lengths[number]) for number in used])
        single = costs.sum(axis=1)
        apart = (costs + np.reshape(class_bits, (-1, 1))).T
        if each.step.shape.channels > 1 and apart.min(axis=1).sum() + 8 < single.min():
            again[place] = used[apart.argmin(axis=1)].astype(np.uint8)
        else:
            again[place] = used[[single.argmin()]].astype(np.uint8)
    return again


def _coarse_counts(each: _Counted, classes: Bytes) -> Array:
    rows = _of_elements(each.step, classes).astype(np.int64)
    flat = np.bincount(rows * _CELLS + each.cells, minlength=_CLASSES_MAX * _CELLS)
    return flat.reshape(_CLASSES_MAX, _CELLS)


def _lengths(counts: Array) -> Array:
    """Bits of each cell's symbol in each class, given its bucket; unseen ones are not free."""
    split = counts.reshape(_CLASSES_MAX, BUCKETS + 1, _CELL_SYMBOLS)
    pooled = split.sum(axis=1, keepdims=True)
    pooled = (pooled + 0.01) / (pooled + 0.01).sum(axis=2, keepdims=True)
    smooth = split + 2.0 * pooled
    lengths: Array = np.log2(smooth.sum(axis=2, keepdims=True) / smooth)
    return lengths.reshape(_CLASSES_MAX, _CELLS)


def _exact_counts(step: ByteStep, classes: bytes, count: int) -> Counts:
    rows = _of_elements(step, np.frombuffer(classes, np.uint8)).astype(np.int64)
    buckets = 0 if step.buckets is None else step.buckets
    flat = (rows * (BUCKETS + 1) + buckets) * 256 + step.symbols
    counts = np.bincount(flat, minlength=count * (BUCKETS + 1) * 256)
    return counts.reshape(count, BUCKETS + 1, 256)


# --- tables of wide tensors -----------------------------------------------------------------------


def _tables(
    steps: dict[int, WideStep], streams: _Streams
) -> tuple[dict[int, tuple[int, ...]], list[tuple[int, ...]]]:
    """The tables of each step's planes, and their streams by context."""
    groups: dict[tuple[str, int, int], list[int]] = {}
    for place, step in steps.items():
        own = place if step.planes.shape[1] >= _OWN_TABLES else -1
        groups.setdefault((step.kind, step.width, own), []).append(place)
    tables: list[tuple[int, ...]] = []
    known: dict[tuple[int, ...], int] = {}
    planes: dict[int, tuple[int, ...]] = {}
    limit = max(1, min(_PLANE_CLUSTERS_MAX, _WIDE_STREAMS_MAX // max(1, 3 * len(groups))))
    for (_, width, _), places in groups.items():
        numbers = []
        for plane in range(width):
            counts = sum(_context_counts(steps[place], plane) for place in places)
            table = tuple(clustered(np.asarray(counts), limit, streams.open))
            numbers.append(known.setdefault(table, len(tables)))
            if numbers[-1] == len(tables):
                tables.append(table)
        planes |= dict.fromkeys(places, tuple(numbers))
    return planes, tables


def _context_counts(step: WideStep, plane: int) -> Counts:
    flat = step.contexts[plane].astype(np.int64) * 256 + step.planes[plane]
    return np.bincount(flat, minlength=256 * 256).reshape(256, 256)


# --- what is alike --------------------------------------------------------------------------------


def clustered(counts: Counts, limit: int, open_stream: Any) -> list[int]:
    """Merge distributions while that saves bits, and until they are few; returns their streams.

    Args:
        counts: of each distribution's symbols, (n, 256). One that is only 0 needs no stream.
        limit: most streams to open.
        open_stream: gives the number of a new one.
    """
    live = np.flatnonzero(counts[:, 1:].any(axis=1))
    members = [[int(each)] for each in live]
    # Symbols that occur nowhere cost nothing anywhere.
    merged = counts[live][:, counts.any(axis=0)].astype(np.float64)
    costs = _costs(merged)
    pairs = zip(costs, merged, strict=True)
    gains = np.array([costs + cost - _costs(merged + row) for cost, row in pairs])
    gains = gains.reshape(len(live), len(live))
    np.fill_diagonal(gains, -np.inf)
    while len(members) > 1:
        best = int(gains.argmax())
        first, second = divmod(best, len(members))
        if gains[first, second] < 0 and len(members) <= limit:
            break
        first, second = min(first, second), max(first, second)
        members[first] += members.pop(second)
        merged[first] += merged[second]
        merged = np.delete(merged, second, axis=0)
        gains = np.delete(np.delete(gains, second, axis=0), second, axis=1)
        costs = np.delete(costs, second)
        costs[first] = _costs(merged[first : first + 1])[0]
        row = costs + costs[first] - _costs(merged + merged[first])
        row[first] = -np.inf
        gains[first] = gains[:, first] = row
    found = [NO_STREAM] * len(counts)
    for group in members:
        stream = open_stream()
        for each in group:
            found[each] = stream
    # What never occurs is told in the fewest words.
    for place in range(1, len(counts)):
        if not counts[place].any():
            found[place] = found[place - 1]
    return found


def _costs(counts: Array) -> Array:
    """Bits of a stream with these symbols, its table included."""
    totals = counts.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(counts > 0, counts * np.log2(totals / counts), 0.0).sum(axis=1)
    coded = np.minimum(bits + _SYMBOL_BITS * (counts > 0).sum(axis=1), 8.0 * totals[:, 0])
    total: Array = coded + _STREAM_BITS
    return total


def symbol_bits(symbols: Bytes, buckets: Bytes | None) -> float:
    """A lower estimate of what a tensor's residuals take, in bits."""
    if buckets is None:
        return entropy_bits(np.bincount(symbols, minlength=256))
    flat = buckets.astype(np.int64) * 256 + symbols
    counts = np.bincount(flat, minlength=(BUCKETS + 1) * 256).reshape(-1, 256)
    return sum(entropy_bits(row) for row in counts)
