"""OpenVINO model in float to OpenVINO model in INT8, with NNCF's post-training quantization.

Where quantizers go, how weights are stored and the correction of biases are NNCF's. For w8a8 NNCF
treats CPU, GPU and NPU alike (it takes the CPU's rules for all three), so no device is named. What
the target's CPU has decides whether weights give up a bit against saturation (`_overflow_fix`).
"""

from __future__ import annotations

import edgesdk.convert.backends.openvino.telemetry  # noqa: F401 - before nncf

# isort: split
import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

import nncf
import numpy as np
import onnx
from nncf.quantization.advanced_parameters import (
    AdvancedQuantizationParameters,
    OverflowFix,
    QuantizationMode,
    QuantizationParameters,
)
from nncf.quantization.range_estimator import RangeEstimatorParametersSet

from edgesdk.calibration.accumulator import LARGEST
from edgesdk.convert.backends.openvino.statistics import bounded_statistics, not_a_number
from edgesdk.convert.backends.openvino.toolkit import their_failures
from edgesdk.convert.keeping import overridden
from edgesdk.convert.toolchains import Sample
from edgesdk.errors import ConversionError, ModelError
from edgesdk.targets.types import TensorScheme
from edgesdk.values.plan import ConversionPlan

KEPT_INFO = ["edgesdk", "kept_in_float"]
"""Where in the model's own notes stands which operators the recipe keeps in float, as JSON."""

_SUMS_IN_32_BITS = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})
"""Features, as /proc/cpuinfo spells them, whose kernels cannot saturate."""


def quantized(
    model: Any,
    source: onnx.ModelProto,
    plan: ConversionPlan,
    samples: Callable[[], Iterator[Sample]],
    advance: Callable[[int], None],
) -> Any:
    """The INT8 form of `model`, which is `source` as OpenVINO has read it.

    Raises:
        ModelError: a pattern or an override matches no operator, or none that OpenVINO has left.
        ConversionError: the plan asks for what INT8 models of OpenVINO do not have.
    """
    kept = kept_names(model, source, plan)
    scheme = plan.scheme
    mixed, performance = nncf.QuantizationPreset.MIXED, nncf.QuantizationPreset.PERFORMANCE
    parameters = AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.HISTOGRAM,
        weights_quantization_params=_weights(scheme.weights),
        overflow_fix=_overflow_fix(plan.cpu_features),
    )
    ours = bounded_statistics(plan.range_method, scheme.activations.symmetric)
    with ours, their_failures():
        result = nncf.quantize(
            model,
            nncf.Dataset(_Pass(samples, advance)),
            preset=performance if scheme.activations.symmetric else mixed,
            subset_size=plan.calibration_samples,
            ignored_scope=nncf.IgnoredScope(names=list(kept)) if kept else None,
            advanced_parameters=parameters,
        )
    _require_numbers(result)
    result.set_rt_info(json.dumps(sorted(kept)), KEPT_INFO)
    return result


def _overflow_fix(features: Collection[str]) -> OverflowFix:
    """Whether weights give up a bit so that sums of products fit into 16.

    Kernels for AVX2 and AVX-512 alone add two products of 8 bits in 16 and saturate; VNNI and AMX
    add in 32. Of a CPU whose features are not known, NNCF's own choice is taken.
    """
    if not features:
        return OverflowFix.FIRST_LAYER
    return OverflowFix.DISABLE if _SUMS_IN_32_BITS & set(features) else OverflowFix.ENABLE


class _Pass:
    """The calibration samples, as often as NNCF goes through them."""

    def __init__(
        self, samples: Callable[[], Iterator[Sample]], advance: Callable[[int], None]
    ) -> None:
        self._samples = samples
        self._advance = advance

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._samples():
            # Before, for NNCF does not come back after the last one.
            self._advance(1)
            yield sample


def _weights(scheme: TensorScheme) -> Any:
    """None leaves it to NNCF: one scale per channel where there is a kernel for that."""
    if scheme.symmetric and scheme.granularity == "per-channel":
        return None
    return QuantizationParameters(
        mode=QuantizationMode.SYMMETRIC if scheme.symmetric else QuantizationMode.ASYMMETRIC,
        per_channel=None if scheme.granularity == "per-channel" else False,
    )


def _require_numbers(model: Any) -> None:
    """Ranges of single channels are NNCF's, in which NaN becomes the largest number there is."""
    for operator in model.get_ops():
        if operator.get_type_name() == "FakeQuantize":
            ends = [operator.input_value(port).get_node().data for port in (1, 2)]
            if not all((np.abs(end) < LARGEST).all() for end in ends):
                raise not_a_number()


def kept_names(model: Any, source: onnx.ModelProto, plan: ConversionPlan) -> tuple[str, ...]:
    """What OpenVINO calls the operators that the recipe keeps in float.

    The recipe speaks of the ONNX model. OpenVINO makes one operator of several, or several of one:
    "conv" becomes "conv/WithoutBiases" and "conv", and what ends in an output has its name.
    """
    operators = [(node.name, node.op_type) for node in source.graph.node]
    chosen = overridden(operators, plan.keep_float, plan.overrides)
    _require_supported(set(chosen.values()))
    kept = [node for node in source.graph.node if chosen.get(node.name) == "float32"]
    names, every = {node.name for node in kept}, {name for name, _ in operators}
    results = {name for node in kept for name in node.output}
    found = [
        operator.get_friendly_name()
        for operator in model.get_ordered_ops()
        if operator.get_type_name() not in ("Constant", "Parameter", "Result")
        and (_origin(operator.get_friendly_name(), every) in names or _makes(operator) & results)
    ]
    if kept and not found:
        raise ModelError(
            f"OpenVINO folds {', '.join(sorted(names))} into other operators, so that nothing of "
            "it can be kept in float",
            hint="keep the operators around it",
        )
    return tuple(dict.fromkeys(found))


def _origin(name: str, names: Collection[str]) -> str:
    """The ONNX operator that one of this name is made of; empty where the name does not say."""
    while name and name not in names:
        name = name.rpartition("/")[0]
    return name


def _makes(operator: Any) -> set[str]:
    return {name for output in operator.outputs() for name in output.get_names()}


def _require_supported(precisions: Collection[str]) -> None:
    for precision in precisions:
        if precision not in ("w8a8", "float32"):
            raise ConversionError(
                f"found an override to {precision}, expected w8a8 or float32, which is what INT8 "
                "models of OpenVINO have"
            )


def settle_names(model: Any, source: onnx.ModelProto) -> None:
    """Give operators that OpenVINO numbered as it went names that depend on the model alone."""
    given = {node.name for node in source.graph.node}
    given |= {name for node in source.graph.node for name in (*node.input, *node.output)}
    for index, operator in enumerate(model.get_ordered_ops()):
        name = operator.get_friendly_name()
        if name not in given and re.fullmatch(r"[A-Za-z]+_\d+", name):
            operator.set_friendly_name(f"{operator.get_type_name()}/{index}")
