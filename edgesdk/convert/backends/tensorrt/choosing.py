"""Which operators are quantized for TensorRT, and on which of their inputs.

TensorRT adds in the convolution that made one of the two, if the other one is INT8 already; a pair
between that convolution and the Add separates them. Averages have an INT8 form where a pair stands
on either side. Source: TensorRT developer guide, "Working with Quantized Types", Q/DQ placement:
"Quantize the residual input in skip connections" and the figures of quantizable layers and of
suboptimal fusions.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from edgesdk.convert.backends.tensorrt.wiring import (
    POOLS,
    WEIGHTED,
    Wiring,
    drop_unread,
    wiring,
)


def left_in_float(model: onnx.ModelProto) -> tuple[str, ...]:
    """Operators of a float model that pairs would cost accuracy and gain nothing, by name.

    An Add next to no convolution, such as a bias; an average whose result no weighted operator
    reads; a convolution whose weights are computed.
    """
    view = wiring(model)
    return tuple(node.name for node in model.graph.node if _gains_nothing(node, view))


def _gains_nothing(node: onnx.NodeProto, view: Wiring) -> bool:
    if node.op_type == "Add":
        activations = view.activations_of(node)
        return len(activations) < 2 or not any(map(view.weighted_maker, activations))
    if node.op_type in POOLS:
        return not view.feeds_only(node.output[0], WEIGHTED)
    return node.op_type in WEIGHTED and node.op_type != "MatMul" and len(_computed(node, view)) > 1


def _computed(node: onnx.NodeProto, view: Wiring) -> list[str]:
    return [name for name in node.input[:2] if not view.is_constant(name)]


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
