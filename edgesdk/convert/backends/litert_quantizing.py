"""The INT8 form of a prepared float model: ai-edge-quantizer, and what it leaves to do.

Drives the quantizer's parameter generator and graph rewriter itself: its front end would run the
model again, and calibrate by a moving average. What it does not know how to quantize although
LiteRT has INT8 kernels for it goes in under the name of an operator with the same rules.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.default_policy import DEFAULT_CONFIG_CHECK_POLICY
from ai_edge_quantizer.model_modifier import ModelModifier
from ai_edge_quantizer.params_generator import ParamsGenerator
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils.tfl_flatbuffer_utils import TFL_OP_CODE_TO_NAME

from edgesdk.convert.backends import litert_flatbuffer as tflite
from edgesdk.convert.backends.litert_calibration import Range
from edgesdk.convert.backends.litert_versions import Use, operator_version, runtime_version
from edgesdk.convert.toolchains import Array
from edgesdk.errors import ConversionError
from edgesdk.targets.types import Scheme
from edgesdk.values.plan import ConversionPlan

KEPT_FLOAT = "edgesdk.keep_float"
"""Metadata entry: names of the operators that the recipe keeps in float, one a line."""

_MIN_RUNTIME = "min_runtime_version"
_MIN_RUNTIME_BYTES = 16
_LARGEST_BIAS = 2**29
"""A quarter of what int32 holds: an input's final scale may still be a little below ours."""

_OPS = schema.BuiltinOperator
# Ranges of inputs and outputs are independent.
_LIKE_RELU = (
    *(_OPS.RELU6, _OPS.RELU_N1_TO_1, _OPS.RELU_0_TO_1, _OPS.LEAKY_RELU, _OPS.PRELU, _OPS.ELU),
    *(_OPS.ABS, _OPS.EXP, _OPS.LOG, _OPS.LOG_SOFTMAX),
    *(_OPS.GREATER, _OPS.GREATER_EQUAL, _OPS.LESS, _OPS.LESS_EQUAL),
)
# The output has the input's scale; only input 0 is quantized.
_LIKE_GATHER = (
    *(_OPS.SQUEEZE, _OPS.EXPAND_DIMS, _OPS.TILE, _OPS.REVERSE_V2, _OPS.DEPTH_TO_SPACE),
    *(_OPS.SPACE_TO_BATCH_ND, _OPS.BATCH_TO_SPACE_ND, _OPS.SPLIT_V),
    *(_OPS.REDUCE_MAX, _OPS.ARG_MAX, _OPS.ARG_MIN, _OPS.TOPK_V2),
)
_STAND_INS: dict[int, int] = {
    **dict.fromkeys(_LIKE_RELU, _OPS.RELU),
    **dict.fromkeys(_LIKE_GATHER, _OPS.GATHER),
    # The inputs have the output's scale.
    _OPS.MINIMUM: _OPS.MAXIMUM,
    # The output is fixed to scale 1/128, zero point 0.
    _OPS.L2_NORMALIZATION: _OPS.TANH,
}
"""Operator code to one that ai-edge-quantizer 0.10 treats as this one must be."""

_LOG_SOFTMAX_RANGE = Range(-255 / 16, 0.0)
"""Gives scale 1/16 and zero point 127, the only ones its kernel has."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where an operator has its input, weights and bias; the axis of the weights that is output."""

    values: int
    weights: int
    bias: int
    channel_axis: int


_BIASED = {
    "CONV_2D": _Layout(0, 1, 2, channel_axis=0),
    "DEPTHWISE_CONV_2D": _Layout(0, 1, 2, channel_axis=3),
    "FULLY_CONNECTED": _Layout(0, 1, 2, channel_axis=0),
    "TRANSPOSE_CONV": _Layout(2, 1, 3, channel_axis=0),
}

_FAILURES = (
    ValueError,
    RuntimeError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    FloatingPointError,
    NotImplementedError,
)


def has_int8_form(code: int) -> bool:
    """An operator of this builtin code can be quantized."""
    name = TFL_OP_CODE_TO_NAME.get(_STAND_INS.get(code, code))
    return name in DEFAULT_CONFIG_CHECK_POLICY and any(
        config.activation_tensor_config is not None
        and config.activation_tensor_config.num_bits == 8
        and config.weight_tensor_config.num_bits == 8
        for config in DEFAULT_CONFIG_CHECK_POLICY[name]
    )


