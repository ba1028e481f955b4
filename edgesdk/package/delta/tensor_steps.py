"""The step that makes a tensor in the fewest bits: as new, by a difference, or at its new scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from device_agent.delta_tensors import BLOCK_MAX, Scaling, Shape, floats
from edgesdk.models.ranges.types import TensorRange
from edgesdk.package.delta import residuals
from edgesdk.package.delta.modelling import symbol_bits
from edgesdk.package.delta.side import Side
from edgesdk.package.delta.steps import ByteStep, Copy, Moved, Step, WideStep, wide_step
from edgesdk.package.delta.tensor_types import INTEGERS, NIBBLES, SIGNED, SMALL, WIDTHS
from edgesdk.package.delta.versions import Versions

Bytes = npt.NDArray[np.uint8]

_UNPAIRED_MIN = 256
"""Bytes from which on a tensor without an old one has a step of its own."""
_CORRECTION_MIN = 0.001


class TensorSteps:
    """Finds the steps; may ask the side for scales."""

    def __init__(self, versions: Versions, side: Side) -> None:
        self._versions = versions
        self._side = side

    def steps(self, tensor: TensorRange) -> list[Step]:
        """The steps that make a tensor; none where it is better left to the bytes around it."""
        old = self._versions.pairs.tensors.get(tensor.start)
        if old is not None and np.array_equal(
            self._versions.before(old), self._versions.after(tensor)
        ):
            return [Copy(old.start, tensor.size)]
        if tensor.dtype in SMALL:
            return self._small(tensor, old)
        return self._wide(tensor, old)

    def _small(self, tensor: TensorRange, old: TensorRange | None) -> list[Step]:
        if tensor.size < _UNPAIRED_MIN and old is None:
            return []
        shape = _shape(tensor)
        packed = tensor.dtype in NIBBLES
        if old is not None and old.size != tensor.size:
            return self._grown(tensor, old, packed)
        options = [byte_step(tensor.dtype, shape, None, None, self._versions.after(tensor))]
        if old is not None:
            before = self._versions.before(old)
            data = (before, self._versions.after(tensor))
            options.append(byte_step(tensor.dtype, shape, old.start, *data))
            options.extend(self._rescaled(tensor, old, shape, *data))
        return [min(options, key=lambda step: symbol_bits(step.symbols, step.buckets))]

    def _grown(self, tensor: TensorRange, old: TensorRange, packed: bool) -> list[Step]:
        """A tensor with more or fewer rows than it had: those that both have, and the others."""
        size = min(old.size, tensor.size)
        data, before = self._versions.after(tensor), self._versions.before(old)[:size]
        rows = tensor.shape[0] if tensor.shape else 1
        row = tensor.size // max(rows, 1)
        if packed or row * rows != tensor.size or size % row or tensor.axis not in (0, None):
            return []
        both = byte_step(tensor.dtype, Shape(1, size // row, row), old.start, before, data[:size])
        rest = (tensor.size - size) // row
        if not rest:
            return [both]
        return [both, byte_step(tensor.dtype, Shape(1, rest, row), None, None, data[size:])]

    def _rescaled(
        self, tensor: TensorRange, old: TensorRange, shape: Shape, before: Bytes, after: Bytes
    ) -> Iterator[ByteStep]:
        scaling = self._scaling(tensor, old, before, after)
        if scaling is None:
            return
        yield byte_step(tensor.dtype, shape, old.start, before, after, scaling)
        correction = _correction(before, after, shape, tensor.dtype, scaling[0])
        if abs(correction / scaling[0].correction - 1) > _CORRECTION_MIN:
            moved = replace(scaling[1], correction=correction)
            corrected = scaling[0]._replace(correction=correction)
            yield byte_step(tensor.dtype, shape, old.start, before, after, (corrected, moved))

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
        news, olds = self._versions.after(scale), self._versions.before(old_scale)
        unmoved = np.array_equal(news, olds) and correction == 1.0 and zeros[0] == zeros[1]
        offset = None if unmoved else self._side.offset(scale)
        if offset is None:
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
        return scaling, Moved(scale.count, old_scale.start, offset, *scaling[2:])

    def _input_ratio(self, tensor: TensorRange, old: TensorRange) -> float:
        """How the second factor of a scale moved, of a bias whose scale is a product."""
        if len(tensor.scales) < 2:
            return 1.0
        before = floats(self._versions.before(old.scales[1]).tobytes())
        after = floats(self._versions.after(tensor.scales[1]).tobytes())
        ratio = before[0] / after[0] if after[0] else 1.0
        return float(ratio) if 0.0 < ratio < 128.0 else 1.0

    def _wide(self, tensor: TensorRange, old: TensorRange | None) -> list[Step]:
        width = WIDTHS[tensor.dtype]
        data = self._versions.after(tensor)
        if old is None or old.size != tensor.size:
            if tensor.size < _UNPAIRED_MIN:
                return []
            return [wide_step(f"{tensor.dtype}, new", None, np.zeros_like(data), data, width)]
        before = self._versions.before(old)
        options = [wide_step(tensor.dtype, old.start, before, data, width)]
        scaling = None
        if tensor.dtype in INTEGERS and tensor.scales:
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


def byte_step(
    dtype: str,
    shape: Shape,
    base: int | None,
    old: Bytes | None,
    new: Bytes,
    scaling: tuple[Scaling, Moved] | None = None,
) -> ByteStep:
    packed, signed = dtype in NIBBLES, dtype in SIGNED
    if packed:
        new = residuals.nibbles(new, shape.elements, signed)
        old = None if old is None else residuals.nibbles(old, shape.elements, signed)
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
    if dtype in NIBBLES:
        return (-8, 7) if dtype == "int4" else (0, 15)
    values = data.view(np.dtype(dtype if dtype in INTEGERS or dtype == "int8" else "uint8"))
    return int(values.min()), int(values.max())


def _correction(old: Bytes, new: Bytes, shape: Shape, dtype: str, scaling: Scaling) -> float:
    """By how much the old values shrank besides, as weight decay has it: least squares."""
    if dtype in NIBBLES:
        return scaling.correction
    kind = np.dtype("int8" if dtype == "int8" else "uint8")
    ratios = np.array([scaling.ratio(channel) for channel in range(len(scaling.old_scales))])
    cube = (shape.outer, shape.channels, shape.inner)
    x = (old.view(kind).reshape(cube) - float(scaling.old_zero)) * ratios[None, :, None]
    y = new.view(kind).reshape(cube) - float(scaling.new_zero)
    power = float((x * x).sum())
    fitted = float((x * y).sum()) / power if power else 1.0
    return scaling.correction * round(min(max(fitted, 0.5), 2.0), 4)
