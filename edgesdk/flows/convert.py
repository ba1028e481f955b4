"""Model, target and calibration data in; artifact out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from edgesdk.convert.conversion import Conversion
from edgesdk.convert.conversion import convert as carry_out
from edgesdk.convert.planning import plan_conversion
from edgesdk.data.preprocessing import Preprocessing, steps_of
from edgesdk.data.samples import Samples, Source, open_samples
from edgesdk.models.opening import open_model
from edgesdk.progress import Progress, Silent
from edgesdk.targets.loading import load_target
from edgesdk.values.recipe import Recipe

_log = logging.getLogger(__name__)


def warn_of(calibration: Samples) -> None:
    """Tell what makes the calibration data poor; that is no error, some inputs are constant."""
    for caution in calibration.cautions():
        _log.warning("%s", caution)


def convert(
    model: Path | str,
    target: str,
    calibration: Source,
    output: Path | str,
    *,
    recipe: Recipe | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    preprocessing: Preprocessing | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a float model to INT8 for a target.

    Args:
        model: an `.onnx`, `.tflite`, `.keras`, `.h5` or `.pt2` file, the folder of a SavedModel, or
            "module:function", in float32.
        target: a target id, or the path of a descriptor.
        calibration: `FILE.npz`, `FILE.npz#SPLIT`, a folder of pictures, `module:function`, or an
            iterable of samples.
        output: directory for the artifact; one that holds the same conversion is left as it is.
        input_shapes: fixed shapes for dynamic inputs.
        preprocessing: what makes inputs of pictures. The package made of the artifact carries it.

    Raises:
        EdgeSDKError: the input does not hold, does not fit the target, or a toolchain failed.
    """
    descriptor = load_target(target)
    opened = open_model(model, input_shapes)
    shown = progress or Silent()
    with shown.task("reading the calibration data", 0) as advance:
        samples = open_samples(calibration, opened.inputs, advance, preprocessing)
    warn_of(samples)
    plan = plan_conversion(
        opened, descriptor, samples, recipe or Recipe(), preprocessing=steps_of(preprocessing)
    )
    return carry_out(opened, plan, descriptor, samples, Path(output), shown)
