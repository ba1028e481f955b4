"""Read the graph of an ONNX model, float or quantized, for what is decided before any conversion.

Weights are read for their entropy alone; what is checked and inferred is a skeleton without them,
so that a model of hundreds of megabytes takes a second. Operators of functions stand in the graph
as if they had been written there; those of branches and loop bodies do not. `Constant` nodes are
constants, not operators.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from edgesdk.errors import ModelError
from edgesdk.models.entropy import int8_entropy_bits
from edgesdk.models.formats.onnx import inferred, write_shape
from edgesdk.models.formats.onnx_skeleton import Skeleton, read_skeleton, stored_bytes
from edgesdk.models.graph import SMALL_CONSTANT, Attribute, Graph, GraphOperator, GraphTensor
from edgesdk.models.types import TensorSpec

_CHANNEL_AXES = {"ConvTranspose": 1, "MatMul": -1}
"""Axis of a weight that has one scale an entry; 0 for other types, Gemm's by its transB."""
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})
_PLAIN = frozenset(
    {AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING}
    | {AttributeProto.FLOATS, AttributeProto.INTS, AttributeProto.STRINGS}
)


def read_graph(path: Path, input_shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """Read an ONNX file; see `edgesdk.models.reading.GraphReader`."""
    skeleton = read_skeleton(path)
    _fix_shapes(skeleton, input_shapes, path)
    return _graph(skeleton, inferred(skeleton.model, path).graph)


def _fix_shapes(
    skeleton: Skeleton, input_shapes: Mapping[str, tuple[int, ...]], path: Path
) -> None:
    graph = skeleton.model.graph
    inputs = {value.name: value for value in graph.input if value.name in skeleton.fed}
    for name, shape in input_shapes.items():
        if name not in inputs:
            raise ModelError(
                f"{path.name} has no input {name!r}, its inputs are {', '.join(inputs)}"
            )
        write_shape(inputs[name], shape, path)
    if input_shapes:
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")


def _graph(skeleton: Skeleton, shaped: onnx.GraphProto) -> Graph:
    tensors = tuple(_tensors(skeleton, shaped))
    index_of = {tensor.name: index for index, tensor in enumerate(tensors)}
    versions = {each.domain or "ai.onnx": each.version for each in skeleton.model.opset_import}
    return Graph(
        format="onnx",
        operators=tuple(
            _operator(index, node, index_of, versions)
            for index, node in zip(skeleton.places, shaped.node, strict=True)
        ),
        tensors=tensors,
        inputs=tuple(_spec(tensors[index_of[name]]) for name in skeleton.fed),
        outputs=tuple(_spec(tensors[index_of[value.name]]) for value in shaped.output),
    )


def _tensors(skeleton: Skeleton, graph: onnx.GraphProto) -> Iterator[GraphTensor]:
    types = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    quantized = set(_quantized(graph.node))
    axes = _channel_axes(graph.node, skeleton.constants)
    flowing = [name for node in graph.node for name in (*node.input, *node.output)]
    edge = [value.name for value in graph.output]
    for name in dict.fromkeys((*skeleton.fed, *skeleton.constants, *flowing, *edge)):
        if name in skeleton.constants:
            yield _constant(skeleton.constants[name], name in quantized, axes.get(name))
        elif name:
            yield _activation(name, types.get(name), name in quantized)


def _operator(
    index: int,
    node: onnx.NodeProto,
    index_of: Mapping[str, int],
    versions: Mapping[str, int],
) -> GraphOperator:
    domain = "" if node.domain == "ai.onnx" else node.domain
    first = next((name for name in node.output if name), "")
    return GraphOperator(
        index=index,
        type=node.op_type,
        name=node.name or first,
        version=versions.get(domain or "ai.onnx", 0),
        inputs=tuple(index_of.get(name, -1) for name in node.input),
        outputs=tuple(index_of.get(name, -1) for name in node.output),
        attributes={each.name: _plain(each) for each in node.attribute if each.type in _PLAIN},
        domain=domain,
    )


def _plain(attribute: AttributeProto) -> Attribute:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, int | float):
        return value
    return tuple(
        each.decode(errors="replace") if isinstance(each, bytes) else each for each in value
    )


def _quantized(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Names of the tensors that have scales: what is between Q and DQ, and in QLinear operators."""
    for node in nodes:
        if node.op_type == "QuantizeLinear" or node.op_type.startswith(("QLinear", "QGemm")):
            yield from node.output
        if node.op_type == "DequantizeLinear":
            yield node.input[0]
        if node.op_type in ("QLinearConv", "QLinearMatMul", "QGemm"):
            yield from (node.input[0], node.input[3])


def _channel_axes(
    nodes: Iterable[onnx.NodeProto], constants: Mapping[str, TensorProto]
) -> dict[str, int]:
    """Weight to the axis of its output channels."""
    axes = {}
    for node in nodes:
        for name in node.input[1:2]:
            if name in constants and len(constants[name].dims) > 1:
                axes[name] = _channel_axis(node)
    return axes


def _channel_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Gemm":
        return 0 if any(each.name == "transB" and each.i for each in node.attribute) else 1
    return _CHANNEL_AXES.get(node.op_type, 0)


def _constant(tensor: TensorProto, quantized: bool, channel_axis: int | None) -> GraphTensor:
    count = math.prod(tensor.dims)
    here = not uses_external_data(tensor)
    numeric = tensor.data_type != TensorProto.STRING
    values: tuple[float, ...] = ()
    entropy = None
    if here and numeric and count <= SMALL_CONSTANT:
        values = tuple(float(value) for value in numpy_helper.to_array(tensor).ravel())
    elif here and channel_axis is not None and tensor.data_type in _FLOATS:
        entropy = int8_entropy_bits(numpy_helper.to_array(tensor), channel_axis)
    return GraphTensor(
        name=tensor.name,
        shape=tuple(tensor.dims),
        dtype=_dtype(tensor.data_type),
        constant=True,
        quantized=quantized,
        size_bytes=stored_bytes(count, tensor.data_type),
        values=values,
        entropy_bits=entropy,
    )


def _activation(name: str, value: onnx.ValueInfoProto | None, quantized: bool) -> GraphTensor:
    if value is None or not value.type.HasField("tensor_type"):
        return GraphTensor(name, None, "", quantized=quantized)
    tensor = value.type.tensor_type
    dims = tuple(dim.dim_value if dim.dim_value > 0 else -1 for dim in tensor.shape.dim)
    shape = dims if tensor.HasField("shape") else None
    size_bytes = 0
    if shape is not None and -1 not in shape:
        size_bytes = stored_bytes(math.prod(shape), tensor.elem_type)
    return GraphTensor(
        name, shape, _dtype(tensor.elem_type), quantized=quantized, size_bytes=size_bytes
    )


def _dtype(code: int) -> str:
    if code == TensorProto.UNDEFINED:
        return ""
    return "str" if code == TensorProto.STRING else helper.tensor_dtype_to_np_dtype(code).name


def _spec(tensor: GraphTensor) -> TensorSpec:
    """An unknown rank reads as one open dimension."""
    return TensorSpec(tensor.name, (-1,) if tensor.shape is None else tensor.shape, tensor.dtype)
