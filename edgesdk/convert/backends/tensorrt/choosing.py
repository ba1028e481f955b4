"""Which operators are quantized for TensorRT, and on which of their inputs.

TensorRT adds in the convolution that made one of the two, if the other one is INT8 already; a pair
between that convolution and the Add separates them. Averages have an INT8 form where a pair stands
on either side. Source: TensorRT developer guide, "Working with Quantized Types", Q/DQ placement:
"Quantize the residual input in skip connections" and the figures of quantizable layers and of
suboptimal fusions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx

from edgesdk.convert.backends.onnx_facts import CONVERSIONS
from edgesdk.convert.backends.onnx_qdq import TENSORRT
from edgesdk.convert.backends.tensorrt.wiring import (
    COMMUTING,
    POOLS,
    WEIGHTED,
    Wiring,
    drop_unread,
    wiring,
)

_QUANTIZED = frozenset(TENSORRT.op_types)


def left_in_float(model: onnx.ModelProto, kept: Collection[str]) -> tuple[str, ...]:
    """Operators of a float model that get no pairs, by name.

    Besides `kept`: a convolution whose weights are computed; and what pairs would cost accuracy and
    gain nothing, an Add next to no INT8 convolution (a bias) and an average that none reads.

    Args:
        kept: names of the operators that the recipe does not want in INT8.
    """
    view = wiring(model)
    int8 = {
        node.name
        for node in model.graph.node
        if node.op_type in WEIGHTED and node.name not in kept and _has_weights(node, view)
    }
    return tuple(
        node.name
        for node in model.graph.node
        if node.name in kept
        or (node.op_type in WEIGHTED and node.name not in int8)
        or (node.op_type == "Add" and not _is_residual(node, view, int8))
        or (node.op_type in POOLS and not view.feeds_only(node.output[0], WEIGHTED))
    )


def _has_weights(node: onnx.NodeProto, view: Wiring) -> bool:
    return node.op_type == "MatMul" or view.is_constant(node.input[1])


def _is_residual(node: onnx.NodeProto, view: Wiring, int8: Collection[str]) -> bool:
    activations = view.activations_of(node)
    makers = filter(None, map(view.weighted_maker, activations))
    return len(activations) == 2 and any(maker.name in int8 for maker in makers)


def read_in_float(model: onnx.ModelProto, left: Collection[str]) -> None:
    """Let what is not quantized read the tensors as they are before their pairs.

    The toolkit gives a pair to all readers of a tensor where but one is quantized. Operators that
    only move or select values stay behind it: TensorRT moves the pair past them.
    """
    view = wiring(model)
    for node in model.graph.node:
        quantized = node.op_type in _QUANTIZED and node.name not in left
        if not quantized and node.op_type not in (*COMMUTING, *CONVERSIONS):
            for index, name in enumerate(node.input):
                pair = view.pair(name)
                if pair is not None:
                    node.input[index] = pair[0].input[0]
    drop_unread(model)


def free_fused_branches(model: onnx.ModelProto) -> None:
    """Take the pair away that separates a weighted operator from the Add it is fused with."""
    view = wiring(model)
    order = {node.output[0]: index for index, node in enumerate(model.graph.node)}
    for node in model.graph.node:
        sources = list(_sources(node, view)) if node.op_type == "Add" else []
        branches = [index for index, name in enumerate(sources) if view.weighted_maker(name)]
        if len(sources) == 2 and branches:
            # Of two convolutions it is fused with the one that is computed last.
            fused = max(branches, key=lambda index: order[sources[index]])
            node.input[fused] = sources[fused]
    drop_unread(model)


def _sources(node: onnx.NodeProto, view: Wiring) -> Iterator[str]:
    """What the pairs on the inputs of an operator read."""
    for name in node.input:
        pair = view.pair(name)
        if pair is not None:
            yield pair[0].input[0]
