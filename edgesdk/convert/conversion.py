"""Carry out a conversion plan: the INT8 model, its golden vectors and a plain account of both.

The result is a directory with `artifact.json`, complete or not there at all. The plan's digest is
the cache key: a directory that already holds it, with every file's hash as recorded, is left alone.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from device_agent import runtimes
from device_agent.manifest import Port
from device_agent.runtimes.tensors import quantize
from edgesdk.convert.bringing import bring
from edgesdk.convert.input_statistics import WatchedSamples
from edgesdk.convert.placement import place
from edgesdk.convert.toolchains import (
    ENCODINGS_FILE,
    Backend,
    Compiled,
    Description,
    Toolchain,
    toolchains,
)
from edgesdk.convert.uses import with_readers
from edgesdk.data.samples import Sample, Samples
from edgesdk.errors import ArtifactError, ConversionError, IncompatibleTarget, MalformedFile
from edgesdk.files import new_directory, sha256_file
from edgesdk.models.reading import READERS, read_graph
from edgesdk.models.types import Model
from edgesdk.progress import Progress
from edgesdk.serial import read_json, write_json
from edgesdk.targets.types import Target
from edgesdk.values.artifact import (
    Artifact,
    ArtifactFile,
    Compilation,
    GoldenVectors,
    Role,
    TensorSize,
)
from edgesdk.values.forecast import CPU, Placement
from edgesdk.values.plan import ConversionPlan
from edgesdk.values.recipe import MOST_GOLDEN_VECTORS

SCHEMA: Final = 1
ARTIFACT_FILE = "artifact.json"
GOLDEN_FILE = "golden.npz"
FLOAT_FILE = "float.reference"
"""Not named as its format is: who looks for the model in the folder finds one, not two."""
_MODEL_STEM = "model"
_REDUCED = frozenset({"int8", "int16", "float16"})
COMPARED_SAMPLES = MOST_GOLDEN_VECTORS
"""Samples over which INT8 and float activations are compared; golden vectors are the first ones."""
_LISTED = 10
PROBES = 4
"""Samples on which a model that is brought to another format is run before and after."""
GOLDEN_SHARE = 0.1
"""Golden vectors travel in every package: at most this share of the model's bytes, at least one."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """An artifact and whether it had been there already."""

    artifact: Artifact
    directory: Path
    cached: bool


def convert(
    model: Model,
    plan: ConversionPlan,
    target: Target,
    calibration: Samples,
    directory: Path,
    progress: Progress,
) -> Conversion:
    """Convert `model` as planned into `directory`.

    Args:
        target: the one that was planned for; its rules place the operators.

    Raises:
        ConversionError: the toolchain failed, or nothing became INT8.
        IncompatibleTarget: operators stay off an accelerator that the whole model must run on.
        ArtifactError: `directory` holds something that is not of an artifact, or cannot be written.
    """
    existing = _existing(directory, plan.digest)
    if existing is not None:
        return Conversion(existing, directory, cached=True)
    _require_replaceable(directory)
    toolchain = _toolchain(plan.backend)
    try:
        with new_directory(directory) as work:
            artifact = _build(model, plan, target, calibration, toolchain, work, progress)
            write_json(work / ARTIFACT_FILE, artifact)
    except runtimes.RuntimeFailed as error:
        raise ConversionError(f"the converted model does not run here: {error}") from error
    except OSError as error:
        place = error.filename or directory
        raise ArtifactError(f"{place} cannot be written or read: {error.strerror}") from error
    return Conversion(artifact, directory, cached=False)


def read_artifact(directory: Path) -> Artifact:
    """Read an artifact and check the hash of each of its files.

    Raises:
        MalformedFile: `artifact.json` does not hold.
        ArtifactError: it is missing, or a file is missing or has changed since the conversion.
    """
    if not (directory / ARTIFACT_FILE).is_file():
        raise ArtifactError(
            f"found no {ARTIFACT_FILE} in {directory}, expected a directory that convert wrote",
            hint="name that directory, or make one: edgesdk convert",
        )
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
    known = (ARTIFACT_FILE, GOLDEN_FILE, ENCODINGS_FILE)
    return name in known or re.match(rf"({_MODEL_STEM}|float)[._]", name) is not None


def _toolchain(name: str) -> Toolchain:
    return next(toolchain for toolchain in toolchains() if toolchain.name == name)


