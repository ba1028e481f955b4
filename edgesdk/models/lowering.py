"""Bring a model to the format that a target's toolchain reads, with its edge as it was.

Names, order, shapes, layout and dtypes of inputs and outputs stay the source model's, since data
were prepared for them. The source model is run on the probes in its own toolkit; the caller runs
the lowered model on them and compares (`agreement`).
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from edgesdk.environments import environment
from edgesdk.errors import ConversionError, ModelError, ToolchainMissing
from edgesdk.models.bridges import Bridge, LoweredFormat, find_bridge
from edgesdk.models.describing import factory_sha256
from edgesdk.models.jobs import Answer, Job, Task, run_job
from edgesdk.models.opening import open_model
from edgesdk.models.types import Model, TensorSpec
from edgesdk.progress import Progress

Array = npt.NDArray[Any]

_DEADLINE_S = 3600.0
_RUNNERS = {"onnx": ("run_onnx", "edgesdk[onnx]"), "tflite": ("run_tflite", "edgesdk[litert]")}
"""What runs a source that its converter does not run; the rest run in their converter's process."""
_EDGES = {
    "onnx": ("edgesdk.models.formats.onnx_edge", "edgesdk[onnx]"),
    "tflite": ("edgesdk.models.formats.tflite_edge", "edgesdk[litert]"),
}


@dataclass(frozen=True, slots=True)
class Lowered:
    """A model in the format that a toolchain reads.

    Args:
        path: of the file, in the directory given to `lower`.
        format: of the file.
        tool: what made it.
        versions: of the distributions that determine its bytes.
        outputs: of the source model, for each probe in the model's order of outputs.
    """

    path: Path
    format: LoweredFormat
    tool: str
    versions: Mapping[str, str]
    outputs: tuple[tuple[Array, ...], ...]


class _EdgeWriter(Protocol):
    """What a module in `_EDGES` provides."""

    def name_edges(
        self,
        path: Path,
        inputs: Sequence[tuple[str, TensorSpec]],
        outputs: Sequence[tuple[str, TensorSpec]],
    ) -> None:
        """Give the file's inputs and outputs the source's names, order and shapes."""


def lower(
    model: Model,
    to: LoweredFormat,
    probes: Sequence[Mapping[str, Array]],
    workdir: Path,
    progress: Progress,
) -> Lowered:
    """Write `model` in the format `to` as `workdir`/model.`to`, and run it on the probes as it was.

    Args:
        probes: samples to run the source on; input name to array of the input's shape and dtype.
        workdir: a directory that exists.
        progress: told of the conversion, and of an environment that is made first.

    Raises:
        IncompatibleTarget: nothing brings this format to `to`.
        ToolchainMissing: the toolkit is not installed, or its environment cannot be made.
        ModelError: the model changed since it was opened, or cannot be loaded.
        ConversionError: the toolkit refused the model, crashed, hung, or changed its edge.
    """
    bridge = find_bridge(model.format, to)
    bridge.versions()
    writer = _edge_writer(to)
    job = _job(bridge, progress)
    output = workdir / f"model.{to}"
    with tempfile.TemporaryDirectory(prefix="lowering.", dir=workdir) as folder:
        scratch = Path(folder)
        task = _task(model, bridge, output, scratch, probes)
        with progress.task(f"{model.format} to {to} ({bridge.tool})", 0):
            answer = run_job(job, _prepared(task, model, scratch), scratch)
            _require_same_weights(model, answer)
            if model.format in _RUNNERS and probes:
                _run_source(model, task, scratch)
        _name_edges(writer, output, model, answer)
        _require_same_edge(model, output, bridge)
        outputs = _read_outputs(model, scratch / "outputs.npz", len(probes))
    return Lowered(output, to, bridge.tool, answer.versions, outputs)


def _edge_writer(to: LoweredFormat) -> _EdgeWriter:
    module, requirement = _EDGES[to]
    try:
        return cast(_EdgeWriter, importlib.import_module(module))
    except ModuleNotFoundError as error:
        raise ToolchainMissing(
            f"writing {to} needs {error.name}, which is not installed",
            hint=f'install it with: pip install "{requirement}"',
        ) from error


