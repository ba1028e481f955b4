"""What the limits of a descriptor look at in an operator, one small function a quantity. Pure.

A quantity that an operator does not have (no such option, an open dimension) is None, and a limit
on it holds: what is not known is no reason to keep an operator off a unit.

| quantity | what it is |
|---|---|
| version, opset | of the operator (TFLite), of the operator set (ONNX) |
| domain | "" for the format's own operators, "custom" for TFLite's custom ones |
| input_dtype, output_dtype | of the first input, of the first output |
| static | every shape is known |
| rank | most dimensions of an activation |
| inner_rank | dimensions of an activation from the first one above 1; the most there are |
| output_inner_rank | the same of the outputs alone |
| batch | size of the outermost dimension of an activation of 4 or more dimensions; the largest |
| elements, output_elements | of the largest activation, of the largest output |
| inputs | inputs that are given |
| constant_inputs, variable_inputs | those with values in the file, those without |
| constant_parameters | every input behind the first has its values in the file |
| nonzero_constants | constant inputs with a value other than 0; large ones count as such |
| constant_inner_rank | inner_rank of the constant inputs |
| weight_rank | dimensions of the second input |
| kernel_elements | width by height of the kernel: of the option, or of the weights |
| dilation, same_dilation | the largest dilation; height and width are dilated alike |
| groups | of a convolution |
| scale_height, scale_width | output by input size, of a resize |
| scale | the larger of both |
| axes | of a reduction, not negative, in ascending order |
| axes_batch | one of the axes (of a reduction, a split, a padding, ...) is the outermost of 4 |
| axes_depth_odd | reduces the innermost dimension, and that is no multiple of 4 |
| slice_strides | strides of a slice, 1 where they all are |
| leading_ones | dimensions that a squeeze drops lie before all that it keeps |
| input_depth | innermost dimension of the first input |
| inputs_beside_constants | inputs that are not constants, where another one is; else 0 |
| attribute.NAME | an option of the operator; lists as Python writes tuples, e.g. "(3, 3)" |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from edgesdk.convert.axes import (
    BATCHED_RANK,
    axes,
    axes_batch,
    axes_depth_odd,
    leading_ones,
    slice_strides,
)
from edgesdk.convert.operands import (
    activations,
    constants,
    first_output,
    input_at,
    known_shapes,
    outputs,
    variable_inputs,
)
from edgesdk.models.graph import Graph, GraphOperator, GraphTensor
from edgesdk.targets.quantities import ATTRIBUTE

Value = float | str | bool | tuple[int | float | str, ...] | None
Quantity = Callable[[GraphOperator, Graph], Value]


def quantity(name: str, operator: GraphOperator, graph: Graph) -> Value:
    """The value of a quantity; None where the operator does not have it.

    Raises:
        KeyError: there is no such quantity.
    """
    if name.startswith(ATTRIBUTE):
        return operator.attributes.get(name.removeprefix(ATTRIBUTE))
    return TABLE[name](operator, graph)


def _inner_rank(shape: tuple[int, ...]) -> int:
    first = next((axis for axis, size in enumerate(shape) if size != 1), len(shape))
    return len(shape) - first


def _largest(values: list[int]) -> float | None:
    return max(values, default=None)


def _elements(tensors: tuple[GraphTensor, ...]) -> float | None:
    return _largest(
        [math.prod(shape) for shape in known_shapes(tensors) if min(shape, default=1) >= 0]
    )


def _static(operator: GraphOperator, graph: Graph) -> Value:
    shapes = [tensor.shape for tensor in activations(operator, graph)]
    return all(shape is not None and min(shape, default=1) >= 0 for shape in shapes)


def _batch(operator: GraphOperator, graph: Graph) -> Value:
    shapes = known_shapes(activations(operator, graph))
    return _largest([shape[0] for shape in shapes if len(shape) >= BATCHED_RANK])


def _constant_parameters(operator: GraphOperator, graph: Graph) -> Value:
    return all(graph.tensors[index].constant for index in operator.inputs[1:] if index >= 0)


def _nonzero_constants(operator: GraphOperator, graph: Graph) -> Value:
    return sum(not tensor.values or any(tensor.values) for tensor in constants(operator, graph))


def _weight_rank(operator: GraphOperator, graph: Graph) -> Value:
    weights = input_at(operator, graph, 1)
    return None if weights is None or weights.shape is None else len(weights.shape)


def _kernel_elements(operator: GraphOperator, graph: Graph) -> Value:
    sizes = [operator.attributes.get(f"filter_{side}") for side in ("height", "width")]
    if all(isinstance(size, int) for size in sizes):
        return math.prod(size for size in sizes if isinstance(size, int))
    kernel = operator.attributes.get("kernel_shape")
    if isinstance(kernel, tuple):
        return math.prod(size for size in kernel if isinstance(size, int))
    weights = input_at(operator, graph, 1)
    if weights is None or weights.shape is None or len(weights.shape) != BATCHED_RANK:
        return None
    return math.prod(weights.shape[2:] if graph.format == "onnx" else weights.shape[1:3])


def _dilations(operator: GraphOperator) -> tuple[int, ...]:
    listed = operator.attributes.get("dilations")
    if isinstance(listed, tuple):
        return tuple(size for size in listed if isinstance(size, int))
    named = (operator.attributes.get(f"dilation_{side}_factor") for side in ("h", "w"))
    return tuple(size for size in named if isinstance(size, int))


def _groups(operator: GraphOperator, graph: Graph) -> Value:
    if graph.format == "onnx":
        return _number(operator.attributes.get("group", 1))
    source, weights = input_at(operator, graph), input_at(operator, graph, 1)
    shapes = [tensor.shape for tensor in (source, weights) if tensor is not None and tensor.shape]
    if operator.type != "CONV_2D" or len(shapes) != 2 or not shapes[1][-1]:
        return None
    return shapes[0][-1] // shapes[1][-1]


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None


def _scales(operator: GraphOperator, graph: Graph) -> tuple[float, float] | None:
    """Output by input size of height and width."""
    source, result = input_at(operator, graph), first_output(operator, graph)
    shapes = [tensor.shape for tensor in (source, result) if tensor is not None and tensor.shape]
    if len(shapes) != 2 or any(len(shape) != BATCHED_RANK or min(shape) < 1 for shape in shapes):
        return None
    first = 2 if graph.format == "onnx" else 1
    height, width = (shapes[1][axis] / shapes[0][axis] for axis in (first, first + 1))
    return height, width


def _scale(side: int) -> Quantity:
    def scale(operator: GraphOperator, graph: Graph) -> Value:
        scales = _scales(operator, graph)
        return None if scales is None else scales[side]

    return scale


def _larger_scale(operator: GraphOperator, graph: Graph) -> Value:
    scales = _scales(operator, graph)
    return None if scales is None else max(scales)


def _input_depth(operator: GraphOperator, graph: Graph) -> Value:
    source = input_at(operator, graph)
    if source is None or not source.shape or graph.format == "onnx":
        return None
    return source.shape[-1]


def _inputs_beside_constants(operator: GraphOperator, graph: Graph) -> Value:
    given = len(variable_inputs(operator, graph))
    return given if len(constants(operator, graph)) else 0


def _dtype(tensor: GraphTensor | None) -> str | None:
    return None if tensor is None else tensor.dtype


TABLE: Final[Mapping[str, Quantity]] = {
    "version": lambda operator, graph: operator.version,
    "opset": lambda operator, graph: operator.version,
    "domain": lambda operator, graph: operator.domain,
    "input_dtype": lambda operator, graph: _dtype(input_at(operator, graph)),
    "output_dtype": lambda operator, graph: _dtype(first_output(operator, graph)),
    "static": _static,
    "rank": lambda operator, graph: _largest(
        [len(shape) for shape in known_shapes(activations(operator, graph))]
    ),
    "inner_rank": lambda operator, graph: _largest(
        [_inner_rank(shape) for shape in known_shapes(activations(operator, graph))]
    ),
    "output_inner_rank": lambda operator, graph: _largest(
        [_inner_rank(shape) for shape in known_shapes(outputs(operator, graph))]
    ),
    "batch": _batch,
    "elements": lambda operator, graph: _elements(activations(operator, graph)),
    "output_elements": lambda operator, graph: _elements(outputs(operator, graph)),
    "inputs": lambda operator, graph: sum(index >= 0 for index in operator.inputs),
    "constant_inputs": lambda operator, graph: len(constants(operator, graph)),
    "variable_inputs": lambda operator, graph: len(variable_inputs(operator, graph)),
    "constant_parameters": _constant_parameters,
    "nonzero_constants": _nonzero_constants,
    "constant_inner_rank": lambda operator, graph: _largest(
        [_inner_rank(shape) for shape in known_shapes(constants(operator, graph))]
    ),
    "weight_rank": _weight_rank,
    "kernel_elements": _kernel_elements,
    "dilation": lambda operator, graph: _largest(list(_dilations(operator))),
    "same_dilation": lambda operator, graph: len(set(_dilations(operator))) <= 1,
    "groups": _groups,
    "scale_height": _scale(0),
    "scale_width": _scale(1),
    "scale": _larger_scale,
    "axes": axes,
    "axes_batch": axes_batch,
    "axes_depth_odd": axes_depth_odd,
    "slice_strides": slice_strides,
    "leading_ones": leading_ones,
    "input_depth": _input_depth,
    "inputs_beside_constants": _inputs_beside_constants,
}
"""Every quantity but the attributes; its keys are `edgesdk.targets.quantities.QUANTITIES`."""
