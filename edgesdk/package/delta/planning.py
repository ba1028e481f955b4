"""Decide, piece by piece of the new file, what step makes it: the program of a delta.

The side comes first: vectors of scales, from the old ones or as multiples of one another (a bias's
scales are its weights' times the input's), and single scales that a tensor's prediction needs. Then
the file: tensors from their old selves, the rest by bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from device_agent.delta import SIDE_MAX_BYTES
from device_agent.delta_tensors import BLOCK_MAX, Scaling, Shape, floats
from edgesdk.models.ranges.types import Floats, Layout, TensorRange
from edgesdk.package.delta import residuals
from edgesdk.package.delta.bytewise import Match, match_bytes
from edgesdk.package.delta.modelling import symbol_bits
from edgesdk.package.delta.pairing import Pairs, pair
from edgesdk.package.delta.steps import (
    Add,
    ByteStep,
    Copy,
    FromSide,
    Insert,
    Moved,
    Step,
    WideStep,
)

Bytes = npt.NDArray[np.uint8]

_SMALL = ("int8", "uint8", "bool", "float8", "int4", "uint4")
_INTEGERS = {"int16": 2, "int32": 4, "int64": 8}
_WIDTHS = _INTEGERS | {
    **{"uint16": 2, "float16": 2, "bfloat16": 2, "uint32": 4, "float32": 4},
    **{"uint64": 8, "float64": 8},
}
_UNPAIRED_MIN = 256
"""Bytes from which on a tensor without an old one has a step of its own."""
_PLAIN_MIN = 2048
"""Bytes from which on a stretch of differences, or of new bytes, is modelled as a tensor."""
_PLAIN_ROW = 256
_PLAIN_GAIN = 0.95
_COPY_MIN = 32
"""Equal bytes from which on a copy is shorter than differences of 0."""
_EXACT_PART = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """The two halves of a program.

    Args:
        owners: of a step, by its place in both halves in a row, the tensor that it makes or scales.
    """

    side: tuple[Step, ...]
    main: tuple[Step, ...]
    owners: dict[int, TensorRange]


def plan_bytes(old: Bytes, new: Bytes) -> Plan:
    """A program without tensors."""
    matches = match_bytes(old, new, correlate=False)
    steps = [step for match in matches for step in _byte_steps(match, old, new)]
    return Plan((), tuple(_joined(steps)), {})


def rough_size(plan: Plan) -> int:
    """Bytes that the plan's inserted bytes and differences take, one quick coder later."""
    data = b"".join(step.data for step in plan.main if isinstance(step, Insert))
    added = b"".join(step.differences for step in plan.main if isinstance(step, Add))
    return len(zlib.compress(data)) + len(zlib.compress(added))


def plan_tensors(old: Bytes, new: Bytes, old_layout: Layout, new_layout: Layout) -> Plan:
    """A program that knows where the tensors lie; of files without any, one by content."""
    return _Planner(old, new, old_layout, new_layout).plan()


