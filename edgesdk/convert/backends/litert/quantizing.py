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
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.model_modifier import ModelModifier
from ai_edge_quantizer.params_generator import ParamsGenerator
from ai_edge_quantizer.recipe_manager import RecipeManager

from edgesdk.convert.backends.litert import flatbuffer as tflite
from edgesdk.convert.backends.litert.calibration import Range
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
from edgesdk.convert.backends.litert.versioning import write_versions
from edgesdk.convert.keeping import kept_in_float
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
    kept = kept_in_float(_names(model), plan.keep_float)
    ranged = statistics(model, ranges, plan.scheme)
    marker, copies = separate_outputs(model)
    recipe = _recipe(plan, _scopes(model, [*kept, *copies] if plan.io == "float32" else kept))
    codes = take_stand_ins(model, plan.scheme.activations.symmetric)
    result = _rewritten(model, recipe, ranged)
    restore_operators(result, codes)
    join_outputs(result, marker)
    restore_edge(result, original)
    name_tensors(result)
    if kept:
        tflite.set_metadata(result, KEPT_FLOAT, "\n".join(kept).encode())
    write_versions(result)
    return tflite.write_model(result)


def _rewritten(model: Any, recipe: RecipeManager, ranged: dict[str, Any]) -> Any:
    # Numbers that overflow when they are stored must not pass for a warning.
    try:
        with _quiet(), np.errstate(invalid="raise"):
            parameters = ParamsGenerator(model).generate_quantization_parameters(
                recipe, ranged, enable_progress_bar=False
            )
            content = ModelModifier(model).modify_model(parameters, enable_progress_bar=False)
    except _FAILURES as error:
        raise ConversionError(
            f"the quantizer refuses this model: {type(error).__name__}: {error}"
        ) from error
    return tflite.read_model(bytes(content))


def _require_supported(scheme: Scheme) -> None:
    if not scheme.weights.symmetric or scheme.activations.granularity != "per-tensor":
        raise ConversionError(
            f"found {scheme}, expected symmetric weights and per-tensor activations: LiteRT's INT8 "
            "kernels compute with nothing else"
        )


def _names(model: Any) -> list[str]:
    graph = model.subgraphs[0]
    return [tflite.operator_name(graph, operator) for operator in graph.operators]


def _recipe(plan: ConversionPlan, in_float: Iterable[tuple[str, Any]]) -> RecipeManager:
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
    for scope, operator in in_float:
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


def _scopes(model: Any, names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """What the quantizer calls the operators of these names, where it would quantize them."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        known = quantizer_name(tflite.operator_code(model, operator))
        if known is not None and tflite.operator_name(graph, operator) in names:
            outputs = [tflite.tensor_name(graph.tensors[index]) for index in operator.outputs]
            yield f"^{re.escape(';'.join(outputs) + ';')}$", known


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
