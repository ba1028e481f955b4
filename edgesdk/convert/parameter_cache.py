"""How much of a model's parameters an accelerator keeps on chip, before any compilation. Pure.

The layout is the Edge TPU's as far as compiled files show it: channels in groups of 16 (of 4 below
16), a depthwise kernel four times over, 16 bytes a channel for bias and scale, each operator in
whole 64 bytes. Nobody has documented it. Over seven published networks of convolutions (0.5 to
3.5 MB) the sum lies within 3 % of what the compiled files hold; recurrent and tiny networks take
much more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from edgesdk.models.graph import Graph, GraphOperator, GraphTensor
from edgesdk.values.forecast import CPU, CacheUse, Placement

_GROUP: Final = 16
_SMALL_GROUP: Final = 4
_DEPTHWISE_COPIES: Final = 4
_CHANNEL_BYTES: Final = 16
_LINE_BYTES: Final = 64
_WEIGHTS = frozenset({"float32", "float16", "int8", "uint8"})
_IMAGE_RANK = 4


def forecast_cache(graph: Graph, placements: Sequence[Placement], capacity_bytes: int) -> CacheUse:
    """Parameters of the operators off the CPU, kept on chip or streamed.

    The compiler keeps the parameters of an operator as a whole, in the order of the graph, as long
    as they fit. Activations need some of the same memory, up to an eighth of it in large networks,
    so that a forecast near the capacity is optimistic.

    Args:
        placements: one for each operator of the graph.
        capacity_bytes: of the on-chip memory for parameters.
    """
    on_chip = streamed = 0
    counted: set[int] = set()
    for operator, placement in zip(graph.operators, placements, strict=True):
        if placement.unit == CPU:
            continue
        size = _parameter_bytes(operator, graph, counted)
        if on_chip + size <= capacity_bytes:
            on_chip += size
        else:
            streamed += size
    return CacheUse(on_chip, streamed, capacity_bytes)


def _parameter_bytes(operator: GraphOperator, graph: Graph, counted: set[int]) -> int:
    """Bytes as the accelerator stores them; what is in `counted` is there already."""
    new = [index for index in operator.inputs if index >= 0 and index not in counted]
    counted.update(new)
    tensors = [graph.tensors[index] for index in new if graph.tensors[index].constant]
    found = [
        tensor for tensor in tensors if tensor.dtype in _WEIGHTS and len(tensor.shape or ()) > 1
    ]
    return _rounded(sum(_stored_bytes(operator, graph, tensor) for tensor in found), _LINE_BYTES)


def _stored_bytes(operator: GraphOperator, graph: Graph, weights: GraphTensor) -> int:
    shape = weights.shape or ()
    if len(shape) == _IMAGE_RANK:
        area, outputs, inputs = _kernel(operator, graph, shape)
    else:
        area, outputs, inputs = math.prod(shape[:-2]), shape[-2], shape[-1]
    if inputs == 0:
        values = area * _rounded(outputs, _SMALL_GROUP) * _DEPTHWISE_COPIES
    else:
        values = area * _grouped(outputs) * _grouped(inputs)
    return values + _rounded(outputs, _SMALL_GROUP) * _CHANNEL_BYTES


def _kernel(operator: GraphOperator, graph: Graph, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Places, output channels and input channels of a kernel; 0 input channels when depthwise."""
    if graph.format == "onnx":
        depthwise = operator.attributes.get("group", 1) == shape[0] and shape[1] == 1
        return math.prod(shape[2:]), shape[0], 0 if depthwise and shape[0] > 1 else shape[1]
    if operator.type == "DEPTHWISE_CONV_2D":
        return math.prod(shape[1:3]), shape[3], 0
    return math.prod(shape[1:3]), shape[0], shape[3]


def _grouped(channels: int) -> int:
    return _rounded(channels, _SMALL_GROUP if channels < _GROUP else _GROUP)


def _rounded(count: int, step: int) -> int:
    return -(-count // step) * step
