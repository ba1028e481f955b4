"""ONNX to what TensorRT on a Jetson builds an engine from: explicit, symmetric QDQ, or float16.

The engine itself is built on the device and never leaves it: it fits one release of TensorRT and
one GPU only. What is made here is a file that its parser takes: `choosing` and `onnx_qdq.TENSORRT`
say where pairs stand, `biases` what is corrected after, `shape` holds the result to the rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from edgesdk.convert.backends import onnxruntime as shared
from edgesdk.convert.backends.onnx_calibration import calibrated_ranges
from edgesdk.convert.backends.onnx_qdq import TENSORRT, quantize
from edgesdk.convert.backends.onnx_rewrites import opset, rewritten
from edgesdk.convert.backends.onnx_sharing import store_equal_floats_once
from edgesdk.convert.backends.onnx_toolkit import preprocessed
from edgesdk.convert.backends.tensorrt import biases
from edgesdk.convert.backends.tensorrt.choosing import (
    free_fused_branches,
    left_in_float,
    read_in_float,
)
from edgesdk.convert.backends.tensorrt.comparing import compared, outputs
from edgesdk.convert.backends.tensorrt.describing import operators
from edgesdk.convert.backends.tensorrt.half import in_half
from edgesdk.convert.backends.tensorrt.shape import require_shape
from edgesdk.convert.backends.tensorrt.weights import store_in_int8
from edgesdk.convert.backends.tensorrt.wiring import drop_unread
from edgesdk.convert.keeping import KEPT, overridden
from edgesdk.convert.toolchains import Array, Description, Sample
from edgesdk.errors import ConversionError
from edgesdk.values.artifact import TensorError, TensorSize
from edgesdk.values.plan import ConversionPlan

KERNEL = "gpu"
"""What the device's adapter calls TensorRT's kernels."""

_OPSETS = ((10, 20), (8, 17))
"""Major version of TensorRT and the newest operator set that its parser reads, newest first.

