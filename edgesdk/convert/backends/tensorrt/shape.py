"""What TensorRT asks of QDQ pairs, checked on the file: pure, one function a rule.

A pair that breaks a rule is refused by its parser, or silently costs a fusion. Sources: TensorRT
developer guide, "Working with Quantized Types" (explicit quantization, Q/DQ placement); its ONNX
parser (onnx-tensorrt 8.5, `QuantDequantLinearHelper`). What the parser itself makes of the file is
asked in `compiling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgesdk.convert.backends.onnx_facts import CONVERSIONS
from edgesdk.convert.backends.onnx_rewrites import opset
from edgesdk.convert.backends.tensorrt.wiring import (
    FUSED_ACTIVATIONS,
    WEIGHTED,
    Wiring,
    wiring,
)
from edgesdk.convert.keeping import KEPT
from edgesdk.errors import ConversionError

PER_CHANNEL_OPSET = 13
"""The first whose QuantizeLinear has an axis."""


def require_shape(model: onnx.ModelProto) -> None:
    """Every rule holds.

    Raises:
        ConversionError: with one detail a violation, each naming its operator.
    """
    broken = violations(model)
    if broken:
        raise ConversionError(
            f"{len(broken)} Q/DQ operators are not as TensorRT takes them", details=broken
        )


def violations(model: onnx.ModelProto) -> tuple[str, ...]:
    """What is wrong with the pairs of a model, one sentence each."""
    view = wiring(model)
    return tuple(line for rule in RULES for line in rule(model, view))


def opset_has_axes(model: onnx.ModelProto, view: Wiring) -> Iterator[str]:
    """Per-channel scales need the axis that opset 13 added."""
    del view
    if opset(model) < PER_CHANNEL_OPSET:
        yield f"the model is written in opset {opset(model)}, expected {PER_CHANNEL_OPSET} or above"


def zero_points_are_zero(model: onnx.ModelProto, view: Wiring) -> Iterator[str]:
    """Quantization is symmetric and signed: a zero point is there, is int8 and is 0."""
    values = _values(model)
    for node in _conversions(model):
        if len(node.input) < 3 or not node.input[2]:
            yield f"{_called(node)} has no zero point, expected int8 zeros"
        elif node.input[2] not in values:
            yield f"{_called(node)} computes its zero point, expected constant int8 zeros"
        elif (found := values[node.input[2]]).dtype != np.int8:
            yield f"{_called(node)} is {found.dtype}, expected int8"
        elif np.any(found):
            yield f"{_called(node)} has the zero point {found[found != 0].flat[0]}, expected 0"


def scales_are_positive(model: onnx.ModelProto, view: Wiring) -> Iterator[str]:
    """Scales are constants, finite and above zero."""
    values = _values(model)
    for node in _conversions(model):
        found = values.get(node.input[1])
        if found is None or found.dtype.kind != "f":
            yield f"{_called(node)} has no constant float scale, expected one"
        elif not (found.size and np.all(np.isfinite(found)) and np.all(np.greater(found, 0))):
            yield f"{_called(node)} has a scale that is not finite and positive"


def biases_stay_float(model: onnx.ModelProto, view: Wiring) -> Iterator[str]:
    """TensorRT adds biases in float and dequantizes nothing but int8."""
    for node in model.graph.node:
        bias = node.input[2] if node.op_type in WEIGHTED and len(node.input) > 2 else ""
        if view.is_dequantized(bias):
            yield f"{_called(node)} has a quantized bias, expected a float one"


def weights_have_channels(model: onnx.ModelProto, view: Wiring) -> Iterator[str]:
    """Weights beside an INT8 input are constants with one scale an output channel."""
    values = _values(model)
    for node in model.graph.node:
        if node.op_type not in WEIGHTED or not view.is_dequantized(node.input[0]):
            continue
        weight = node.input[1]
        if not view.is_dequantized(weight):
            yield f"{_called(node)} has an INT8 input and float weights, expected both in INT8"
        elif view.is_constant(weight):
            yield from _channel_problems(node, view, values)
        elif node.op_type != "MatMul":
            yield f"{_called(node)} computes its weights, expected a constant"


def activations_have_one_scale(model: onnx.ModelProto, view: Wiring) -> Iterator[str]:
    """Activations are quantized per tensor."""
    values = _values(model)
    for node in _conversions(model):
        scale = values.get(node.input[1])
        if not view.is_constant(node.input[0]) and scale is not None and scale.size != 1:
            yield f"{_called(node)} has {scale.size} scales for an activation, expected one"


def activation_functions_follow_directly(model: onnx.ModelProto, view: Wiring) -> Iterator[str]:
    """No pair stands between a weighted operator and its Relu or Clip: they are fused."""
    for node in model.graph.node:
        pair = view.pair(node.input[0]) if node.op_type in FUSED_ACTIVATIONS else None
        if pair is not None and view.weighted_maker(pair[0].input[0]) is not None:
            yield f"{_called(pair[0])} separates {node.name} from the operator it is fused with"


def additions_are_fused(model: onnx.ModelProto, view: Wiring) -> Iterator[str]:
    """An Add next to an INT8 convolution takes its result directly, and the other input in INT8."""
    for node in model.graph.node:
        if node.op_type != "Add" or node.doc_string == KEPT:
            continue
        direct = [name for name in node.input if _is_int8(view.weighted_maker(name), view)]
        pairs = [view.pair(name) for name in node.input if name not in direct]
        if direct and not all(pairs) and len(direct) < len(view.activations_of(node)):
            yield f"{_called(node)} adds a float tensor to an INT8 convolution, expected INT8"
        for pair in pairs:
            if not direct and pair and _is_int8(view.weighted_maker(pair[0].input[0]), view):
                yield f"{_called(pair[0])} separates {node.name} from the operator it is fused with"
                break


def pairs_are_whole(model: onnx.ModelProto, view: Wiring) -> Iterator[str]:
    """QuantizeLinear is read by DequantizeLinear only, which reads nothing else but constants."""
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            readers = view.readers.get(node.output[0], ())
            is_alone = not readers or node.output[0] in view.outputs
            if is_alone or any(reader.op_type != "DequantizeLinear" for reader in readers):
                yield f"{_called(node)} is not followed by DequantizeLinear"
        elif node.op_type == "DequantizeLinear":
            unread = node.output[0] not in view.readers and node.output[0] not in view.outputs
            if unread:
                yield f"{_called(node)} is read by nothing"
            if view.pair(node.output[0]) is None and not view.is_constant(node.input[0]):
                yield f"{_called(node)} does not follow QuantizeLinear"


Rule = Callable[[onnx.ModelProto, Wiring], Iterator[str]]

RULES: tuple[Rule, ...] = (
    opset_has_axes,
    zero_points_are_zero,
    scales_are_positive,
    biases_stay_float,
    weights_have_channels,
    activations_have_one_scale,
    activation_functions_follow_directly,
    additions_are_fused,
    pairs_are_whole,
)


def channel_axis(node: onnx.NodeProto, rank: int) -> int:
    """Axis of a weighted operator's output channels in its weights."""
    if node.op_type == "MatMul":
        return rank - 1
    if node.op_type == "ConvTranspose":
        return 1
    return 1 if node.op_type == "Gemm" and not _attribute(node, "transB", 0) else 0