def quantized(content: bytes, ranges: Mapping[str, Range], plan: ConversionPlan) -> bytes:
    """The INT8 form of a prepared model.

    Args:
        ranges: of every float activation, by name.

    Raises:
        ConversionError: the scheme is not one LiteRT computes in, `keep_float` matches nothing, or
            the quantizer refuses the model.
    """
    _require_supported(plan.scheme)
    model = tflite.read_model(content)
    kept = _kept_in_float(model, plan.keep_float)
    recipe = _recipe(model, plan, kept)
    statistics = _statistics(model, ranges, plan.scheme)
    original = tflite.read_model(content)
    marker = _separate_outputs(model)
    codes = _take_stand_ins(model)
    try:
        with _quiet(), np.errstate(invalid="raise"):
            parameters = ParamsGenerator(model).generate_quantization_parameters(
                recipe, statistics, enable_progress_bar=False
            )
            rewritten = ModelModifier(model).modify_model(parameters, enable_progress_bar=False)
    except _FAILURES as error:
        raise ConversionError(
            f"the quantizer refuses this model: {type(error).__name__}: {error}"
        ) from error
    result = tflite.read_model(bytes(rewritten))
    _restore(result, codes)
    _join_outputs(result, marker)
    _restore_edge(result, original)
    name_tensors(result)
    if kept:
        tflite.set_metadata(result, KEPT_FLOAT, "\n".join(kept).encode())
    write_versions(result)
    return tflite.write_model(result)


def _require_supported(scheme: Scheme) -> None:
    if not scheme.weights.symmetric or scheme.activations.granularity != "per-tensor":
        raise ConversionError(
            f"found {scheme}, expected symmetric weights and per-tensor activations: LiteRT's INT8 "
            "kernels compute with nothing else"
        )


def _kept_in_float(model: Any, patterns: tuple[str, ...]) -> list[str]:
    graph = model.subgraphs[0]
    names = [tflite.operator_name(graph, operator) for operator in graph.operators]
    for pattern in patterns:
        if not any(re.fullmatch(pattern, name) for name in names):
            raise ConversionError(
                f"keep_float {pattern!r} matches no operator", details=[", ".join(names[:20])]
            )
    return [name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)]


def _recipe(model: Any, plan: ConversionPlan, kept: list[str]) -> RecipeManager:
    recipe = RecipeManager()
    everything = qtyping.TFLOperationName
    per_channel = plan.scheme.weights.granularity == "per-channel"
    recipe.add_quantization_config(
        ".*", everything.ALL_SUPPORTED, _config(plan.scheme, per_channel)
    )
    # The kernel has one scale for its weights; with one per channel it returns zeros.
    recipe.add_quantization_config(
        ".*", everything.BATCH_MATMUL, _config(plan.scheme, per_channel=False)
    )
    if plan.io == "float32":
        for edge in (everything.INPUT, everything.OUTPUT):
            recipe.add_quantization_config(".*", edge, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for scope, operator in _scopes(model, kept):
        recipe.add_quantization_config(scope, operator, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return recipe


def _config(scheme: Scheme, per_channel: bool) -> Any:
    granularity = qtyping.QuantGranularity
    return qtyping.OpQuantizationConfig(
        activation_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=8,
            symmetric=scheme.activations.symmetric,
            granularity=granularity.TENSORWISE,
        ),
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=8,
            symmetric=True,
            granularity=granularity.CHANNELWISE if per_channel else granularity.TENSORWISE,
        ),
        compute_precision=qtyping.ComputePrecision.INTEGER,
        explicit_dequantize=False,
    )


def _scopes(model: Any, kept: list[str]) -> Iterator[tuple[str, Any]]:
    """What the quantizer calls the operators to keep, where it would quantize them.

    By type, too: the virtual operator that stands for the graph's output has its producer's name.
    """
    graph = model.subgraphs[0]
    for operator in graph.operators:
        code = tflite.operator_code(model, operator)
        known = TFL_OP_CODE_TO_NAME.get(_STAND_INS.get(code, code))
        if known is not None and tflite.operator_name(graph, operator) in kept:
            names = [tflite.tensor_name(graph.tensors[index]) for index in operator.outputs]
            yield f"^{re.escape(';'.join(names) + ';')}$", known


def _statistics(model: Any, ranges: Mapping[str, Range], scheme: Scheme) -> dict[str, Any]:
    """Ranges in the quantizer's form: arrays of as many dimensions as the tensor has."""
    tensors = {tflite.tensor_name(tensor): tensor for tensor in model.subgraphs[0].tensors}
    statistics = {
        name: _bounds(np.full(rank, found.low), np.full(rank, found.high))
        for name, found in ranges.items()
        for rank in [(1,) * len(tflite.shape(tensors[name]))]
    }
    for operator in model.subgraphs[0].operators:
        if tflite.operator_code(model, operator) == _OPS.LOG_SOFTMAX:
            statistics |= _of_log_softmax(model.subgraphs[0].tensors[operator.outputs[0]])
    return statistics | _widened_weights(model, ranges, scheme)