class _Side:
    """The side as it fills."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.size = 0
        self.offsets: dict[int, int] = {}
        """Where floats of the new file lie in the side, by where they start in the file."""
        self.places: dict[int, int] = {}
        """And which step makes them."""

    def add(self, place: Floats, step: Step) -> None:
        """Append what makes these floats."""
        self.offsets[place.start] = self.size
        self.places[place.start] = len(self.steps)
        self.steps.append(step)
        self.size += step.size


class _Planner:
    def __init__(self, old: Bytes, new: Bytes, old_layout: Layout, new_layout: Layout) -> None:
        self._old, self._new = old, new
        self._old_layout, self._new_layout = old_layout, new_layout
        self._pairs: Pairs = pair(old, new, old_layout, new_layout)
        self._side = _Side()

    def plan(self) -> Plan:
        """The whole program."""
        self._fill_side()
        pieces: list[tuple[int, int, list[Step], TensorRange | None]] = []
        for vector in (*self._new_layout.vectors, *self._single_scales()):
            if (step := self._written(vector)) is not None:
                pieces.append((vector.start, vector.end, [step], None))
        taken = {start for start, _, _, _ in pieces}
        for tensor in self._new_layout.tensors:
            if tensor.start not in taken and (steps := self._tensor(tensor)):
                pieces.append((tensor.start, tensor.end, steps, tensor))
        return self._assembled(sorted(pieces, key=lambda piece: piece[0]))

    def _written(self, vector: Floats) -> Step | None:
        """How floats get into the file: as they were, or from the side."""
        old = self._unmoved(vector)
        if old is not None:
            return Copy(old.start, 4 * old.count)
        if vector.start in self._side.offsets:
            return FromSide(self._side.offsets[vector.start], 4 * vector.count)
        return None

    def _unmoved(self, vector: Floats) -> Floats | None:
        """The old floats where they are the same as the new."""
        old = self._pairs.vectors.get(vector.start)
        if old is None or old.count != vector.count:
            return None
        same = np.array_equal(self._old[old.start : old.end], self._bytes(vector))
        return old if same else None

    def _assembled(self, pieces: Sequence[tuple[int, int, list[Step], TensorRange | None]]) -> Plan:
        """The pieces in order, and between them what the bytes around the tensors say."""
        between = self._between([(start, end) for start, end, _, _ in pieces])
        main: list[Step] = []
        owned: dict[int, TensorRange] = {}
        for index, (_, _, steps, tensor) in enumerate(pieces):
            for step in _modelled(_joined(between[index])):
                _append(main, step)
            for step in steps:
                _append(main, step)
                if tensor is not None and not isinstance(step, Copy):
                    owned[len(main) - 1] = tensor
        for step in _modelled(_joined(between[-1])):
            _append(main, step)
        first = len(self._side.steps)
        owners = {
            place: tensor
            for tensor in self._new_layout.tensors
            for scale in tensor.scales[:1]
            if (place := self._side.places.get(scale.start)) is not None
        }
        owners |= {first + place: tensor for place, tensor in owned.items()}
        return Plan(tuple(self._side.steps), tuple(main), owners)

    # --- the bytes around the tensors ---

    def _between(self, taken: Sequence[tuple[int, int]]) -> list[list[Step]]:
        """The steps before, between and behind the pieces.

        The bytes outside the tensors of both files are matched as if they were all there is.
        """
        olds = [(each.start, each.end) for each in self._paired_ranges()]
        old_gaps, new_gaps = _gaps(olds, len(self._old)), _gaps(taken, len(self._new))
        old = _joined_bytes(self._old, old_gaps)
        new = _joined_bytes(self._new, new_gaps)
        cuts = np.cumsum([0, *(end - start for start, end in new_gaps)])
        old_cuts = np.cumsum([0, *(end - start for start, end in old_gaps)])
        steps: list[list[Step]] = [[] for _ in new_gaps]
        for match in match_bytes(old, new):
            for part in _split(match, cuts, old_cuts):
                gap = int(np.searchsorted(cuts, part.new, "right")) - 1
                moved = Match(new_gaps[gap][0] + part.new - int(cuts[gap]), part.size, -1)
                if part.old >= 0:
                    home = int(np.searchsorted(old_cuts, part.old, "right")) - 1
                    place = old_gaps[home][0] + part.old - int(old_cuts[home])
                    moved = Match(moved.new, moved.size, place)
                steps[gap].extend(_byte_steps(moved, self._old, self._new))
        return steps

    def _paired_ranges(self) -> list[TensorRange | Floats]:
        """What of the old file a step of its own refers to; the rest is there to be copied from."""
        ranges: list[TensorRange | Floats] = [
            *self._pairs.tensors.values(),
            *self._pairs.vectors.values(),
        ]
        kept: list[TensorRange | Floats] = []
        for each in sorted(ranges, key=lambda each: (each.start, each.end)):
            if not kept or each.start >= kept[-1].end:
                kept.append(each)
        return kept

    # --- the side ---

    def _fill_side(self) -> None:
        waiting: list[tuple[Floats, Floats, float]] = []
        vectors = self._new_layout.vectors
        known = [vector for vector in vectors if self._unmoved(vector) is not None]
        still = {vector.start for vector in known}
        weights = {
            scale.start
            for tensor in self._new_layout.tensors
            for scale in tensor.scales
            if tensor.dtype in _SMALL
        }
        # Biases' scales are multiples of weights', wherever either lies in the file.
        moved = [vector for vector in vectors if vector.start not in still]
        for vector in sorted(moved, key=lambda each: each.start not in weights):
            source = next(
                (
                    (each, factor)
                    for each in reversed(known)
                    if each.count == vector.count
                    and (factor := _factor(self._floats(each), self._floats(vector)))
                ),
                None,
            )
            if source is not None:
                waiting.append((vector, *source))
                continue
            known.append(vector)
            self._add_to_side(vector, self._vector(vector))
        for vector, origin, factor in waiting:
            if self._is_in_side(origin):
                self._add_to_side(vector, self._product(vector, origin, factor))
        for single in self._single_scales():
            self._add_to_side(single, Insert(self._bytes(single).tobytes()))

    def _is_in_side(self, vector: Floats) -> bool:
        """Whether floats are in the side, where those that have not moved come when needed."""
        old = self._unmoved(vector)
        if vector.start not in self._side.offsets and old is not None:
            self._add_to_side(vector, Copy(old.start, 4 * old.count))
        return vector.start in self._side.offsets

    def _add_to_side(self, place: Floats, step: Step) -> None:
        if self._side.size + step.size <= SIDE_MAX_BYTES:
            self._side.add(place, step)

    def _vector(self, vector: Floats) -> Step:
        old = self._pairs.vectors.get(vector.start)
        new = self._bytes(vector)
        if old is None:
            return _wide("vector, new", None, np.zeros_like(new), new, 4)
        before = self._old[old.start : old.end]
        return _wide("vector", old.start, before, new, 4)

    def _product(self, vector: Floats, origin: Floats, factor: float) -> Step:
        predicted = residuals.products(self._floats(origin), factor)
        planes, contexts = residuals.planes(predicted, self._bytes(vector), 4)
        side = (self._side.offsets[origin.start], factor)
        return WideStep("product", None, None, planes, contexts, side)

    def _single_scales(self) -> list[Floats]:
        """Scales of a whole tensor, where they moved and the tensor is a paired one."""
        singles: dict[int, Floats] = {}
        for tensor in self._new_layout.tensors:
            old = self._pairs.tensors.get(tensor.start)
            if old is None or len(tensor.scales) != 1 or len(old.scales) != 1:
                continue
            scale, before = tensor.scales[0], old.scales[0]
            moved = self._old[before.start : before.end].tobytes() != self._bytes(scale).tobytes()
            if scale.count == 1 and before.count == 1 and moved:
                singles[scale.start] = scale
        return list(singles.values())

    def _bytes(self, place: Floats | TensorRange) -> Bytes:
        return self._new[place.start : place.end]

    def _floats(self, vector: Floats) -> npt.NDArray[np.float32]:
        return np.frombuffer(self._bytes(vector).tobytes(), "<f4")

    # --- tensors ---

    def _tensor(self, tensor: TensorRange) -> list[Step]:
        """The steps that make a tensor; none where it is better left to the bytes around it."""
        old = self._pairs.tensors.get(tensor.start)
        if old is not None and np.array_equal(self._old[old.start : old.end], self._bytes(tensor)):
            return [Copy(old.start, tensor.size)]
        if tensor.dtype in _SMALL:
            return self._small(tensor, old)
        return self._wide(tensor, old)

    def _small(self, tensor: TensorRange, old: TensorRange | None) -> list[Step]:
        if tensor.size < _UNPAIRED_MIN and old is None:
            return []
        shape = _shape(tensor)
        packed = tensor.dtype in ("int4", "uint4")
        if old is not None and old.size != tensor.size:
            return self._grown(tensor, old, packed)
        options = [_byte_step(tensor.dtype, shape, None, None, self._bytes(tensor))]
        if old is not None:
            before = self._old[old.start : old.end]
            data = (before, self._bytes(tensor))
            options.append(_byte_step(tensor.dtype, shape, old.start, *data))
            options.extend(self._rescaled(tensor, old, shape, *data))
        return [min(options, key=lambda step: symbol_bits(step.symbols, step.buckets))]

    def _grown(self, tensor: TensorRange, old: TensorRange, packed: bool) -> list[Step]:
        """A tensor with more or fewer rows than it had: those that both have, and the others."""
        size = min(old.size, tensor.size)
        data, before = self._bytes(tensor), self._old[old.start : old.start + size]
        rows = tensor.shape[0] if tensor.shape else 1
        row = tensor.size // max(rows, 1)
        if packed or row * rows != tensor.size or size % row or tensor.axis not in (0, None):
            return []
        both = _byte_step(tensor.dtype, Shape(1, size // row, row), old.start, before, data[:size])
        rest = (tensor.size - size) // row
        if not rest:
            return [both]
        return [both, _byte_step(tensor.dtype, Shape(1, rest, row), None, None, data[size:])]

    def _rescaled(
        self, tensor: TensorRange, old: TensorRange, shape: Shape, before: Bytes, after: Bytes
    ) -> Iterator[ByteStep]:
        scaling = self._scaling(tensor, old, before, after)
        if scaling is None:
            return
        yield _byte_step(tensor.dtype, shape, old.start, before, after, scaling)
        correction = _correction(before, after, shape, tensor.dtype, scaling[0])
        if abs(correction - 1) > 0.001:
            moved = replace(scaling[1], correction=correction)
            corrected = scaling[0]._replace(correction=correction)
            yield _byte_step(tensor.dtype, shape, old.start, before, after, (corrected, moved))

    def _scaling(
        self, tensor: TensorRange, old: TensorRange, before: Bytes, after: Bytes
    ) -> tuple[Scaling, Moved] | None:
        """How the scales moved; None where they did not, or nothing says how."""
        if not tensor.scales or len(tensor.scales) != len(old.scales):
            return None
        scale, old_scale = tensor.scales[0], old.scales[0]
        zeros = (old.zero_point, tensor.zero_point)
        if scale.count != old_scale.count or tensor.axis != old.axis:
            return None
        if zeros[0] is None or zeros[1] is None:
            return None
        correction = self._input_ratio(tensor, old)
        news, olds = self._bytes(scale), self._old[old_scale.start : old_scale.end]
        unmoved = np.array_equal(news, olds) and correction == 1.0 and zeros[0] == zeros[1]
        if unmoved or not self._is_in_side(scale):
            return None
        scaling = Scaling(
            floats(olds.tobytes()),
            floats(news.tobytes()),
            correction,
            zeros[0],
            zeros[1],
            _range_of(before, tensor.dtype),
            _range_of(after, tensor.dtype),
        )
        offset = self._side.offsets[scale.start]
        return scaling, Moved(scale.count, old_scale.start, offset, *scaling[2:])

    def _input_ratio(self, tensor: TensorRange, old: TensorRange) -> float:
        """How the second factor of a scale moved, of a bias whose scale is a product."""
        if len(tensor.scales) < 2:
            return 1.0
        before = floats(self._old[old.scales[1].start : old.scales[1].end].tobytes())
        after = floats(self._bytes(tensor.scales[1]).tobytes())
        ratio = before[0] / after[0] if after[0] else 1.0
        return float(ratio) if 0.0 < ratio < 128.0 else 1.0

    def _wide(self, tensor: TensorRange, old: TensorRange | None) -> list[Step]:
        width = _WIDTHS[tensor.dtype]
        data = self._bytes(tensor)
        if old is None or old.size != tensor.size:
            if tensor.size < _UNPAIRED_MIN:
                return []
            return [_wide(f"{tensor.dtype}, new", None, np.zeros_like(data), data, width)]
        before = self._old[old.start : old.end]
        options = [_wide(tensor.dtype, old.start, before, data, width)]
        scaling = None
        if tensor.dtype in _INTEGERS and tensor.scales:
            scaling = self._scaling(tensor, old, before, data)
        if scaling is not None and scaling[1].count in (1, tensor.size // width):
            predicted = residuals.carried(before, width, scaling[0])
            planes, contexts = residuals.planes(predicted, data, width)
            options.append(
                WideStep(f"{tensor.dtype}, scaled", old.start, scaling[1], planes, contexts)
            )
        return [min(options, key=_plane_bits)]


def _plane_bits(step: WideStep) -> float:
    return sum(symbol_bits(plane, None) for plane in step.planes)


def _wide(kind: str, base: int | None, old: Bytes, new: Bytes, width: int) -> WideStep:
    planes, contexts = residuals.planes(old, new, width)
    return WideStep(kind, base, None, planes, contexts)


def _byte_step(
    dtype: str,
    shape: Shape,
    base: int | None,
    old: Bytes | None,
    new: Bytes,
    scaling: tuple[Scaling, Moved] | None = None,
) -> ByteStep:
    packed, signed = dtype in ("int4", "uint4"), dtype in ("int8", "int4")
    if packed:
        new = residuals.nibbles(new, shape.count, signed)
        old = None if old is None else residuals.nibbles(old, shape.count, signed)
    if scaling is None or old is None:
        left = residuals.plain_residual(old, new, shape)
    else:
        left = residuals.scaled_residual(old, new, shape, signed, scaling[0])
    moved = scaling[1] if scaling else None
    return ByteStep(shape, packed, signed, base, moved, left.symbols, left.buckets)


def _shape(tensor: TensorRange) -> Shape:
    """The tensor's channels: those of its scales, else its rows."""
    dims = tensor.shape
    count = int(np.prod(dims, dtype=np.int64))
    axis = tensor.axis or 0
    if not dims or count == 0:
        return Shape(1, 1, max(count, 1))
    outer = int(np.prod(dims[:axis], dtype=np.int64))
    inner = int(np.prod(dims[axis + 1 :], dtype=np.int64))
    if outer > 1 and dims[axis] * inner > BLOCK_MAX:
        return Shape(1, 1, count)
    return Shape(outer, dims[axis], inner)