def _build(
    model: Model,
    plan: ConversionPlan,
    target: Target,
    calibration: Samples,
    toolchain: Toolchain,
    work: Path,
    progress: Progress,
) -> Artifact:
    backend = toolchain.load_backend()
    float_path = work / FLOAT_FILE
    quantized_path = work / f"{_MODEL_STEM}.{toolchain.suffix or toolchain.reads}"
    compared = calibration.head(COMPARED_SAMPLES)
    watched = WatchedSamples(calibration.stream)
    with tempfile.TemporaryDirectory() as scratch:
        brought = bring(model, toolchain.reads, compared[:PROBES], Path(scratch), progress)
        backend.prepare(brought.path, plan, float_path)
    with progress.task("calibrating and converting", calibration.count) as advance:
        backend.convert(float_path, plan, watched.stream, quantized_path, advance)
    compiled = _compiled(toolchain, quantized_path, plan, work, progress)
    forecast = _forecast(quantized_path, target)
    _require_placed(forecast, compiled.account, target)
    # After the compiler, whose account of the operators a backend may have to read.
    description = backend.describe(quantized_path)
    _require_reduced(description, plan, model)
    with progress.task("comparing with the float model", 1) as advance:
        errors = backend.compare(float_path, quantized_path, compared)
        advance(1)
    golden_path = work / GOLDEN_FILE
    golden = _write_golden(backend, description, compared, quantized_path, golden_path, plan)
    return Artifact(
        schema=SCHEMA,
        plan=plan,
        plan_digest=plan.digest,
        files=_files(work, quantized_path, compiled),
        inputs=description.inputs,
        outputs=description.outputs,
        operators=description.operators,
        tensor_errors=errors,
        tensor_sizes=_tensor_sizes(description, quantized_path),
        working_set_bytes=description.working_set_bytes,
        golden=golden,
        input_statistics=watched.statistics(
            [spec.name for spec in plan.inputs], description.inputs
        ),
        compilation=compiled.account,
        lowering=brought.account,
        forecast=forecast,
        kernel_path=description.kernel_path,
    )


def _compiled(
    toolchain: Toolchain, quantized: Path, plan: ConversionPlan, work: Path, progress: Progress
) -> Compiled:
    compiler = toolchain.load_compiler()
    if compiler is None:
        return Compiled(Compilation("not needed"))
    with progress.task("asking the vendor's compiler", 1) as advance:
        compiled = compiler.compile(quantized, plan, work)
        advance(1)
    return compiled


def _files(work: Path, quantized: Path, compiled: Compiled) -> tuple[ArtifactFile, ...]:
    roles: dict[Role, Path | None] = {
        "model": compiled.model or quantized,
        "companion": compiled.companion or _beside(quantized, ".bin"),
        "float": work / FLOAT_FILE,
        "golden": work / GOLDEN_FILE,
        "quantized": quantized if compiled.model else None,
        "encodings": _beside(work / ENCODINGS_FILE, ""),
    }
    return tuple(_file(role, path) for role, path in roles.items() if path is not None)


def _beside(path: Path, suffix: str) -> Path | None:
    """That file, where there is one; a model of two files has its weights in the second."""
    other = path.with_suffix(suffix) if suffix else path
    return other if other.is_file() else None


def _tensor_sizes(description: Description, quantized: Path) -> tuple[TensorSize, ...]:
    """With who reads the constants: a backend whose format no graph reader knows says it itself."""
    if quantized.suffix not in READERS:
        return description.tensor_sizes
    return with_readers(description.tensor_sizes, read_graph(quantized))


def _forecast(quantized: Path, target: Target) -> tuple[Placement, ...]:
    readable = quantized.suffix in READERS
    return place(read_graph(quantized), target) if target.operators and readable else ()


def _require_placed(forecast: Sequence[Placement], account: Compilation, target: Target) -> None:
    """Where nothing may fall back, an operator that the rules leave off is the end.

    A compiler that made what ships has the last word. One that only looked at the model may be of
    another release than the device's.
    """
    strict = any(rules.no_fallback for rules in target.operators.values())
    left = [placement for placement in forecast if placement.unit == CPU]
    if strict and left and account.status != "compiled":
        raise IncompatibleTarget(
            f"{target.id} runs no model that is not all on its accelerator, and by the rules of "
            f"its descriptor {len(left)} of {len(forecast)} operators are off it",
            details=[f"{each.type} {each.name}: {each.reason}" for each in left[:_LISTED]],
            hint="edgesdk check shows all of them, with what to do",
        )


def _require_reduced(description: Description, plan: ConversionPlan, model: Model) -> None:
    """A conversion that leaves everything as it was is none."""
    stored_in_half = any(size.dtype == "float16" for size in description.tensor_sizes)
    computed = {operator.precision for operator in description.operators}
    if computed & _REDUCED or (plan.precision == "fp16" and stored_in_half):
        return
    raise ConversionError(
        f"none of the {len(description.operators)} operators of {model.path.name} became "
        f"{plan.precision}",
        details=[
            f"{operator.type} {operator.name}: {operator.reason}"
            for operator in description.operators[:_LISTED]
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
    weights = _beside(model, ".bin")
    model_bytes = model.stat().st_size + (weights.stat().st_size if weights else 0)
    most = min(len(samples), plan.golden_vectors)
    count = _golden_count(description, len(kernels), most, model_bytes)
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


def _golden_count(description: Description, kernels: int, most: int, model_bytes: int) -> int:
    def size(ports: Sequence[Port]) -> int:
        return sum(int(np.prod(port.shape)) * np.dtype(port.dtype).itemsize for port in ports)

    vector_bytes = size(description.inputs) + kernels * size(description.outputs)
    return max(1, min(most, int(GOLDEN_SHARE * model_bytes / vector_bytes)))
