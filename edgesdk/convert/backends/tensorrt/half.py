"""Half precision: which operators compute in float16 is written into the file, as types and casts.

TensorRT 10 takes every type from the file (a strongly typed network), so that such a model needs no
builder flag on the device. Inputs and outputs of the model stay float32.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import ALWAYS_FLOAT_INPUTS, DEFAULT_OP_BLOCK_LIST

from edgesdk.convert.backends.onnx_facts import CONVERSIONS
from edgesdk.convert.backends.onnx_toolkit import inferred
from edgesdk.models.formats.onnx import graph_inputs, subgraphs

SUFFIX = "__half"
"""Of the tensors that hold float16 instead of the float32 they were."""

_LARGEST = float(np.finfo(np.float16).max)
_STAY = frozenset(
    {*CONVERSIONS, *DEFAULT_OP_BLOCK_LIST, "Cast", "CastLike", "Constant", "ConstantOfShape"}
    | {"EyeLike", "RandomNormal", "RandomUniform", "RandomNormalLike", "Bernoulli", "Multinomial"}
)
"""Not safe in float16 by ONNX Runtime's list, or with results whose type is an attribute."""


def in_half(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """The model with some operators in float16, and casts where they meet the others.

    Args:
        names: of the operators; those of types that do not go into float16 stay.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    conversion = _Conversion(copy, {name for name in _convertible(model) if name in names})
    nodes = [new for node in copy.graph.node for new in conversion.converted(node)]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    del copy.graph.value_info[:]  # some of it says float32 still
    return copy


def _convertible(model: onnx.ModelProto) -> Iterator[str]:
    for node in model.graph.node:
        if node.op_type not in _STAY and not any(subgraphs(node)):
            yield node.name


class _Conversion:
    """One pass over the operators of `model`, to whose constants halves are added."""

    def __init__(self, model: onnx.ModelProto, chosen: Collection[str]) -> None:
        self._graph = model.graph
        self._chosen = chosen
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._floats = {*_float_tensors(model)}
        self._read_in_float = {value.name for value in model.graph.output}
        for node in model.graph.node:
            if node.name not in chosen:
                self._read_in_float.update(_all_reads(node))
        self._halves: set[str] = set()

    def converted(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The operator and the casts that it needs, in order."""
        if node.name not in self._chosen:
            yield node
            return
        always_float = ALWAYS_FLOAT_INPUTS.get(node.op_type, [])
        for index, name in enumerate(node.input):
            if name in self._floats and index not in always_float:
                yield from self._provide(name)
                node.input[index] = f"{name}{SUFFIX}"
        results = [name for name in node.output if name in self._floats]
        node.output[:] = [f"{name}{SUFFIX}" if name in results else name for name in node.output]
        self._halves.update(results)
        yield node
        for name in results:
            if name in self._read_in_float:
                yield _cast(f"{name}{SUFFIX}", name, TensorProto.FLOAT)

    def _provide(self, name: str) -> Iterator[onnx.NodeProto]:
        if name in self._halves:
            return
        self._halves.add(name)
        if name in self._constants:
            values = numpy_helper.to_array(self._constants[name])
            halves = np.clip(values, -_LARGEST, _LARGEST).astype(np.float16)
            self._graph.initializer.append(numpy_helper.from_array(halves, f"{name}{SUFFIX}"))
        else:
            yield _cast(name, f"{name}{SUFFIX}", TensorProto.FLOAT16)


def _float_tensors(model: onnx.ModelProto) -> Iterator[str]:
    typed = inferred(model)
    for value in (*graph_inputs(typed), *typed.graph.value_info, *typed.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            yield value.name
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            yield tensor.name


def _all_reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for inner in subgraphs(node):
        yield from (value.name for value in inner.output)
        for each in inner.node:
            yield from _all_reads(each)


def _cast(source: str, result: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"{result}_cast", to=to)
