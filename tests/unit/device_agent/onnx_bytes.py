"""ONNX files of nothing but operator types, written without the onnx package."""

from __future__ import annotations


def field(number: int, value: bytes | int) -> bytes:
    """One field of a Protocol Buffers message: a length-delimited one, or a small integer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """A base-128 integer."""
    head = b""
    while value >= 0x80:
        head += bytes([value & 0x7F | 0x80])
        value >>= 7
    return head + bytes([value])


def onnx_bytes(*operators: str, weights: bytes = b"") -> bytes:
    """A ModelProto whose graph has these nodes, and one initializer of these bytes."""
    nodes = (
        field(1, b"x") + field(2, b"y") + field(3, b"name") + field(4, name.encode())
        for name in operators
    )
    graph = b"".join(field(1, node) for node in nodes) + field(2, b"graph")
    if weights:
        graph += field(5, field(1, len(weights)) + field(2, 3) + field(9, weights))
    return field(1, 8) + field(7, graph) + field(8, field(2, 17))
