"""A small artifact on disk, made without a toolchain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from device_agent.manifest import Band, InputStatistics, Port
from edgesdk.convert.conversion import ARTIFACT_FILE
from edgesdk.files import sha256_file
from edgesdk.serial import write_json
from edgesdk.targets.types import Runtime
from edgesdk.values.artifact import (
    Artifact,
    ArtifactFile,
    Compilation,
    GoldenVectors,
    OperatorPrecision,
    TensorSize,
)
from tests.plans import USUAL_PLAN

CONTENTS = {
    "model": np.random.default_rng(0).bytes(3000),  # does not compress
    "float": bytes(9000),  # compresses well
    "golden": np.random.default_rng(1).bytes(70_000) + bytes(70_000),  # two chunks
}


def make_artifact(directory: Path, **contents: bytes) -> Artifact:
    """Write the files, small ones where given, and the account of them."""
    directory.mkdir()
    files = []
    for role in ("model", "float", "golden"):
        path = directory / f"{role}.bin"
        path.write_bytes(contents.get(role, CONTENTS[role]))
        size_bytes = path.stat().st_size
        files.append(ArtifactFile(role, path.name, size_bytes, sha256_file(path)))
    artifact = Artifact(
        schema=1,
        plan=PLAN,
        plan_digest=PLAN.digest,
        files=tuple(files),
        inputs=(Port("x", (1, 4), "int8", 0.5, -3),),
        outputs=(Port("y", (1, 2), "float32"),),
        operators=(OperatorPrecision(0, "Gemm", "y", "int8"),),
        tensor_errors=(),
        tensor_sizes=(
            TensorSize("weights", "constant", "int8", (2, 1000), 2000),
            TensorSize("hidden", "activation", "uint8", (1, 1500), 1500, at_peak=True),
            TensorSize("bias", "constant", "int32", (2,), 8),
        ),
        working_set_bytes=3508,
        golden=GoldenVectors(1, ("cpu",)),
        input_statistics=(
            InputStatistics(
                "x", 5, Band(-2.0, 2.0), Band(-1.0, 1.0), Band(0.0, 2.0), Band(0.0, 3.0)
            ),
        ),
        compilation=Compilation("not needed"),
    )
    write_json(directory / ARTIFACT_FILE, artifact)
    return artifact


PLAN = replace(
    USUAL_PLAN,
    model_format="onnx",
    model_sha256="a" * 64,
    target_id="raspberry-pi-5",
    target_architecture="aarch64",
    working_format="onnx",
    backend="onnxruntime",
    runtime=Runtime("onnxruntime", "1.18"),
    calibration_sha256="c" * 64,
    calibration_samples=5,
    toolchain={"onnx": "1.23.2"},
)
