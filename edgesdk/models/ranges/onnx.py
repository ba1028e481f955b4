"""The initializers of an ONNX file, read from the protocol buffer's fields as they lie.

Field numbers are those of onnx.proto. Packed and raw data are ranges; values that were written one
by one (`int32_data` of small integers) are not.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edgesdk.models.ranges.types import ITEM_BITS, Floats, Layout, TensorRange, apart

_TYPES = {
    **{1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64"},
    **{9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16"},
    **{17: "float8", 18: "float8", 19: "float8", 20: "float8", 21: "uint4", 22: "int4"},
}
_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_DIMS, _DATA_TYPE, _FLOAT_DATA, _INT32_DATA, _NAME, _RAW_DATA, _EXTERNAL = 1, 2, 4, 5, 8, 9, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _OP_TYPE, _ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR = 1, 3, 5
_KEY, _VALUE = 1, 2


@dataclass(slots=True)
class _Tensor:
    """What one TensorProto says."""

    name: str = ""
    dtype: str = ""
    dims: list[int] = field(default_factory=list)
    start: int = 0
    size: int = 0
    number: int | None = None
    external: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Node:
    """What one NodeProto says."""

    name: str = ""
    kind: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    constant: _Tensor | None = None


@dataclass(frozen=True, slots=True)
class _Scale:
    """What scales a tensor: names, and the axis of the first of them."""

    names: tuple[str, ...]
    zero_point: str
    axis: int
    layer: str


def read_layout(content: bytes, described_by: bytes = b"") -> Layout:
    """The initializers that lie in `content`: the model itself, or the file with its weights."""
    try:
        tensors, nodes = _read(described_by or content)
        if described_by:
            tensors = [each for each in tensors if each.external]
        else:
            tensors = [each for each in tensors if not each.external]
    except (ValueError, IndexError, struct.error):
        return Layout()
    for each in tensors:
        if each.external:
            each.start = int(each.external.get("offset", "0"))
            each.size = int(each.external.get("length", "0"))
    sound = [each for each in tensors if each.dtype and each.size == _size(each)]
    by_name = {each.name: each for each in sound}
    scales, layers = _scales(nodes), _layers(nodes)
    ranges = [_range(each, scales.get(each.name), by_name, layers) for each in sound]
    used = {name for scale in scales.values() for name in scale.names}
    vectors = [
        Floats(each.start, each.size // 4)
        for each in sound
        if each.name in used and each.dtype == "float32" and each.size > 4
    ]
    starts = {vector.start for vector in vectors}
    kept = [each for each in ranges if each.start not in starts]
    return apart(kept, vectors, len(content))


def _size(tensor: _Tensor) -> int:
    return -(-math.prod(tensor.dims) * ITEM_BITS[tensor.dtype] // 8)


def _range(
    tensor: _Tensor, scale: _Scale | None, known: dict[str, _Tensor], layers: dict[str, str]
) -> TensorRange:
    shape = tuple(tensor.dims)
    layer = layers.get(tensor.name, "")
    plain = TensorRange(tensor.name, layer, tensor.dtype, shape, tensor.start, tensor.size)
    if scale is None or any(name not in known for name in scale.names):
        return plain
    vectors = [known[name] for name in scale.names]
    if any(vector.dtype != "float32" for vector in vectors):
        return plain
    count = vectors[0].size // 4
    axis = scale.axis + len(shape) if scale.axis < 0 else scale.axis
    if count > 1 and not (axis < len(shape) and shape[axis] == count):
        return plain
    return TensorRange(
        *(tensor.name, scale.layer, tensor.dtype, shape, tensor.start, tensor.size),
        axis if count > 1 else None,
        tuple(Floats(vector.start, vector.size // 4) for vector in vectors),
        known[scale.zero_point].number if scale.zero_point in known else 0,
    )


def _scales(nodes: Sequence[_Node]) -> dict[str, _Scale]:
    """Which tensors scale which; a later use of the same tensor says the same."""
    found: dict[str, _Scale] = {}
    layers = _layers(nodes)
    for node in nodes:
        for place, scale in _scaled_inputs(node):
            name = node.inputs[place] if place < len(node.inputs) else ""
            if name and name not in found:
                layer = layers.get(node.outputs[0], "") if node.outputs else ""
                is_dequantize = node.kind == "DequantizeLinear"
                said = layer if is_dequantize and layer else scale.layer
                found[name] = _Scale(scale.names, scale.zero_point, scale.axis, said)
    return found


def _scaled_inputs(node: _Node) -> Iterator[tuple[int, _Scale]]:
    """Which inputs of a node are quantized, and what by."""
    names = [*node.inputs, *[""] * 9]
    layer = node.name or (node.outputs[0] if node.outputs else "")
    if node.kind == "DequantizeLinear" and not node.numbers.get("block_size"):
        yield 0, _Scale((names[1],), names[2], node.numbers.get("axis", 1), layer)
    elif node.kind == "QLinearConv":
        yield 3, _Scale((names[4],), names[5], 0, layer)
        yield 8, _Scale((names[4], names[1]), "", 0, layer)
    elif node.kind == "QLinearMatMul":
        yield 3, _Scale((names[4],), names[5], -1, layer)
    elif node.kind == "QGemm":
        axis = 0 if node.numbers.get("transB") else 1
        yield 3, _Scale((names[4],), names[5], axis, layer)
        yield 6, _Scale((names[4], names[1]), "", 0, layer)


def _layers(nodes: Sequence[_Node]) -> dict[str, str]:
    """Which node reads each value."""
    layers: dict[str, str] = {}
    for node in nodes:
        name = node.name or (node.outputs[0] if node.outputs else "")
        for value in node.inputs:
            layers.setdefault(value, name)
    return layers


def _read(content: bytes) -> tuple[list[_Tensor], list[_Node]]:
    """Initializers and nodes of the main graph.

    Raises:
        ValueError, IndexError, struct.error: these bytes are no protocol buffer of a model.
    """
    tensors: list[_Tensor] = []
    nodes: list[_Node] = []
    for number, start, end in _fields(content, 0, len(content)):
        if number != _GRAPH:
            continue
        for inner, begin, stop in _fields(content, start, end):
            if inner == _INITIALIZER:
                tensors.append(_tensor(content, begin, stop))
            elif inner == _NODE:
                nodes.append(_node(content, begin, stop))
    for node in nodes:
        if node.kind == "Constant" and node.constant is not None and node.outputs:
            node.constant.name = node.outputs[0]
            tensors.append(node.constant)
    return tensors, nodes


def _tensor(content: bytes, start: int, end: int) -> _Tensor:
    tensor = _Tensor()
    for number, begin, stop in _fields(content, start, end):
        if number == _DIMS:
            tensor.dims.extend(_integers(content, begin, stop))
        elif number == _DATA_TYPE:
            tensor.dtype = _TYPES.get(stop, "")
        elif number == _NAME:
            tensor.name = content[begin:stop].decode(errors="replace")
        elif number in (_RAW_DATA, _FLOAT_DATA):
            tensor.start, tensor.size = begin, max(stop - begin, 0)
        elif number == _INT32_DATA:
            values = _integers(content, begin, stop)
            tensor.number = values[0] if len(set(values)) == 1 else None
        elif number == _EXTERNAL:
            key, value = _pair(content, begin, stop)
            tensor.external[key] = value
    if tensor.size and tensor.dtype in ("int8", "uint8", "int32"):
        tensor.number = _same_number(
            content[tensor.start : tensor.start + tensor.size], tensor.dtype
        )
    return tensor


def _same_number(data: bytes, dtype: str) -> int | None:
    """The one value of a tensor of zero-points; None where there are several."""
    width = 4 if dtype == "int32" else 1
    first = data[:width]
    if data != first * (len(data) // width):
        return None
    return int.from_bytes(first, "little", signed=dtype != "uint8")


def _pair(content: bytes, start: int, end: int) -> tuple[str, str]:
    fields = {number: content[begin:stop] for number, begin, stop in _fields(content, start, end)}
    return fields.get(_KEY, b"").decode(errors="replace"), fields.get(_VALUE, b"").decode(
        errors="replace"
    )


def _node(content: bytes, start: int, end: int) -> _Node:
    node = _Node()
    for number, begin, stop in _fields(content, start, end):
        if number in (_NODE_INPUT, _NODE_OUTPUT):
            text = content[begin:stop].decode(errors="replace")
            (node.inputs if number == _NODE_INPUT else node.outputs).append(text)
        elif number == _NODE_NAME:
            node.name = content[begin:stop].decode(errors="replace")
        elif number == _OP_TYPE:
            node.kind = content[begin:stop].decode(errors="replace")
        elif number == _ATTRIBUTE:
            _attribute(content, begin, stop, node)
    return node


def _attribute(content: bytes, start: int, end: int, node: _Node) -> None:
    name = ""
    for number, begin, stop in _fields(content, start, end):
        if number == _ATTRIBUTE_NAME:
            name = content[begin:stop].decode(errors="replace")
        elif number == _ATTRIBUTE_INT:
            node.numbers[name] = stop if stop < 1 << 63 else stop - (1 << 64)
        elif number == _ATTRIBUTE_TENSOR and name == "value":
            node.constant = _tensor(content, begin, stop)


def _integers(content: bytes, start: int, end: int) -> list[int]:
    """One varint, or the packed ones of a range."""
    if start < 0:
        return [end]
    values = []
    while start < end:
        value, start = _varint(content, start)
        values.append(value)
    return values


def _fields(content: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of a message; of a varint -1 and its value.

    Raises:
        ValueError, IndexError: it is no message.
    """
    while start < end:
        key, start = _varint(content, start)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, start = _varint(content, start)
            yield number, -1, value
            continue
        if kind == 2:
            size, start = _varint(content, start)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if not number or start + size > end:
            raise ValueError(f"field {number} of {size} bytes")
        yield number, start, start + size
        start += size


def _varint(content: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = content[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
    raise ValueError("a varint of more than ten bytes")
