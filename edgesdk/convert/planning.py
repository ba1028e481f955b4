"""Decide how a model becomes INT8 for a target, or why it cannot. Nothing is converted here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgesdk.convert.toolchains import Toolchain, toolchains
from edgesdk.data.samples import Samples
from edgesdk.errors import IncompatibleTarget, ModelError, UsageError
from edgesdk.models.types import Model
from edgesdk.targets.types import Runtime, Target
from edgesdk.values.plan import ConversionPlan
from edgesdk.values.recipe import PortDType, Recipe


def plan_conversion(
    model: Model,
    target: Target,
    calibration: Samples,
    recipe: Recipe,
    available: Sequence[Toolchain] | None = None,
) -> ConversionPlan:
    """Choose the toolchain and settle every choice that the artifact's bytes depend on.

    Args:
        available: the toolchains to choose from; all registered ones by default.

    Raises:
        IncompatibleTarget: no runtime of the target runs what this model converts to.
        ModelError: the model's inputs are not float32 or integers.
        UsageError: the recipe asks for what the format does not have, or holds a bad pattern.
        ToolchainMissing: the chosen toolchain is not installed.
    """
    toolchain, runtime = _choose(model, target, toolchains() if available is None else available)
    _require_float32(model)
    _require_patterns(recipe)
    return ConversionPlan(
        model_name=model.name,
        model_format=model.format,
        model_sha256=model.sha256,
        inputs=model.inputs,
        outputs=model.outputs,
        target_id=target.id,
        target_architecture=target.architecture,
        backend=toolchain.name,
        runtime=runtime,
        scheme=target.quantization,
        io=_io(recipe, toolchain),
        keep_float=recipe.keep_float,
        calibration_sha256=calibration.sha256,
        calibration_samples=calibration.count,
        toolchain=toolchain.versions(),
    )


def _choose(
    model: Model, target: Target, available: Sequence[Toolchain]
) -> tuple[Toolchain, Runtime]:
    readers = [toolchain for toolchain in available if toolchain.reads == model.format]
    for runtime in target.runtimes:
        for toolchain in readers:
            if toolchain.runtime == runtime.name:
                return toolchain, runtime
    runs = " and ".join(runtime.name for runtime in target.runtimes)
    takes = sorted(
        f".{toolchain.reads}"
        for toolchain in available
        if toolchain.runtime in {runtime.name for runtime in target.runtimes}
    )
    export = f"export the model to {' or '.join(takes)}, or " if takes else ""
    raise IncompatibleTarget(
        f"{target.id} runs {runs} models, which a .{model.format} model does not convert to",
        hint=f"{export}choose another target (edgesdk target ls)",
    )


def _require_float32(model: Model) -> None:
    for spec in (*model.inputs, *model.outputs):
        if spec.dtype == "float16":
            raise ModelError(
                f"{spec} of {model.path.name} is half precision, expected float32",
                hint="export the model in float32",
            )


def _require_patterns(recipe: Recipe) -> None:
    for pattern in recipe.keep_float:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(
                f"keep_float {pattern!r} is not a regular expression: {error}"
            ) from error


def _io(recipe: Recipe, toolchain: Toolchain) -> PortDType:
    io = recipe.io or toolchain.ios[0]
    if io not in toolchain.ios:
        raise UsageError(
            f"the {toolchain.name} toolchain makes models with {' or '.join(toolchain.ios)} "
            f"inputs and outputs, found {io}"
        )
    return io