def _channel_problems(
    node: onnx.NodeProto, view: Wiring, values: Mapping[str, npt.NDArray[Any]]
) -> Iterator[str]:
    dequantize = view.makers[node.input[1]]
    chain = [dequantize, *(pair[:1] if (pair := view.pair(node.input[1])) else ())]
    shape = view.constants[chain[-1].input[0]]
    wanted = channel_axis(node, len(shape))
    for each in chain:
        scale = values.get(each.input[1])
        axis = _attribute(each, "axis", 1) % len(shape)
        # A single channel's scale needs no axis.
        is_off = scale is not None and scale.size > 1 and axis != wanted
        if scale is not None and (is_off or scale.size != shape[wanted]):
            yield (
                f"{_called(each)} has {scale.size} scales on axis {axis} of the weights of "
                f"{node.name}, expected {shape[wanted]} on axis {wanted}"
            )


def _is_int8(node: onnx.NodeProto | None, view: Wiring) -> bool:
    return node is not None and all(view.is_dequantized(name) for name in node.input[:2])


def _conversions(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return (node for node in model.graph.node if node.op_type in CONVERSIONS)


def _values(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    """Scales and zero points that are constants."""
    named = {name for node in _conversions(model) for name in node.input[1:]}
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name in named
    }


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(each.i) for each in node.attribute if each.name == name), default)


def _called(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]}"
