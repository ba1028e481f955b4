"""Multiply-accumulates of an operator, from the shapes of its tensors. Pure.

Of convolutions and matrix products, where a network's arithmetic is: a multiply-accumulate for each
weight that goes into each output. Recurrent operators and other sums of products are not counted,
and so not known, as what is not the formats' own (a compiled piece, a custom operator); all the
rest have none. It is the model's arithmetic, not what a kernel does of it: Winograd's and other
fast algorithms do less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from edgesdk.convert.operands import RECURRENT, first_output, input_at
from edgesdk.models.graph import Graph, GraphOperator

_OWN_DOMAINS = ("", "ai.onnx")
_UNCOUNTED = RECURRENT | {"CONV_3D", "CONV_3D_TRANSPOSE", "DeformConv", "Einsum", "Attention"}
_Shape = tuple[int, ...]
_Count = Callable[[GraphOperator, Graph], int | None]


def macs(operator: GraphOperator, graph: Graph) -> int | None:
    """How many one run does; None where a shape is open or not known, or the operator is not."""
    if graph.format not in _COUNTS or operator.domain not in _OWN_DOMAINS:
        return None
    if operator.type in _UNCOUNTED:
        return None
    count = _COUNTS[graph.format].get(operator.type)
    return 0 if count is None else count(operator, graph)


def _input(operator: GraphOperator, graph: Graph, position: int) -> _Shape | None:
    tensor = input_at(operator, graph, position)
    return _closed(None if tensor is None else tensor.shape)


def _output(operator: GraphOperator, graph: Graph) -> _Shape | None:
    tensor = first_output(operator, graph)
    return _closed(None if tensor is None else tensor.shape)


def _closed(shape: _Shape | None) -> _Shape | None:
    return None if shape is None or any(size < 0 for size in shape) else shape


def _weighted(weights_at: int, per_output: Callable[[_Shape], _Shape]) -> _Count:
    """Every output takes so many of the weights' dimensions."""

    def count(operator: GraphOperator, graph: Graph) -> int | None:
        made, weights = _output(operator, graph), _input(operator, graph, weights_at)
        return None if made is None or weights is None else math.prod((*made, *per_output(weights)))

    return count


def _spread(taken_at: int, weights_at: int, per_input: Callable[[_Shape], _Shape]) -> _Count:
    """Of a transposed convolution: every input goes into so many of the weights' dimensions."""

    def count(operator: GraphOperator, graph: Graph) -> int | None:
        taken, weights = _input(operator, graph, taken_at), _input(operator, graph, weights_at)
        if taken is None or weights is None:
            return None
        return math.prod((*taken, *per_input(weights)))

    return count


def _product(transposed: str) -> _Count:
    """Of a matrix product: every output sums over the first matrix's columns.

    Args:
        transposed: the option that says that the first matrix lies the other way.
    """

    def count(operator: GraphOperator, graph: Graph) -> int | None:
        made, first = _output(operator, graph), _input(operator, graph, 0)
        if made is None or not first:
            return None
        other_way = bool(operator.attributes.get(transposed, 0)) and len(first) > 1
        return math.prod(made) * first[-2 if other_way else -1]

    return count


_COUNTS: Mapping[str, Mapping[str, _Count]] = {
    # Weights: [out, in / groups, *kernel]; transposed [in, out / groups, *kernel].
    "onnx": {
        "Conv": _weighted(1, lambda weights: weights[1:]),
        "ConvInteger": _weighted(1, lambda weights: weights[1:]),
        "QLinearConv": _weighted(3, lambda weights: weights[1:]),
        "ConvTranspose": _spread(0, 1, lambda weights: weights[1:]),
        "Gemm": _product("transA"),
        "MatMul": _product(""),
        "MatMulInteger": _product(""),
        "QLinearMatMul": _product(""),
    },
    # Weights: [out, height, width, in]; of a depthwise one [1, height, width, out].
    "tflite": {
        "CONV_2D": _weighted(1, lambda weights: weights[1:]),
        "DEPTHWISE_CONV_2D": _weighted(1, lambda weights: weights[1:3]),
        "TRANSPOSE_CONV": _spread(2, 1, lambda weights: weights[:3]),
        "FULLY_CONNECTED": _weighted(1, lambda weights: weights[1:]),
        "BATCH_MATMUL": _product("adj_x"),
    },
}
