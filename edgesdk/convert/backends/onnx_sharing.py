"""Constants that several operators read: one for each to quantize, and one for all in float.

ONNX Runtime's quantizer makes one DequantizeLinear of a shared weight, and ONNX Runtime then fails
on it (`AddInitializedOrtValue Attempt to replace the existing tensor`). A weight that is a bias or
an operand elsewhere would have to be of two types at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from edgesdk.models.formats.onnx import subgraphs

_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
_FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    | {onnx.TensorProto.DOUBLE}
)


def give_each_its_own(proto: onnx.ModelProto) -> None:
    """Copy every float constant, scalars apart, for each operator that reads it after the first.

    What a branch or a loop body reads is its own: the quantizer does not look into them. Every
    operator has a name; a copy is called after the constant and its reader.
    """
    constants = {
        tensor.name: tensor
        for tensor in proto.graph.initializer
        if tensor.data_type in _FLOATS and tensor.dims
    }
    taken = set(_names(proto.graph))
    read = set(_read_within(proto.graph))
    for node in proto.graph.node:
        for name in sorted({*node.input} & constants.keys()):
            if name in read:
                _copy_for(node, constants[name], taken, proto)
            read.add(name)


def store_equal_floats_once(proto: onnx.ModelProto) -> None:
    """Make operators read the same float constant where theirs are equal, so no copy is stored.

    What is quantized stays apart: ONNX Runtime fails on shared integers as on shared weights,
    depending on the processor it runs on.
    """
    content = {
        tensor.name: _content(tensor)
        for tensor in proto.graph.initializer
        if tensor.data_type in _FLOATS
    }
    floats: dict[tuple[object, ...], str] = {}
    before: set[str] = set()
    for node in proto.graph.node:
        before.update(node.input)
        if node.op_type not in _CONVERSIONS:
            node.input[:] = [
                floats.setdefault(content[name], name) if name in content else name
                for name in node.input
            ]
    after = {name for node in proto.graph.node for name in node.input}
    outputs = {value.name for value in proto.graph.output}
    _drop(proto, before - after - outputs - set(_read_within(proto.graph)))


def _copy_for(
    node: onnx.NodeProto, tensor: onnx.TensorProto, taken: set[str], proto: onnx.ModelProto
) -> None:
    copy = proto.graph.initializer.add()
    copy.CopyFrom(tensor)
    copy.name = f"{tensor.name}_of_{node.name}"
    while copy.name in taken:
        copy.name += "_"
    taken.add(copy.name)
    node.input[:] = [copy.name if name == tensor.name else name for name in node.input]


def _content(tensor: onnx.TensorProto) -> tuple[object, ...]:
    values = np.ascontiguousarray(numpy_helper.to_array(tensor))
    return (tensor.data_type, *tensor.dims, hashlib.sha256(values.tobytes()).digest())


def _drop(proto: onnx.ModelProto, names: set[str]) -> None:
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in names]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """Of every tensor, those in branches and loop bodies included."""
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from (*node.input, *node.output)
        for inner in subgraphs(node):
            yield from _names(inner)


def _read_within(graph: onnx.GraphProto) -> Iterator[str]:
    """What branches and loop bodies may read of the constants."""
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _names(inner)
