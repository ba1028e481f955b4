"""Types and shapes of an ONNX model's activations, found without handling its weights."""

from __future__ import annotations

import math

import onnx

from edgesdk.convert.backends.onnx_toolkit import inferred

_LARGE = 1024
"""Elements of a constant from which it cannot be a shape."""


def with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which the type and shape of every activation is written."""
    light, copy = activation_shapes(model), onnx.ModelProto()
    copy.CopyFrom(model)
    for name in ("value_info", "output"):
        copy.graph.ClearField(name)
    copy.graph.value_info.extend(light.graph.value_info)
    copy.graph.output.extend(light.graph.output)
    return copy


def activation_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the types and shapes of activations, but without what large weights hold.

    Inference makes four copies of all that it is given, and reads shapes among the constants only.
    """
    light, graph = onnx.ModelProto(), model.graph
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    light.graph.value_info.extend(graph.value_info)
    light.graph.initializer.extend(
        onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        if math.prod(tensor.dims) > _LARGE
        else tensor
        for tensor in graph.initializer
    )
    return inferred(light)
