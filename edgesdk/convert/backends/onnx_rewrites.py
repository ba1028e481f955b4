"""Exact rewrites of ONNX graphs: what old runtimes read, and operators that have INT8 kernels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import onnx
import onnx.inliner
from onnx import helper, numpy_helper

from edgesdk.convert.backends.onnx_branches import read_through_identity, reads
from edgesdk.convert.backends.onnx_sharing import give_each_its_own
from edgesdk.convert.backends.onnx_toolkit import at_opset, inferred
from edgesdk.convert.keeping import KEPT
from edgesdk.errors import ConversionError
from edgesdk.models.formats.onnx import subgraphs

OPSET = 17
"""Models below opset 13 are raised to this one: per-channel scales need the axis that 13 added."""

NEWEST_OPSET = 21
"""The newest operator set that ONNX Runtime 1.18, our oldest, has."""

IR_VERSION = 10
"""The newest file version that ONNX Runtime 1.18, our oldest, reads."""

OLDEST_IR_VERSION = 4
"""The first in which a constant need not be an input, too."""


def portable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model as all our runtimes read it, each operator under a name of its own.

    Raises:
        ConversionError: it needs an operator that our oldest runtime does not have.
    """
    copy = onnx.inliner.inline_local_functions(proto)
    _keep_constants_out_of_the_inputs(copy)
    copy = _lowered(copy) if opset(copy) > NEWEST_OPSET else copy
    _declare_only_what_is_used(copy)
    _name_operators(copy)
    return copy


def rewritten(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy to quantize: opset 13 or above, spatial means as average pools, nothing shared.

    Every operator has a name of its own, and constants that no other reads.
    """
    raised = at_opset(proto, OPSET) if opset(proto) < 13 else proto
    copy = inferred(raised, values=True)
    _pool_spatial_means(copy)
    _drop_unread_constants(copy)
    _declare_only_what_is_used(copy)
    _name_operators(copy)
    read_through_identity(copy)
    give_each_its_own(copy)
    return copy


def keep_in_float(proto: onnx.ModelProto, names: Collection[str]) -> None:
    """Keep ONNX Runtime from converting the named operators by itself.

    It takes whatever stands between DequantizeLinear and QuantizeLinear for quantized, and makes
    INT8 weights of float ones, one scale for all channels. Max of a single tensor, which is that
    tensor, between an operator and QuantizeLinear tells it not to.
    """
    makers = {name: node for node in proto.graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        if node.name in names:
            node.doc_string = KEPT
        if node.op_type == "QuantizeLinear" and node.input[0] in makers:
            result = node.input[0]
            source = before_activation(makers[result], makers)
            if source.name in names:
                outputs = list(makers[result].output)
                outputs[outputs.index(result)] = f"{result}_in_float"
                makers[result].output[:] = outputs
                same = helper.make_node("Max", [f"{result}_in_float"], [result], doc_string=KEPT)
                same.name = f"{source.name}_in_float"
                nodes.append(same)
        nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def before_activation(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> onnx.NodeProto:
    """The operator that ONNX Runtime fuses this one with, or this one."""
    while node.op_type in ("Relu", "Clip") and node.input[0] in makers:
        node = makers[node.input[0]]
    return node


def opset(proto: onnx.ModelProto) -> int:
    """The version of the operator set of ONNX itself that the model is written in."""
    return max(
        int(entry.version) for entry in proto.opset_import if entry.domain in ("", "ai.onnx")
    )


def _lowered(proto: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.version_converter.convert_version(proto, NEWEST_OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        raise ConversionError(
            f"the model is written in opset {opset(proto)} and does not go into opset "
            f"{NEWEST_OPSET}, the newest that ONNX Runtime 1.18 has: {error}",
            hint=f"export it with opset {NEWEST_OPSET} or lower",
        ) from error


def _keep_constants_out_of_the_inputs(proto: onnx.ModelProto) -> None:
    """A constant that is an input, too, may be overridden, so nothing could be made of it."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    kept = [value for value in proto.graph.input if value.name not in constants]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)


def _name_operators(proto: onnx.ModelProto) -> None:
    """Runtimes refuse two operators of one name, and the unnamed cannot be kept in float."""
    given = {node.name for node in proto.graph.node}
    taken: set[str] = set()
    for index, node in enumerate(proto.graph.node):
        if not node.name or node.name in taken:
            name = f"{node.name or node.op_type}_{index}"
            while name in given | taken:
                name += "_"
            node.name = name
        taken.add(node.name)


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
    read = {*reads(proto.graph), *(value.name for value in proto.graph.output)}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)


def _declare_only_what_is_used(proto: onnx.ModelProto) -> None:
    """Old runtimes refuse a model for a newer file version or for a domain they do not know."""
    used = {*_domains(proto.graph), ""}
    kept = [
        entry
        for entry in proto.opset_import
        if ("" if entry.domain == "ai.onnx" else entry.domain) in used
    ]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    proto.ir_version = min(max(proto.ir_version, OLDEST_IR_VERSION), IR_VERSION)


def _domains(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield "" if node.domain == "ai.onnx" else node.domain
        for inner in subgraphs(node):
            yield from _domains(inner)


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
