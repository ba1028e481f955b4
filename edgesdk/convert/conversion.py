"""Carry out a conversion plan: the INT8 model, its golden vectors and a plain account of both.

The result is a directory with `artifact.json`, complete or not there at all. The plan's digest is
the cache key: a directory that already holds it, with every file's hash as recorded, is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from device_agent.manifest import Port
from device_agent.runtimes.tensors import quantize
from edgesdk.convert.toolchains import Backend, Description, Toolchain, toolchains
from edgesdk.data.samples import Sample, Samples
from edgesdk.errors import ArtifactError, ConversionError, MalformedFile
from edgesdk.files import new_directory, sha256_file
from edgesdk.models.types import Model
from edgesdk.progress import Progress
from edgesdk.serial import read_json, write_json
from edgesdk.values.artifact import Artifact, ArtifactFile, GoldenVectors, Role
from edgesdk.values.plan import ConversionPlan

SCHEMA: Final = 1
ARTIFACT_FILE = "artifact.json"
GOLDEN_FILE = "golden.npz"
_STEMS = ("float", "model")
COMPARED_SAMPLES = 8
"""Samples over which INT8 and float activations are compared, and the most golden vectors."""
GOLDEN_SHARE = 0.1
"""Golden vectors travel in every package: at most this share of the model's bytes, at least one."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """An artifact and whether it had been there already."""

    artifact: Artifact
    directory: Path
    cached: bool


def convert(
    model: Model, plan: ConversionPlan, calibration: Samples, directory: Path, progress: Progress
) -> Conversion:
    """Convert `model` as planned into `directory`.

    Raises:
        ConversionError: the toolchain failed, or nothing became INT8.
        ArtifactError: `directory` holds something that is not of an artifact, or cannot be written.
    """
    existing = _existing(directory, plan.digest)
    if existing is not None:
        return Conversion(existing, directory, cached=True)
    _require_replaceable(directory)
    backend = _toolchain(plan.backend).load_backend()
    try:
        with new_directory(directory) as work:
            artifact = _build(model, plan, calibration, backend, work, progress)
            write_json(work / ARTIFACT_FILE, artifact)
    except OSError as error:
        place = error.filename or directory
        raise ArtifactError(f"{place} cannot be written or read: {error.strerror}") from error
    return Conversion(artifact, directory, cached=False)


def read_artifact(directory: Path) -> Artifact:
    """Read an artifact and check the hash of each of its files.

    Raises:
        MalformedFile: `artifact.json` is missing or does not hold.
        ArtifactError: a file is missing or has changed since the conversion.
    """
    artifact = read_json(Artifact, directory / ARTIFACT_FILE)
    for file in artifact.files:
        path = directory / file.path
        if not path.is_file() or sha256_file(path) != file.sha256:
            raise ArtifactError(
                f"{path} is missing or has changed since the conversion",
                hint="run edgesdk convert again",
            )
    return artifact


def _existing(directory: Path, plan_digest: str) -> Artifact | None:
    if not (directory / ARTIFACT_FILE).is_file():
        return None
    try:
        artifact = read_artifact(directory)
    except (MalformedFile, ArtifactError):
        return None
    return artifact if artifact.plan_digest == plan_digest else None


def _require_replaceable(directory: Path) -> None:
    if directory.is_file():
        raise ArtifactError(f"{directory} is a file, expected a directory to write the artifact to")
    found = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if found and ARTIFACT_FILE not in found:
        raise ArtifactError(
            f"{directory} is not empty and holds no artifact; nothing was overwritten",
            hint="choose a new directory",
        )
    foreign = sorted(name for name in found if not _is_of_an_artifact(name))
    if foreign:
        raise ArtifactError(
            f"{directory} holds more than an artifact ({', '.join(foreign[:5])}); "
            "nothing was overwritten",
            hint="choose a new directory, or move these away",
        )


def _is_of_an_artifact(name: str) -> bool:
    return name in (ARTIFACT_FILE, GOLDEN_FILE) or Path(name).stem in _STEMS


def _toolchain(name: str) -> Toolchain:
    return next(toolchain for toolchain in toolchains() if toolchain.name == name)


def _build(
    model: Model,
    plan: ConversionPlan,
    calibration: Samples,
    backend: Backend,
    work: Path,
    progress: Progress,
) -> Artifact:
    suffix = model.path.suffix
    float_path, int8_path = (work / f"{stem}{suffix}" for stem in _STEMS)
    backend.prepare(model.path, plan, float_path)
    with progress.task("calibrating and converting", calibration.count) as advance:
        backend.convert(float_path, plan, calibration.stream, int8_path, advance)
    description = backend.describe(int8_path)
    _require_int8(description, model)
    compared = calibration.head(COMPARED_SAMPLES)
    with progress.task("comparing with the float model", 1) as advance:
        errors = backend.compare(float_path, int8_path, compared)
        advance(1)
    golden_path = work / GOLDEN_FILE
    golden = _write_golden(backend, description, compared, int8_path, golden_path, plan)
    return Artifact(
        schema=SCHEMA,
        plan=plan,
        plan_digest=plan.digest,
        files=(
            _file("model", int8_path),
            _file("float", float_path),
            _file("golden", golden_path),
        ),
        inputs=description.inputs,
        outputs=description.outputs,
        operators=description.operators,
        tensor_errors=errors,
        tensor_sizes=description.tensor_sizes,
        working_set_bytes=description.working_set_bytes,
        golden=golden,
    )


def _require_int8(description: Description, model: Model) -> None:
    if not any(operator.precision == "int8" for operator in description.operators):
        raise ConversionError(
            f"none of the {len(description.operators)} operators of {model.path.name} became INT8",
            details=[
                f"{operator.type} {operator.name}: {operator.reason}"
                for operator in description.operators[:10]
            ],
        )


def _file(role: Role, path: Path) -> ArtifactFile:
    return ArtifactFile(role, path.name, path.stat().st_size, sha256_file(path))


def _write_golden(
    backend: Backend,
    description: Description,
    samples: Sequence[Sample],
    model: Path,
    output: Path,
    plan: ConversionPlan,
) -> GoldenVectors:
    kernels = backend.kernels()
    count = _golden_count(description, len(kernels), len(samples), model.stat().st_size)
    inputs = [
        [
            quantize(sample[spec.name], port)
            for spec, port in zip(plan.inputs, description.inputs, strict=True)
        ]
        for sample in samples[:count]
    ]
    arrays = {
        f"input/{port.name}": np.stack([row[index] for row in inputs])
        for index, port in enumerate(description.inputs)
    }
    for kernel in kernels:
        outputs = list(backend.run(model, kernel, inputs))
        for index, port in enumerate(description.outputs):
            arrays[f"expected/{kernel}/{port.name}"] = np.stack([row[index] for row in outputs])
    with output.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    return GoldenVectors(count, kernels)


def _golden_count(description: Description, kernels: int, available: int, model_bytes: int) -> int:
    def size(ports: Sequence[Port]) -> int:
        return sum(int(np.prod(port.shape)) * np.dtype(port.dtype).itemsize for port in ports)

    vector_bytes = size(description.inputs) + kernels * size(description.outputs)
    return max(1, min(available, COMPARED_SAMPLES, int(GOLDEN_SHARE * model_bytes / vector_bytes)))
