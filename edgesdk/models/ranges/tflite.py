"""The tensors of a TFLite file, read from the flatbuffer's tables as they lie.

Field numbers are those of TensorFlow's schema.fbs; files beyond 2 GB keep their data behind the
flatbuffer, which is followed, too.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from edgesdk.models.ranges.types import ITEM_BITS, Floats, Layout, TensorRange, apart

IDENTIFIER = b"TFL3"

_TYPES = {
    **{0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16"},
    **{9: "int8", 10: "float64", 12: "uint64", 15: "uint32", 16: "uint16", 17: "int4"},
    **{18: "bfloat16", 20: "uint4"},
}
_SUBGRAPHS, _BUFFERS = 2, 4
_TENSORS, _OPERATORS = 0, 3
_SHAPE, _TYPE, _BUFFER, _NAME, _QUANTIZATION = range(5)
_MIN, _MAX, _SCALE, _ZERO_POINT, _AXIS = 0, 1, 2, 3, 6
_DATA, _OFFSET, _SIZE = range(3)
_INPUTS, _OUTPUTS = 1, 2


def read_layout(content: bytes) -> Layout:
    """The constants of all subgraphs and the vectors of their quantization."""
    try:
        found = list(_tensors(content))
        vectors = [vector for vectors, _ in found for vector in vectors]
    except (struct.error, IndexError):
        return Layout()
    tensors = [tensor for _, tensor in found if tensor is not None]
    return apart(tensors, vectors, len(content))


class _Table:
    """A flatbuffer table at a place of the file."""

    def __init__(self, content: bytes, place: int) -> None:
        self._content = content
        self._place = place
        self._vtable = place - _number(content, "<i", place)
        if self._vtable < 0:
            raise IndexError(self._vtable)
        self._fields = _number(content, "<H", self._vtable) // 2 - 2

    def field(self, index: int) -> int:
        """Where a field lies; 0 of one that is not there."""
        if index >= self._fields:
            return 0
        offset = _number(self._content, "<H", self._vtable + 4 + 2 * index)
        return self._place + offset if offset else 0

    def number(self, index: int, code: str) -> int:
        """A scalar; 0 where it is not there."""
        place = self.field(index)
        return _number(self._content, code, place) if place else 0

    def table(self, index: int) -> _Table | None:
        """A table it refers to."""
        place = self.field(index)
        return _Table(self._content, _follow(self._content, place)) if place else None

    def vector(self, index: int) -> tuple[int, int]:
        """Where a vector's first element lies, and how many it has."""
        place = self.field(index)
        if not place:
            return 0, 0
        start = _follow(self._content, place)
        count = _number(self._content, "<I", start)
        if count > len(self._content):
            raise IndexError(count)
        return start + 4, count

    def tables(self, index: int) -> list[_Table]:
        """A vector of tables."""
        start, count = self.vector(index)
        places = range(start, start + 4 * count, 4)
        return [_Table(self._content, _follow(self._content, place)) for place in places]

    def numbers(self, index: int, code: str) -> tuple[int, ...]:
        """A vector of scalars."""
        start, count = self.vector(index)
        return struct.unpack_from(f"<{count}{code}", self._content, start)

    def text(self, index: int) -> str:
        """A string."""
        start, count = self.vector(index)
        return self._content[start : start + count].decode(errors="replace")


def _number(content: bytes, code: str, place: int) -> int:
    if place < 0:
        raise IndexError(place)
    return int(struct.unpack_from(code, content, place)[0])


def _follow(content: bytes, place: int) -> int:
    return place + _number(content, "<I", place)


def _tensors(content: bytes) -> Iterator[tuple[tuple[Floats, ...], TensorRange | None]]:
    """Every tensor's vectors and, of a constant, its range."""
    model = _Table(content, _follow(content, 0))
    buffers = [_data(buffer) for buffer in model.tables(_BUFFERS)]
    for graph in model.tables(_SUBGRAPHS):
        entries = graph.tables(_TENSORS)
        layers = _layers(graph, entries)
        for index, entry in enumerate(entries):
            start, size = buffers[entry.number(_BUFFER, "<I")]
            quantization = entry.table(_QUANTIZATION)
            vectors = _vectors(quantization)
            yield vectors, _tensor(entry, layers.get(index, ""), start, size)


def _data(buffer: _Table) -> tuple[int, int]:
    # 0 and 1 stand for "not there".
    if (offset := buffer.number(_OFFSET, "<Q")) > 1:
        return offset, buffer.number(_SIZE, "<Q")
    return buffer.vector(_DATA)


def _layers(graph: _Table, entries: list[_Table]) -> dict[int, str]:
    """Which operator reads each tensor, by the name of what it makes."""
    layers: dict[int, str] = {}
    for operator in graph.tables(_OPERATORS):
        outputs = operator.numbers(_OUTPUTS, "i")
        name = entries[outputs[0]].text(_NAME) if outputs else ""
        for index in operator.numbers(_INPUTS, "i"):
            layers.setdefault(index, name)
    return layers


def _vectors(quantization: _Table | None) -> tuple[Floats, ...]:
    if quantization is None:
        return ()
    found = (Floats(*quantization.vector(index)) for index in (_SCALE, _MIN, _MAX))
    return tuple(vector for vector in found if vector.count > 1)


def _tensor(entry: _Table, layer: str, start: int, size: int) -> TensorRange | None:
    dtype = _TYPES.get(entry.number(_TYPE, "<b"), "")
    shape = entry.numbers(_SHAPE, "i")
    if not size or not dtype or -(-math.prod(shape) * ITEM_BITS[dtype] // 8) != size:
        return None
    name, quantization = entry.text(_NAME), entry.table(_QUANTIZATION)
    scales = Floats(*quantization.vector(_SCALE)) if quantization else Floats(0, 0)
    if quantization is None or not scales.count:
        return TensorRange(name, layer, dtype, shape, start, size)
    axis = quantization.number(_AXIS, "<i") if scales.count > 1 else None
    if axis is not None and not (0 <= axis < len(shape) and shape[axis] == scales.count):
        return TensorRange(name, layer, dtype, shape, start, size)
    zeros = set(quantization.numbers(_ZERO_POINT, "q"))
    zero = zeros.pop() if len(zeros) == 1 else None
    return TensorRange(name, layer, dtype, shape, start, size, axis, (scales,), zero)
