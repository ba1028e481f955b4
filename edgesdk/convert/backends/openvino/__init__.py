"""ONNX to OpenVINO: INT8 with NNCF's post-training quantization, or weights stored in float16.

The converted model is two files, `model.xml` and `model.bin` beside it. What is reported as INT8 is
what OpenVINO executes in INT8 on this workstation's CPU; a GPU or NPU decides for itself.
"""

from __future__ import annotations

import edgesdk.convert.backends.openvino.telemetry  # noqa: F401 - before openvino and nncf

# isort: split
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx

from device_agent import runtimes
from edgesdk.convert.backends import onnxruntime as onnx_backend
from edgesdk.convert.backends.openvino.comparing import compared
from edgesdk.convert.backends.openvino.describing import described, kept_within_int8
from edgesdk.convert.backends.openvino.quantizing import quantized, settle_names
from edgesdk.convert.backends.openvino.toolkit import read, save, their_failures
from edgesdk.convert.toolchains import Array, Description, Sample
from edgesdk.errors import ConversionError
from edgesdk.values.artifact import TensorError
from edgesdk.values.plan import ConversionPlan

prepare = onnx_backend.prepare
"""The float reference is an ONNX file, as every toolchain that reads ONNX has it."""


def convert(
    source: Path,
    plan: ConversionPlan,
    samples: Callable[[], Iterator[Sample]],
    output: Path,
    advance: Callable[[int], None],
) -> None:
    """Write `output` and its weights beside it; see `edgesdk.convert.toolchains.Backend`.

    w8a8: NNCF with fast bias correction, ranges by the plan's method over all samples.

    fp16: weights are stored in float16, half the bytes. CPUs widen them and compute in float32,
    GPUs and NPUs compute in float16. No sample is looked at.
    """
    proto = onnx.load(str(source))
    model = read(source)
    settle_names(model, proto)
    if plan.precision == "w8a8":
        model = quantized(model, proto, plan, samples, advance)
    else:
        _require_fp16(plan)
    _name_ports(model, plan)
    settle_names(model, proto)  # Again, for what NNCF has added.
    save(model, output, compress_to_fp16=plan.precision == "fp16")
    _require_edge(output, plan)
    _require_kept(output, plan)


def _require_fp16(plan: ConversionPlan) -> None:
    if plan.precision != "fp16":
        raise ConversionError(f"found the precision {plan.precision}, expected w8a8 or fp16")
    if plan.keep_float or plan.overrides:
        raise ConversionError(
            "found operators with another precision in an fp16 conversion, where OpenVINO stores "
            "all weights alike",
            hint="leave keep_float and overrides out, or convert to w8a8",
        )


def _name_ports(model: Any, plan: ConversionPlan) -> None:
    """OpenVINO lets a port have several names, none the first; the ONNX model's one stays."""
    ports = (*model.inputs, *model.outputs)
    for port, spec in zip(ports, (*plan.inputs, *plan.outputs), strict=True):
        port.get_tensor().set_names({spec.name})


def _require_edge(path: Path, plan: ConversionPlan) -> None:
    with their_failures():
        model = runtimes.load("openvino", str(path), threads=1)
    found = [(port.name, port.shape, port.dtype) for port in (*model.inputs, *model.outputs)]
    planned = [(spec.name, spec.shape, spec.dtype) for spec in (*plan.inputs, *plan.outputs)]
    if found != planned:
        raise ConversionError(f"the converted model takes and gives {found}, expected {planned}")


def _require_kept(path: Path, plan: ConversionPlan) -> None:
    """OpenVINO makes one kernel of an operator and what follows it."""
    found = kept_within_int8(path) if plan.keep_float or plan.overrides else ()
    if found:
        raise ConversionError(
            f"{found[0][0]} cannot be kept in float: OpenVINO computes it in one kernel with "
            f"{found[0][1]}, which is INT8",
            hint="keep both in float, or neither",
            details=[f"{name} is part of {kernel}" for name, kernel in found[1:]],
        )


def describe(path: Path) -> Description:
    """Ports, real precisions and sizes of a converted model; its ports have no scale."""
    model = runtimes.load("openvino", str(path), threads=1)
    return Description(model.inputs, model.outputs, *described(path))


def kernels() -> tuple[str, ...]:
    """OpenVINO's CPU plug-in has one set of kernels a machine."""
    return ("cpu",)


def run(path: Path, kernel: str, inputs: Iterable[Sequence[Array]]) -> Iterator[Sequence[Array]]:
    """Outputs on this workstation, one thread, through the device's own adapter."""
    model = runtimes.load("openvino", str(path), threads=1)
    for arrays in inputs:
        yield model.run(arrays)


def compare(
    float_path: Path, int8_path: Path, samples: Sequence[Sample]
) -> tuple[TensorError, ...]:
    """Every quantized activation against the float model's of the same name, worst first."""
    return compared(float_path, int8_path, samples)
