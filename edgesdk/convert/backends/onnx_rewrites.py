"""Exact rewrites of ONNX graphs into operators that have INT8 kernels, and names for operators."""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper

OPSET = 17
"""Models below opset 13 are raised to this one: per-channel scales need the axis that 13 added."""

IR_VERSION = 10
"""The newest file version that ONNX Runtime 1.18, our oldest, reads."""


def rewritten(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy at opset 13 or above, every operator named, spatial means as average pools."""
    opset = max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    raised = onnx.version_converter.convert_version(proto, OPSET) if opset < 13 else proto
    copy = onnx.shape_inference.infer_shapes(raised, data_prop=True)
    _pool_spatial_means(copy)
    _drop_unread_constants(copy)
    _declare_only_what_is_used(copy)
    for index, node in enumerate(copy.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return copy


def _pool_spatial_means(proto: onnx.ModelProto) -> None:
    """ReduceMean over height and width is GlobalAveragePool, which has an INT8 kernel.

    PyTorch exports adaptive average pooling as such a mean.
    """
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*proto.graph.input, *proto.graph.value_info)
    }
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    for node in nodes:
        if node.op_type == "ReduceMean" and _is_spatial(node, proto, ranks):
            proto.graph.node.extend(_average_pool(node, proto))
        else:
            proto.graph.node.append(node)


def _drop_unread_constants(proto: onnx.ModelProto) -> None:
    read = {name for node in proto.graph.node for name in node.input}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)


def _declare_only_what_is_used(proto: onnx.ModelProto) -> None:
    """Old runtimes refuse a model for a newer file version or for a domain they do not know."""
    used = {node.domain for node in proto.graph.node} | {""}
    kept = [entry for entry in proto.opset_import if entry.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    proto.ir_version = min(proto.ir_version, IR_VERSION)


def _is_spatial(node: onnx.NodeProto, proto: onnx.ModelProto, ranks: dict[str, int]) -> bool:
    axes = _axes(node, proto)
    return ranks.get(node.input[0]) == 4 and sorted(axis % 4 for axis in axes) == [2, 3]


def _axes(node: onnx.NodeProto, proto: onnx.ModelProto) -> list[int]:
    """An attribute up to opset 17, an input from 18 on; empty when computed at run time."""
    for attribute in node.attribute:
        if attribute.name == "axes":
            return list(attribute.ints)
    for tensor in proto.graph.initializer:
        if len(node.input) > 1 and tensor.name == node.input[1]:
            return [int(axis) for axis in numpy_helper.to_array(tensor)]
    return []


def _average_pool(node: onnx.NodeProto, proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    keep = all(attribute.name != "keepdims" or attribute.i for attribute in node.attribute)
    pooled = node.output[0] if keep else f"{node.output[0]}_pooled"
    pool = helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name)
    if keep:
        return [pool]
    name = f"{node.output[0]}_flatten"
    # Flatten rather than Squeeze: [n, c, 1, 1] to [n, c], and it needs no axes tensor.
    return [pool, helper.make_node("Flatten", [pooled], [node.output[0]], name=name, axis=1)]
