"""Which operators an ONNX file's graph has, read from its bytes without the onnx package.

Only the wire format of Protocol Buffers is walked: weights are skipped, not read. Operators inside
subgraphs (of If, Loop and Scan) do not count.
"""

from __future__ import annotations

import mmap
from typing import FrozenSet, Iterator, Tuple, Union

from device_agent.runtimes.base import RuntimeFailed

# Field numbers of onnx.proto: ModelProto.graph, GraphProto.node, NodeProto.output, .name, .op_type.
_GRAPH, _NODE, _OUTPUT, _NAME, _OP_TYPE = 7, 1, 2, 3, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES_MAX = 10

_Bytes = Union[bytes, mmap.mmap]
_Span = Tuple[int, int]


def operator_types(path: str) -> FrozenSet[str]:
    """The operator types of a model's nodes, such as "Conv".

    Raises:
        RuntimeFailed: the file cannot be read, or is not an ONNX model.
    """
    return frozenset(kind for kind, _ in operators(path))


def operators(path: str) -> Tuple[Tuple[str, str], ...]:
    """Type and name of each node, in the file's order; one without a name has its first output's.

    Raises:
        RuntimeFailed: as `operator_types`.
    """
    try:
        with open(path, "rb") as stream:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return tuple(_operators(content))
    except (OSError, ValueError) as error:
        raise RuntimeFailed(f"cannot read the operators of the model: {error}") from error


def _operators(content: _Bytes) -> Iterator[Tuple[str, str]]:
    graphs = 0
    for graph in _fields(content, (0, len(content)), _GRAPH):
        graphs += 1
        for node in _fields(content, graph, _NODE):
            name = _first(content, node, _NAME) or _first(content, node, _OUTPUT)
            yield _first(content, node, _OP_TYPE), name
    if not graphs:
        raise ValueError("found no graph, expected an ONNX model")


def _first(content: _Bytes, node: _Span, wanted: int) -> str:
    for start, end in _fields(content, node, wanted):
        return content[start:end].decode("utf-8", "replace")
    return ""


def _fields(content: _Bytes, span: _Span, wanted: int) -> Iterator[_Span]:
    """Where the values of one length-delimited field of a message lie.

    Raises:
        ValueError: the bytes are not a message.
    """
    position, end = span
    while position < end:
        key, position = _varint(content, position, end)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            _, position = _varint(content, position, end)
            continue
        if kind == _BYTES:
            size, position = _varint(content, position, end)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise ValueError("found bytes that are not Protocol Buffers, expected an ONNX model")
        if position + size > end:
            raise ValueError("it ends early, expected a whole ONNX model")
        if kind == _BYTES and number == wanted:
            yield position, position + size
        position += size


def _varint(content: _Bytes, position: int, end: int) -> Tuple[int, int]:
    value = 0
    for index in range(_VARINT_BYTES_MAX):
        if position >= end:
            break
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position
    raise ValueError("found bytes that are not Protocol Buffers, expected an ONNX model")
