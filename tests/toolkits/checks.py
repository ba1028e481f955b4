"""Lower a model and compare: what every test of a toolkit does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesdk.models.agreement import Agreement, compare_outputs
from edgesdk.models.bridges import LoweredFormat
from edgesdk.models.lowering import Lowered, lower
from edgesdk.models.opening import open_model
from edgesdk.models.types import Model
from edgesdk.progress import Silent

HERE = Path(__file__).parent
PROBES = 3


@dataclass(frozen=True)
class Crossing:
    """A model before and after."""

    source: Model
    lowered: Lowered
    model: Model
    agreement: Agreement

    def keeps_the_edge(self) -> bool:
        return [str(spec) for spec in (*self.source.inputs, *self.source.outputs)] == [
            str(spec) for spec in (*self.model.inputs, *self.model.outputs)
        ]


def skip_without(module: str, extra: str) -> None:
    """Skip the test module where a toolkit is not installed, which its extra installs."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f'needs {module}: pip install "edgesdk[{extra}]"', allow_module_level=True)


def make(script: str, *arguments: str) -> None:
    """Run one of this folder's programs, which write models."""
    subprocess.run(
        [sys.executable, str(HERE / script), *arguments], check=True, capture_output=True
    )


def cross(
    source: Path | str,
    to: LoweredFormat,
    workdir: Path,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Crossing:
    """Open, lower, run both on the same probes, compare."""
    model = open_model(source, shapes)
    probes = [_probe(model, seed) for seed in range(PROBES)]
    lowered = lower(model, to, probes, workdir, Silent())
    outputs = [_run(lowered, model, probe) for probe in probes]
    agreement = compare_outputs(outputs, lowered.outputs)
    return Crossing(model, lowered, open_model(lowered.path), agreement)


def _probe(model: Model, seed: int) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    return {
        spec.name: chance.standard_normal(spec.shape).astype(spec.dtype) for spec in model.inputs
    }


def _run(lowered: Lowered, model: Model, probe: Mapping[str, Any]) -> Sequence[Any]:
    if lowered.format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(lowered.path))
        return list(session.run([spec.name for spec in model.outputs], dict(probe)))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(lowered.path))
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], probe[details["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