def _bounds(low: Array, high: Array) -> dict[str, Array]:
    return {"min": low.astype(np.float32), "max": high.astype(np.float32)}


def _widened_weights(
    model: Any, ranges: Mapping[str, Range], scheme: Scheme
) -> dict[str, dict[str, Array]]:
    """Ranges for weights so small that their bias would not fit.

    A bias is stored in steps of (input scale * weight scale). Where a channel's weights are all but
    zero, as batch normalization often leaves them, those steps are so fine that the bias overflows
    int32 and even changes its sign.
    """
    per_channel = scheme.weights.granularity == "per-channel"
    widened = {}
    for axis, values, weights, bias in _biased(model):
        found = ranges.get(tflite.tensor_name(values))
        stored, offsets = tflite.constant(model, weights), tflite.constant(model, bias)
        if found is not None and stored is not None and offsets is not None:
            bound = _weight_bound(stored, axis if per_channel else None)
            needed = _bound_for_bias(offsets, found, scheme, bound.shape)
            if np.any(needed > bound):
                bound = np.maximum(bound, needed)
                widened[tflite.tensor_name(weights)] = _bounds(-bound, bound)
    return widened


def _biased(model: Any) -> Iterator[tuple[int, Any, Any, Any]]:
    """Channel axis of the weights, input, weights and bias of every operator that has a bias."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        layout = _BIASED.get(tflite.operator_type(model, operator))
        if layout is not None and len(operator.inputs) > layout.bias:
            places = (layout.values, layout.weights, layout.bias)
            values, weights, bias = (operator.inputs[place] for place in places)
            if bias >= 0:
                tensors = graph.tensors
                yield layout.channel_axis, tensors[values], tensors[weights], tensors[bias]


def _weight_bound(weights: Array, axis: int | None) -> Array:
    others = tuple(index for index in range(weights.ndim) if index != axis)
    return np.asarray(np.abs(weights).max(axis=others, keepdims=True), np.float64)


def _bound_for_bias(bias: Array, found: Range, scheme: Scheme, shape: tuple[int, ...]) -> Array:
    """The largest weight that gives a scale coarse enough for the bias, in the bounds' shape."""
    if scheme.activations.symmetric:
        input_scale = max(abs(found.low), abs(found.high)) / 127
    else:
        input_scale = (max(found.high, 0.0) - min(found.low, 0.0)) / 255
    offsets = np.abs(bias.astype(np.float64))
    if offsets.size != int(np.prod(shape)):
        offsets = np.full(1, offsets.max(initial=0.0))
    return np.asarray(127 * offsets.reshape(shape) / (max(input_scale, 1e-11) * _LARGEST_BIAS))


def _take_stand_ins(model: Any) -> list[int]:
    """Rename the operators that have a stand-in; returns all codes as they were."""
    codes = [int(code.builtinCode) for code in model.operatorCodes]
    for code in model.operatorCodes:
        tflite.set_operator(code, _STAND_INS.get(code.builtinCode, code.builtinCode))
    return codes


def _restore(model: Any, codes: list[int]) -> None:
    # The quantizer appends codes of its own behind the model's.
    for code, builtin in zip(model.operatorCodes, codes, strict=False):
        tflite.set_operator(code, builtin)


def _separate_outputs(model: Any) -> int:
    """Put a copy between each output and its producer; returns the index of their operator code.

    Where an output has readers in the graph as well, the quantizer rewires them with it, the last
    operator of the graph among them even where it must not. `_join_outputs` undoes it.
    """
    graph = model.subgraphs[0]
    model.operatorCodes.append(schema.OperatorCodeT(version=1))
    tflite.set_operator(model.operatorCodes[-1], _OPS.RESHAPE)
    marker = len(model.operatorCodes) - 1
    for position, index in enumerate(graph.outputs):
        source = graph.tensors[index]
        name = b"%s_output_%d" % (source.name, position)
        graph.tensors.append(schema.TensorT(shape=source.shape, type=source.type, name=name))
        graph.outputs[position] = len(graph.tensors) - 1
        graph.operators.append(
            schema.OperatorT(opcodeIndex=marker, inputs=[index], outputs=[graph.outputs[position]])
        )
    return marker