def _job(bridge: Bridge, progress: Progress) -> Job:
    if bridge.isolated is None:
        return Job(bridge.job, sys.executable, bridge.requirement, _DEADLINE_S)
    python = str(environment(bridge.isolated, progress))
    return Job(bridge.job, python, bridge.requirement, _DEADLINE_S, isolated=True)


def _task(
    model: Model,
    bridge: Bridge,
    output: Path,
    scratch: Path,
    probes: Sequence[Mapping[str, Array]],
) -> Task:
    return Task(
        action=bridge.to,
        source=model.path,
        label=model.factory or model.path.name,
        factory=model.factory,
        input_shapes={spec.name: spec.shape for spec in model.inputs},
        inputs=model.inputs,
        outputs=model.outputs,
        output=output,
        probes=_write_probes(model, probes, scratch / "probes.npz") if probes else None,
        source_outputs=scratch / "outputs.npz",
        distributions=(*bridge.distributions, *bridge.optional),
    )


def _write_probes(model: Model, probes: Sequence[Mapping[str, Array]], path: Path) -> Path:
    stored = {
        f"{sample}.{index}": probe[spec.name]
        for sample, probe in enumerate(probes)
        for index, spec in enumerate(model.inputs)
    }
    np.savez(path, **stored)  # type: ignore[arg-type]
    return path


def _prepared(task: Task, model: Model, scratch: Path) -> Task:
    """The task on a file of the model's shapes, where the converter cannot set them."""
    if model.format != "onnx":
        return task
    writer = importlib.import_module(_EDGES["onnx"][0])
    writer.write_fixed(model.path, task.input_shapes, scratch / "fixed.onnx")
    return replace(task, source=scratch / "fixed.onnx", probes=None)


def _require_same_weights(model: Model, answer: Answer) -> None:
    if model.factory and factory_sha256(model.path, answer.sha256) != model.sha256:
        raise ModelError(
            f"{model.factory} gave other weights than when the model was opened",
            hint="load the trained weights in it, or seed it: torch.manual_seed(0)",
        )


def _run_source(model: Model, task: Task, scratch: Path) -> None:
    name, requirement = _RUNNERS[model.format]
    job = Job(name, sys.executable, requirement, _DEADLINE_S)
    run_job(job, replace(task, action="run", distributions=()), scratch)


def _name_edges(writer: _EdgeWriter, output: Path, model: Model, answer: Answer) -> None:
    writer.name_edges(
        output,
        list(zip((each.name for each in answer.inputs), model.inputs, strict=True)),
        list(zip((each.name for each in answer.outputs), model.outputs, strict=True)),
    )


def _require_same_edge(model: Model, output: Path, bridge: Bridge) -> None:
    try:
        found = open_model(output)
    except ModelError as error:
        raise ConversionError(
            f"{bridge.tool} wrote a file for {model.name} that cannot be used: {error.message}",
            hint=error.hint,
        ) from error
    for role, there, wanted in (
        ("input", found.inputs, model.inputs),
        ("output", found.outputs, model.outputs),
    ):
        for mine, theirs in zip(there, wanted, strict=True):
            if (mine.name, mine.shape, mine.dtype) != (theirs.name, theirs.shape, theirs.dtype):
                raise ConversionError(
                    f"{bridge.tool} changed the {role} {theirs} to {mine}",
                    hint="this model cannot be brought there with its edge as it is; "
                    f"export it to {bridge.to} yourself and give that file",
                )


def _read_outputs(model: Model, path: Path, probes: int) -> tuple[tuple[Array, ...], ...]:
    if probes == 0:
        return ()
    try:
        with np.load(path, allow_pickle=False) as stored:
            outputs = tuple(
                tuple(stored[f"{sample}.{index}"] for index in range(len(model.outputs)))
                for sample in range(probes)
            )
    except (OSError, KeyError, ValueError) as error:
        raise ConversionError(f"the source model gave no outputs for {model.name}") from error
    for probe in outputs:
        for value, spec in zip(probe, model.outputs, strict=True):
            if (value.shape, value.dtype.name) != (spec.shape, spec.dtype):
                raise ConversionError(
                    f"{model.path.name} gave {value.dtype.name}{list(value.shape)}, expected {spec}"
                )
    return outputs
