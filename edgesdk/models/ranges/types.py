"""What a file's layout says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

ITEM_BITS = {
    **{"int4": 4, "uint4": 4, "bool": 8, "int8": 8, "uint8": 8, "float8": 8},
    **{"int16": 16, "uint16": 16, "float16": 16, "bfloat16": 16},
    **{"int32": 32, "uint32": 32, "float32": 32, "int64": 64, "uint64": 64, "float64": 64},
}
"""Types whose values lie side by side, by their size in bits."""


@dataclass(frozen=True, slots=True)
class Floats:
    """A vector of little-endian float32 in the file.

    Args:
        start: its first byte.
        count: of values.
    """

    start: int
    count: int

    @property
    def end(self) -> int:
        """Behind its last byte."""
        return self.start + 4 * self.count


@dataclass(frozen=True, slots=True)
class TensorRange:
    """A constant tensor and where its bytes are.

    Args:
        name: as the file has it.
        layer: the operator that reads it, as far as one is named.
        dtype: a key of `ITEM_BITS`.
        start: its first byte in the file.
        axis: the axis that `scales` has a value for each entry of; None of one scale in all.
        scales: its scale is their product: one vector, or one and single values.
        zero_point: None where there is none or several.
    """

    name: str
    layer: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int
    axis: int | None = None
    scales: tuple[Floats, ...] = ()
    zero_point: int | None = None

    @property
    def end(self) -> int:
        """Behind its last byte."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Layout:
    """What is known of a file, in the file's order; nothing in it overlaps.

    Args:
        vectors: float32 vectors that describe tensors, such as scales, of two values or more.
    """

    tensors: tuple[TensorRange, ...] = ()
    vectors: tuple[Floats, ...] = field(default=())


def apart(tensors: Sequence[TensorRange], vectors: Sequence[Floats], size: int) -> Layout:
    """A layout of those that lie inside the file and do not overlap; of two that do, the first.

    A tensor whose scales lie outside has none.
    """
    tensors = [
        each
        if all(scale.start >= 0 and scale.count > 0 and scale.end <= size for scale in each.scales)
        else replace(each, scales=(), axis=None)
        for each in tensors
    ]
    kept: list[TensorRange | Floats] = []
    taken = 0
    found: list[TensorRange | Floats] = [*tensors, *vectors]
    for each in sorted(found, key=lambda each: (each.start, -each.end)):
        if each.start >= taken and each.end <= size and each.end > each.start:
            kept.append(each)
            taken = each.end
    return Layout(
        tuple(each for each in kept if isinstance(each, TensorRange)),
        tuple(each for each in kept if isinstance(each, Floats)),
    )