def _range_of(data: Bytes, dtype: str) -> tuple[int, int]:
    """Smallest and largest value."""
    if dtype in ("int4", "uint4"):
        return (-8, 7) if dtype == "int4" else (0, 15)
    values = data.view(np.dtype(dtype if dtype in _INTEGERS or dtype == "int8" else "uint8"))
    return int(values.min()), int(values.max())


def _factor(origin: npt.NDArray[np.float32], vector: npt.NDArray[np.float32]) -> float:
    """What one vector has to be multiplied by to give another one, mostly to the bit; else 0."""
    if not origin[0] or not np.isfinite(origin).all() or not np.isfinite(vector).all():
        return 0.0
    quotient = np.float32(float(vector[0]) / float(origin[0]))
    candidates = [quotient, np.nextafter(quotient, np.float32(0)), np.nextafter(quotient, 2)]
    exact = [
        float((residuals.products(origin, float(each)).view("<f4") == vector).mean())
        for each in candidates
    ]
    best = exact.index(max(exact))
    return float(candidates[best]) if exact[best] > _EXACT_PART else 0.0


def _correction(old: Bytes, new: Bytes, shape: Shape, dtype: str, scaling: Scaling) -> float:
    """By how much the old values shrank besides, as weight decay has it: least squares."""
    if dtype in ("int4", "uint4"):
        return scaling.correction
    kind = np.dtype("int8" if dtype == "int8" else "uint8")
    ratios = np.array([scaling.ratio(channel) for channel in range(len(scaling.old_scales))])
    cube = (shape.outer, shape.channels, shape.inner)
    x = (old.view(kind).reshape(cube) - float(scaling.old_zero)) * ratios[None, :, None]
    y = new.view(kind).reshape(cube) - float(scaling.new_zero)
    power = float((x * x).sum())
    fitted = float((x * y).sum()) / power if power else 1.0
    return scaling.correction * round(min(max(fitted, 0.5), 2.0), 4)


