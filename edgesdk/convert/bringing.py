"""Bring the user's model to the format that is quantized, and hold the result against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device_agent import runtimes
from edgesdk.convert.toolchains import Array
from edgesdk.data.samples import Sample
from edgesdk.errors import ConversionError
from edgesdk.models.agreement import TOLERANCE, compare_outputs
from edgesdk.models.bridges import LoweredFormat
from edgesdk.models.lowering import Lowered, lower
from edgesdk.models.types import Model
from edgesdk.progress import Progress
from edgesdk.values.artifact import Lowering

_RUNTIMES: dict[LoweredFormat, tuple[str, str]] = {
    "onnx": ("onnxruntime", ""),
    "tflite": ("litert", "builtin"),
}
"""Runtime and kernels that a lowered model is run with."""


@dataclass(frozen=True, slots=True)
class Brought:
    """A model file in the format that is quantized.

    Args:
        account: how it came there; None where it came in that format.
    """

    path: Path
    account: Lowering | None


def bring(
    model: Model,
    to: LoweredFormat,
    probes: Sequence[Sample],
    folder: Path,
    progress: Progress,
) -> Brought:
    """The model as a file of the format `to`, in `folder` where it had to be made.

    Args:
        probes: samples on which both are run.

    Raises:
        ToolchainMissing: the toolkit is not installed, or its environment cannot be made.
        ModelError: the model changed since it was opened, or cannot be loaded.
        ConversionError: the toolkit refused, or the result computes something else.
    """
    if model.format == to:
        return Brought(model.path, None)
    lowered = lower(model, to, probes, folder, progress)
    agreement = compare_outputs(_outputs(lowered, model, probes), lowered.outputs)
    if agreement.max_relative_error > TOLERANCE:
        output = model.outputs[agreement.output]
        raise ConversionError(
            f"{lowered.tool} made a model that computes something else: its output {output.name!r} "
            f"is off by {agreement.max_relative_error:.2g} of its largest value, expected at most "
            f"{TOLERANCE:g}",
            hint=f"export the model to {to} yourself, and compare it with the source before you do",
        )
    return Brought(
        lowered.path,
        Lowering(lowered.tool, agreement.max_abs_error, agreement.max_relative_error, len(probes)),
    )


def _outputs(lowered: Lowered, model: Model, probes: Sequence[Sample]) -> list[list[Array]]:
    runtime, kernel = _RUNTIMES[lowered.format]
    try:
        loaded = runtimes.load(runtime, str(lowered.path), threads=1, kernel=kernel)
        return [loaded.run([probe[spec.name] for spec in model.inputs]) for probe in probes]
    except runtimes.RuntimeFailed as error:
        raise ConversionError(
            f"{runtime} does not run what {lowered.tool} made: {error}"
        ) from error