def _join_outputs(model: Any, marker: int) -> None:
    graph = model.subgraphs[0]
    copies = [operator for operator in graph.operators if operator.opcodeIndex == marker]
    source = {operator.outputs[0]: operator.inputs[0] for operator in copies}
    graph.operators = [operator for operator in graph.operators if operator.opcodeIndex != marker]
    for operator in graph.operators:
        operator.inputs = [source.get(index, index) for index in operator.inputs]
    graph.outputs = [source.get(index, index) for index in graph.outputs]


def _restore_edge(model: Any, original: Any) -> None:
    """Give the outputs the float model's names, and its signatures the tensors that are there now.

    An output that is an input, too, has a name already.
    """
    graph, before = model.subgraphs[0], original.subgraphs[0]
    for index, old_index in zip(graph.outputs, before.outputs, strict=True):
        if old_index not in before.inputs:
            _take_name(graph, graph.tensors[index], before.tensors[old_index].name)
    new_inputs = dict(zip(before.inputs, graph.inputs, strict=True))
    new_outputs = dict(zip(before.outputs, graph.outputs, strict=True))
    model.signatureDefs = original.signatureDefs
    for signature in model.signatureDefs:
        for item in signature.inputs:
            item.tensorIndex = new_inputs[item.tensorIndex]
        for item in signature.outputs:
            item.tensorIndex = new_outputs[item.tensorIndex]


def _take_name(graph: Any, tensor: Any, name: bytes) -> None:
    holder = next(other for other in graph.tensors if other.name == name)
    holder.name, tensor.name = tensor.name, name


def write_versions(model: Any) -> None:
    """Set every operator's version and the oldest runtime that runs them all.

    The quantizer leaves both at the float model's; LiteRT refuses what is too new for it, so a
    version that is too low hides that, and one too high keeps an old runtime out.
    """
    needed: dict[int, int] = {}
    for operator in model.subgraphs[0].operators:
        version = operator_version(_use(model, operator))
        if version is not None:
            needed[operator.opcodeIndex] = max(needed.get(operator.opcodeIndex, 1), version)
    for index, version in needed.items():
        model.operatorCodes[index].version = version
    tflite.set_metadata(model, _MIN_RUNTIME, _oldest_runtime(model))


def _oldest_runtime(model: Any) -> bytes:
    operators = model.subgraphs[0].operators
    oldest = max(
        (
            runtime_version(tflite.operator_type(model, operator), version) or (0,)
            for operator in operators
            for version in [model.operatorCodes[operator.opcodeIndex].version]
        ),
        default=(0,),
    )
    text = ".".join(map(str, oldest)).encode()
    return text.ljust(_MIN_RUNTIME_BYTES, b"\0")


def _use(model: Any, operator: Any) -> Use:
    graph = model.subgraphs[0]
    inputs = [graph.tensors[index] if index >= 0 else None for index in operator.inputs]
    outputs = [graph.tensors[index] for index in operator.outputs]
    shapes = [() if tensor is None else tflite.shape(tensor) for tensor in inputs]
    options = {} if operator.builtinOptions is None else vars(operator.builtinOptions)
    operator_type = tflite.operator_type(model, operator)
    return Use(
        type=operator_type,
        inputs=tuple("" if tensor is None else tflite.dtype(tensor) for tensor in inputs),
        outputs=tuple(tflite.dtype(tensor) for tensor in outputs),
        ranks=tuple(map(len, shapes)),
        options={name: value for name, value in options.items() if isinstance(value, (int, bool))},
        grouped=operator_type == "CONV_2D" and shapes[0][3] != shapes[1][3],
        weights_per_channel=any(
            len(tflite.scales(tensor)) > 1 for tensor in inputs[:2] if tensor is not None
        ),
        rescale=_rescale([*inputs[:2], *outputs[:1]]),
        broadcasts=len(shapes) > 1 and shapes[0] != shapes[1],
    )


def _rescale(tensors: list[Any]) -> float:
    """Product of the inputs' scales by the output's, in single precision as TensorFlow does."""
    found = [tflite.scales(tensor) for tensor in tensors if tensor is not None]
    if len(found) != 3 or not all(len(scales) == 1 for scales in found):
        return 0.0
    first, second, output = (np.float32(scales[0]) for scales in found)
    return float(first * second / output)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's log, prints and warnings from the terminal, and its log handler out."""
    handlers, disabled = logging.root.handlers[:], logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.handlers[:] = handlers
        logging.disable(disabled)