# --- bytes ----------------------------------------------------------------------------------------


def _byte_steps(match: Match, old: Bytes, new: Bytes) -> Iterator[Step]:
    """Copies where bytes are equal, differences where they are not."""
    data = new[match.new : match.new + match.size]
    if match.old < 0:
        yield Insert(data.tobytes())
        return
    before = old[match.old : match.old + match.size]
    position = 0
    for start, end in _equal_runs(before == data):
        if start > position:
            yield Add(match.old + position, (data - before)[position:start].tobytes())
        yield Copy(match.old + start, end - start)
        position = end
    if position < match.size:
        yield Add(match.old + position, (data - before)[position:].tobytes())


def _equal_runs(equal: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], equal.view(np.int8), [0]])))
    pairs = edges.reshape(-1, 2)
    return [(int(a), int(b)) for a, b in pairs[pairs[:, 1] - pairs[:, 0] >= _COPY_MIN]]


def _modelled(steps: Sequence[Step]) -> Iterator[Step]:
    """Long differences, or new bytes, as tensors of nothing but rows, where that is shorter."""
    for step in steps:
        if not isinstance(step, Insert | Add) or step.size < _PLAIN_MIN:
            yield step
            continue
        data = np.frombuffer(step.data if isinstance(step, Insert) else step.differences, np.uint8)
        size = len(data) // _PLAIN_ROW * _PLAIN_ROW
        symbols = residuals.fold(data[:size])
        if symbol_bits(symbols, None) > 8 * _PLAIN_GAIN * len(zlib.compress(data.tobytes())):
            yield step
            continue
        shape = Shape(1, size // _PLAIN_ROW, _PLAIN_ROW)
        if isinstance(step, Insert):
            yield ByteStep(shape, False, True, None, None, symbols, None)
            yield Insert(step.data[size:])
        else:
            yield ByteStep(shape, False, True, step.base, None, symbols, None)
            yield Add(step.base + size, step.differences[size:])


def _joined(steps: Sequence[Step]) -> list[Step]:
    """Neighbours of one kind as one step."""
    joined: list[Step] = []
    for step in steps:
        last = joined[-1] if joined else None
        if isinstance(step, Copy) and isinstance(last, Copy) and last.base + last.size == step.base:
            joined[-1] = Copy(last.base, last.size + step.size)
        elif isinstance(step, Insert) and isinstance(last, Insert):
            joined[-1] = Insert(last.data + step.data)
        elif isinstance(step, Add) and isinstance(last, Add) and last.base + last.size == step.base:
            joined[-1] = Add(last.base, last.differences + step.differences)
        else:
            joined.append(step)
    return joined


def _append(steps: list[Step], step: Step) -> None:
    """Append a step; one that continues a copy makes that longer."""
    last = steps[-1] if steps else None
    if isinstance(step, Copy) and isinstance(last, Copy) and _end(last) == step.base:
        steps[-1] = Copy(last.base, last.size + step.size)
        return
    if step.size:
        steps.append(step)


def _end(copy: Copy) -> int:
    return copy.base + copy.size


def _gaps(taken: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    starts = [0, *(end for _, end in taken)]
    ends = [*(start for start, _ in taken), size]
    return list(zip(starts, ends, strict=True))


def _joined_bytes(data: Bytes, gaps: Sequence[tuple[int, int]]) -> Bytes:
    return np.concatenate([data[start:end] for start, end in gaps])


def _split(
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
