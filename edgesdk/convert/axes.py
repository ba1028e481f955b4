"""Quantities of operators that work along axes: reductions, paddings, splits, slices. Pure."""

from __future__ import annotations

from typing import Final

from edgesdk.convert.operands import input_at
from edgesdk.models.graph import Graph, GraphOperator

BATCHED_RANK: Final = 4
"""From so many dimensions on the outermost one counts pictures, not places in one."""

_OPTIONS = ("axis", "axes", "squeeze_dims")
_AXES_BEHIND = frozenset({"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "EXPAND_DIMS"})
"""TFLite types whose second input has the axes."""
_PADDINGS = frozenset({"PAD", "PADV2", "MIRROR_PAD"})


def axes(operator: GraphOperator, graph: Graph) -> tuple[int, ...] | None:
    """Axes that an operator works along, not negative; None where the file does not say."""
    source = input_at(operator, graph)
    rank = len(source.shape) if source is not None and source.shape is not None else None
    found = _given(operator, graph)
    if rank is None or found is None:
        return None
    return tuple(sorted({axis % rank if rank else 0 for axis in found}))


def axes_batch(operator: GraphOperator, graph: Graph) -> bool | None:
    """It works along the outermost dimension, and that counts pictures."""
    source = input_at(operator, graph, 1 if operator.type == "SPLIT" else 0)
    if source is None or source.shape is None or len(source.shape) < BATCHED_RANK:
        return None
    if operator.type in _PADDINGS:
        amounts = input_at(operator, graph, 1)
        return any(amounts.values[:2]) if amounts is not None and amounts.values else None
    found = _given(operator, graph)
    return None if found is None else 0 in (axis % len(source.shape) for axis in found)


def axes_depth_odd(operator: GraphOperator, graph: Graph) -> bool | None:
    """It reduces the channels, and their number is no multiple of 4."""
    found, source = axes(operator, graph), input_at(operator, graph)
    if found is None or source is None or not source.shape or graph.format == "onnx":
        return None
    return len(source.shape) - 1 in found and source.shape[-1] % 4 != 0


def slice_strides(operator: GraphOperator, graph: Graph) -> int | tuple[int, ...] | None:
    """Strides of a slice; one 1 where they all are."""
    tensor = input_at(operator, graph, 4 if graph.format == "onnx" else 3)
    if tensor is None or not tensor.values:
        return None
    return 1 if set(tensor.values) == {1} else tuple(int(stride) for stride in tensor.values)


def leading_ones(operator: GraphOperator, graph: Graph) -> bool | None:
    """The dimensions that a squeeze drops lie before all that it keeps."""
    source = input_at(operator, graph)
    if source is None or source.shape is None:
        return None
    ones = tuple(axis for axis, size in enumerate(source.shape) if size == 1)
    dropped = axes(operator, graph) or ones
    return dropped == tuple(range(len(dropped)))


def _given(operator: GraphOperator, graph: Graph) -> tuple[int, ...] | None:
    """Axes as the file has them: an option, or the values of an input."""
    for name in _OPTIONS:
        value = operator.attributes.get(name)
        if isinstance(value, tuple):
            return tuple(int(axis) for axis in value)
        if isinstance(value, int):
            return (value,)
    behind = operator.type in _AXES_BEHIND or operator.type.startswith("Reduce")
    position = 0 if operator.type == "SPLIT" else 1 if behind else None
    tensor = None if position is None else input_at(operator, graph, position)
    return tuple(int(axis) for axis in tensor.values) if tensor and tensor.values else None