Source: docs/operators.md of onnx-tensorrt, releases 10.1-GA and 8.5-GA.
"""
_TYPED_BY_THE_FILE = 10
"""The first major version whose engines are built with the types of the file, and that takes
weights as INT8 constants."""


def prepare(source: Path, plan: ConversionPlan, output: Path) -> None:
    """Write the float model as one file that the planned TensorRT parses.

    Raises:
        ConversionError: it needs a newer operator set than that TensorRT has.
    """
    shared.prepare(source, plan, output)
    model = onnx.load(str(output))
    newest = next(limit for major, limit in _OPSETS if _major(plan) >= major or major == 8)
    if opset(model) > newest:
        onnx.save(_lowered(model, newest, plan), str(output))


def convert(
    source: Path,
    plan: ConversionPlan,
    samples: Callable[[], Iterator[Sample]],
    output: Path,
    advance: Callable[[int], None],
) -> None:
    """Quantize, or go into half precision; see `edgesdk.convert.toolchains.Backend`.

    Weights per output channel, activations per tensor, both symmetric; biases stay float, corrected
    for what quantization adds to each channel's mean.

    Raises:
        ConversionError: the target's TensorRT does not have what the plan asks for, or the result
            is not as TensorRT takes it.
    """
    model = rewritten(preprocessed(source))
    precisions = _precisions(model, plan)
    halves = {name for name, precision in precisions.items() if precision == "fp16"}
    kept = [name for name, precision in precisions.items() if precision != "w8a8"]
    _mark(model, [name for name in kept if precisions[name] == "float32"])
    if "w8a8" in precisions.values():
        model = _quantized(model, plan, samples, advance, kept)
    if halves:
        model = in_half(model, halves)
    drop_unread(model)
    store_equal_floats_once(model)
    require_shape(model)
    onnx.save(model, str(output))


def _precisions(model: onnx.ModelProto, plan: ConversionPlan) -> dict[str, str]:
    """Operator name to "w8a8", "fp16" or "float32", all that TensorRT has."""
    named = [(node.name, node.op_type) for node in model.graph.node]
    chosen = overridden(named, plan.keep_float, plan.overrides)
    precisions = {name: chosen.get(name, plan.precision) for name, _ in named}
    asked = {plan.precision, *chosen.values()}
    if "w8a16" in asked:
        raise ConversionError(
            "found w8a16, expected w8a8, fp16 or float32: TensorRT has no 16-bit integers"
        )
    if "fp16" in asked and _major(plan) < _TYPED_BY_THE_FILE:
        raise ConversionError(
            f"found fp16, expected w8a8 or float32: {_tensorrt(plan)} does not take types from the "
            "file, which needs TensorRT 10 (JetPack 6.1)"
        )
    if not (plan.scheme.activations.symmetric and plan.scheme.weights.symmetric):
        raise ConversionError(
            "found an asymmetric scheme, expected symmetric weights and activations: TensorRT has "
            "no zero points"
        )
    return precisions


def _quantized(
    model: onnx.ModelProto,
    plan: ConversionPlan,
    samples: Callable[[], Iterator[Sample]],
    advance: Callable[[int], None],
    kept: Sequence[str],
) -> onnx.ModelProto:
    biases.fold_beta(model)
    left = left_in_float(model, kept)
    ranges = calibrated_ranges(model, plan, samples, advance, TENSORRT, left)
    quantized = quantize(model, ranges, TENSORRT, left)
    read_in_float(quantized, left)
    free_fused_branches(quantized)
    biases.correct_biases(quantized, model, itertools.islice(samples(), biases.SAMPLES))
    if _major(plan) >= _TYPED_BY_THE_FILE:
        store_in_int8(quantized)
    return quantized


def _mark(model: onnx.ModelProto, names: Sequence[str]) -> None:
    for node in model.graph.node:
        if node.name in names:
            node.doc_string = KEPT


def _lowered(model: onnx.ModelProto, newest: int, plan: ConversionPlan) -> onnx.ModelProto:
    try:
        return onnx.version_converter.convert_version(model, newest)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        raise ConversionError(
            f"the model is written in opset {opset(model)} and does not go into opset {newest}, "
            f"the newest that {_tensorrt(plan)} reads: {error}",
            hint=f"export it with opset {newest} or lower",
        ) from error


def _major(plan: ConversionPlan) -> int:
    """Of the target's TensorRT; the oldest we support where the descriptor does not say."""
    tensorrt = plan.accelerator.tensorrt
    return int(tensorrt.version.value.split(".")[0]) if tensorrt else 8


def _tensorrt(plan: ConversionPlan) -> str:
    tensorrt = plan.accelerator.tensorrt
    return f"TensorRT {tensorrt.version.value}" if tensorrt else "the target's TensorRT"


def describe(path: Path) -> Description:
    """Ports, precisions as TensorRT's rules give them, and sizes."""
    description = shared.describe(path)
    return replace(
        description,
        operators=operators(onnx.load(str(path))),
        tensor_sizes=tuple(_signed(size) for size in description.tensor_sizes),
    )


def _signed(size: TensorSize) -> TensorSize:
    is_stored = size.kind == "activation" and size.dtype == "uint8"
    return replace(size, dtype="int8") if is_stored else size


def kernels() -> tuple[str, ...]:
    """TensorRT's, in whose place the CPU computes what the Q/DQ operators say; see `comparing`."""
    return (KERNEL,)


def run(path: Path, kernel: str, inputs: Iterable[Sequence[Array]]) -> Iterator[Sequence[Array]]:
    """What the file's operators say, pair by pair; TensorRT on the device may differ by a step."""
    return outputs(path, inputs)


def compare(
    float_path: Path, int8_path: Path, samples: Sequence[Sample]
) -> tuple[TensorError, ...]:
    """Every activation both models have, outputs included."""
    return compared(float_path, int8_path, samples)
