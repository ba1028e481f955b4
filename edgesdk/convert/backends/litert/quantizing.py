"""The INT8 form of a prepared float model: ai-edge-quantizer, and what it leaves to do.

Drives the quantizer's parameter generator and graph rewriter itself: its front end would run the
model again, and calibrate by a moving average.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.model_modifier import ModelModifier
from ai_edge_quantizer.params_generator import ParamsGenerator
from ai_edge_quantizer.recipe_manager import RecipeManager

from edgesdk.calibration.types import Range
from edgesdk.convert.backends.litert import flatbuffer as tflite
from edgesdk.convert.backends.litert.detours import (
    join_outputs,
    quantizer_name,
    restore_edge,
    restore_operators,
    separate_outputs,
    take_stand_ins,
)
from edgesdk.convert.backends.litert.fixups import name_tensors
from edgesdk.convert.backends.litert.ranges import statistics
from edgesdk.convert.backends.litert.unsigned import make_ports_unsigned
from edgesdk.convert.backends.litert.versioning import write_versions
from edgesdk.convert.keeping import overridden
from edgesdk.errors import ConversionError
from edgesdk.targets.types import Scheme
from edgesdk.values.plan import ConversionPlan

KEPT_FLOAT = "edgesdk.keep_float"
"""Metadata entry: names of the operators that the recipe keeps in float, one a line."""

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


def quantized(content: bytes, ranges: Mapping[str, Range], plan: ConversionPlan) -> bytes:
    """The INT8 form of a prepared model.

    Args:
        ranges: of every float activation, by name.

    Raises:
        ConversionError: the scheme is not one LiteRT computes in, `keep_float` matches nothing, or
            the quantizer refuses the model.
    """
    _require_supported(plan.scheme)
    model, original = tflite.read_model(content), tflite.read_model(content)
    precisions = overridden(tflite.operators(model), plan.keep_float, plan.overrides)
    kept = [name for name, precision in precisions.items() if precision == "float32"]
    ranged = statistics(model, ranges, plan.scheme)
    marker, copies = separate_outputs(model)
    if plan.io == "float32":
        precisions |= dict.fromkeys(copies, "float32")
    recipe = _recipe(plan, _scopes(model, precisions))
    codes = take_stand_ins(model, plan.scheme.activations.symmetric)
    result = _rewritten(model, recipe, ranged, codes)
    restore_operators(result, codes)
    join_outputs(result, marker)
    restore_edge(result, original)
    if plan.io == "uint8":
        make_ports_unsigned(result)
    name_tensors(result)
    if kept:
        tflite.set_metadata(result, KEPT_FLOAT, "\n".join(kept).encode())
    write_versions(result)
    return tflite.write_model(result)


def _rewritten(model: Any, recipe: RecipeManager, ranged: dict[str, Any], codes: list[int]) -> Any:
    # Numbers that overflow when they are stored must not pass for a warning.
    try:
        with _quiet(), np.errstate(invalid="raise"):
            parameters = ParamsGenerator(model).generate_quantization_parameters(
                recipe, ranged, enable_progress_bar=False
            )
            content = ModelModifier(model).modify_model(parameters, enable_progress_bar=False)
    except _FAILURES as error:
        restore_operators(model, codes)
        raise ConversionError(
            f"the quantizer refuses {_refused(error, model)}: {type(error).__name__}: {error}"
        ) from error
    return tflite.read_model(bytes(content))


def _refused(error: BaseException, model: Any) -> str:
    """The operator that the quantizer was at, if it was at one."""
    found = "this model"
    trace = error.__traceback__
    while trace is not None:
        # It does not say so in its messages.
        place = trace.tb_frame.f_locals.get("op_info")
        if isinstance(place, qtyping.OpInfo) and hasattr(place.op, "opcodeIndex"):
            kind = tflite.operator_type(model, place.op)
            found = f"{kind} {tflite.operator_name(model.subgraphs[0], place.op)!r}"
        trace = trace.tb_next
    return found


def _require_supported(scheme: Scheme) -> None:
    if not scheme.weights.symmetric or scheme.activations.granularity != "per-tensor":
        raise ConversionError(
            f"found {scheme}, expected symmetric weights and per-tensor activations: LiteRT's INT8 "
            "kernels compute with nothing else"
        )


def _recipe(plan: ConversionPlan, overrides: Iterable[tuple[str, Any, str]]) -> RecipeManager:
    recipe = RecipeManager()
    everything = qtyping.TFLOperationName
    if plan.precision == "fp16":
        recipe.add_quantization_config(
            ".*", everything.ALL_SUPPORTED, _half(), AlgorithmName.FLOAT_CASTING
        )
    else:
        recipe.add_quantization_config(
            ".*", everything.ALL_SUPPORTED, _config(plan.scheme, plan.precision)
        )
        recipe.add_quantization_config(
            ".*", everything.BATCH_MATMUL, _config(plan.scheme, plan.precision, one_scale=True)
        )
    if plan.io == "float32":
        for edge in (everything.INPUT, everything.OUTPUT):
            recipe.add_quantization_config(".*", edge, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for scope, operator, precision in overrides:
        if precision == "float32":
            recipe.add_quantization_config(scope, operator, algorithm_key=AlgorithmName.NO_QUANTIZE)
        elif precision == "fp16":
            recipe.add_quantization_config(scope, operator, _half(), AlgorithmName.FLOAT_CASTING)
        else:
            one_scale = operator == everything.BATCH_MATMUL
            config = _config(plan.scheme, precision, one_scale)
            recipe.add_quantization_config(scope, operator, config)
    return recipe


def _half() -> Any:
    """Weights stored in float16; what computes with them widens them first, or computes in it."""
    return qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )


def _config(scheme: Scheme, precision: str, one_scale: bool = False) -> Any:
    """The quantizer's form of an integer precision.

    Args:
        one_scale: for the weights as a whole. The kernel of BATCH_MATMUL has no more; with one per
            channel it returns zeros.
    """
    granularity = qtyping.QuantGranularity
    per_channel = scheme.weights.granularity == "per-channel" and not one_scale
    wide = precision == "w8a16"
    return qtyping.OpQuantizationConfig(
        activation_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16 if wide else 8,
            # LiteRT's 16-bit kernels have no zero points.
            symmetric=scheme.activations.symmetric or wide,
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


def _scopes(model: Any, precisions: Mapping[str, str]) -> Iterator[tuple[str, Any, str]]:
    """What the quantizer calls these operators where it would quantize them, and the precision."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        known = quantizer_name(tflite.operator_code(model, operator))
        precision = precisions.get(tflite.operator_name(graph, operator))
        if known is not None and precision is not None:
            outputs = [tflite.tensor_name(graph.tensors[index]) for index in operator.outputs]
            yield f"^{re.escape(';'.join(outputs) + ';')}$", known, precision


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
