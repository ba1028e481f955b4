"""A conversion plan to start from: int8 for LiteRT, every choice the usual one."""

from __future__ import annotations

from edgesdk.models.types import TensorSpec
from edgesdk.targets.types import Accelerator, Runtime, Scheme, TensorScheme
from edgesdk.values.plan import ConversionPlan

INT8 = Scheme(TensorScheme(8, True, "per-channel"), TensorScheme(8, False, "per-tensor"))

USUAL_PLAN = ConversionPlan(
    model_name="digits",
    model_format="tflite",
    model_sha256="",
    inputs=(TensorSpec("x", (1, 4), "float32"),),
    outputs=(TensorSpec("y", (1, 2), "float32"),),
    target_id="test",
    target_architecture="x86_64",
    working_format="tflite",
    bridge="",
    backend="litert",
    quantizer=None,
    runtime=Runtime("litert", "2.0"),
    accelerator=Accelerator(),
    cpu_features=(),
    precision="w8a8",
    scheme=INT8,
    io="float32",
    keep_float=(),
    overrides=(),
    range_method="minmax",
    encodings=False,
    rules_sha256="",
    calibration_sha256="",
    calibration_samples=0,
    toolchain={},
)
