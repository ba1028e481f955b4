"""Decide how a model becomes INT8 for a target, or why it cannot. Nothing is converted here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from device_agent.preprocessing import Preprocessing
from edgesdk.choices import PortDType, Precision, Quantizer
from edgesdk.convert.toolchains import Toolchain, toolchains
from edgesdk.data.samples import Samples
from edgesdk.distributions import is_installed
from edgesdk.errors import IncompatibleTarget, ModelError, ToolchainMissing, UsageError
from edgesdk.models.bridges import BRIDGES, Bridge
from edgesdk.models.types import Format, Model
from edgesdk.serial import digest
from edgesdk.targets.types import Runtime, Scheme, Target
from edgesdk.values.plan import ConversionPlan
from edgesdk.values.recipe import MOST_GOLDEN_VECTORS, Recipe

BITS: Mapping[Precision, tuple[Literal[4, 8, 16], Literal[4, 8, 16]]] = {
    "w8a8": (8, 8),
    "w8a16": (8, 16),
    "w4a8": (4, 8),
    "w4a16": (4, 16),
}
"""Bits of weights and activations; a scheme says nothing of fp16."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What converts a model for a target: everything that follows from the model's format alone.

    Args:
        runtime: the target's, that runs the result.
        io: dtype of the result's inputs and outputs.
        bridge: what brings the model to the format that the toolchain reads; None where it is.
    """

    toolchain: Toolchain
    runtime: Runtime
    precision: Precision
    io: PortDType
    bridge: Bridge | None = None

    def versions(self) -> dict[str, str]:
        """Versions of all that the result depends on.

        Raises:
            ToolchainMissing: one of them is not installed.
        """
        found = {} if self.bridge is None else self.bridge.versions()
        return found | self.toolchain.versions()


def choose_chain(
    model_format: Format,
    target: Target,
    recipe: Recipe,
    available: Sequence[Toolchain] | None = None,
) -> Chain:
    """Choose the toolchain, precision and edge for a model of that format.

    Args:
        available: the toolchains to choose from; all registered ones by default.

    Raises:
        IncompatibleTarget: no runtime of the target runs what this format converts to.
        UsageError: the recipe asks for what the target or toolchain does not have, or holds a bad
            pattern.
    """
    every = toolchains() if available is None else available
    way = _choose(model_format, target, every)
    _require_patterns(recipe)
    precision = _precision(recipe, target, way.toolchain)
    io = _io(recipe, way.toolchain, precision)
    return Chain(way.toolchain, way.runtime, precision, io, way.bridge)


def offered_precisions(target: Target, toolchain: Toolchain) -> tuple[Precision, ...]:
    """Those of the target that the toolchain makes, the usual one first."""
    return tuple(each for each in target.precisions if each in toolchain.precisions)


def plan_conversion(
    model: Model,
    target: Target,
    calibration: Samples,
    recipe: Recipe,
    available: Sequence[Toolchain] | None = None,
    preprocessing: Preprocessing | None = None,
) -> ConversionPlan:
    """Choose the toolchain and settle every choice that the artifact's bytes depend on.

    Args:
        available: the toolchains to choose from; all registered ones by default.
        preprocessing: what is declared to make the model's inputs of pictures.

    Raises:
        IncompatibleTarget: no runtime of the target runs what this model converts to.
        ModelError: the model is in half precision.
        UsageError: the recipe asks for what the format does not have, or holds a bad pattern.
        ToolchainMissing: the chosen toolchain is not installed.
    """
    chain = choose_chain(model.format, target, recipe, available)
    toolchain = chain.toolchain
    _require_no_half(model)
    if preprocessing is not None and len(model.inputs) != 1:
        raise UsageError(
            f"found a preprocessing of pictures for a model of {len(model.inputs)} inputs, "
            "expected one input",
            hint="leave [preprocessing] out",
        )
    return ConversionPlan(
        model_name=model.name,
        model_format=model.format,
        model_sha256=model.sha256,
        inputs=model.inputs,
        outputs=model.outputs,
        target_id=target.id,
        target_architecture=target.architecture,
        working_format=toolchain.reads,
        bridge="" if chain.bridge is None else chain.bridge.tool,
        backend=toolchain.name,
        quantizer=_quantizer(recipe, toolchain),
        runtime=chain.runtime,
        accelerator=target.accelerator,
        cpu_features=tuple(
            sorted({feature for unit in target.compute_units for feature in unit.features})
        ),
        precision=chain.precision,
        scheme=_scheme(target.quantization, chain.precision),
        io=chain.io,
        keep_float=recipe.keep_float,
        overrides=recipe.overrides,
        range_method=recipe.range_method,
        encodings=_encodings(recipe, toolchain),
        rules_sha256=digest((target.compute_units, target.operators)),
        calibration_sha256=calibration.sha256,
        calibration_samples=calibration.count,
        toolchain=chain.versions(),
        golden_vectors=_golden_vectors(recipe),
        preprocessing=preprocessing,
    )


@dataclass(frozen=True, slots=True)
class _Way:
    toolchain: Toolchain
    runtime: Runtime
    bridge: Bridge | None


def _choose(model_format: Format, target: Target, available: Sequence[Toolchain]) -> _Way:
    """The first way whose parts are all installed, those without a bridge before the others.

    Where none is, the first; what it lacks is said when it is needed.
    """
    ways = [
        _Way(toolchain, runtime, BRIDGES.get((model_format, toolchain.reads)))
        for runtime in target.runtimes
        for toolchain in available
        if toolchain.runtime == runtime.name
        if toolchain.reads == model_format or (model_format, toolchain.reads) in BRIDGES
    ]
    ways.sort(key=lambda way: way.bridge is not None)
    if ways:
        return next((way for way in ways if _is_ready(way)), ways[0])
    runs = " and ".join(runtime.name for runtime in target.runtimes)
    raise IncompatibleTarget(
        f"{target.id} runs {runs} models, which a {model_format} model does not convert to",
        hint="choose another target (edgesdk target ls); docs/inputs.md says what goes where",
    )


def _is_ready(way: _Way) -> bool:
    """Whether its bridge is installed; a direct way is taken in any case."""
    if way.bridge is None:
        return True
    try:
        way.bridge.versions()
    except ToolchainMissing:
        return False
    return True


def _golden_vectors(recipe: Recipe) -> int:
    if not 1 <= recipe.golden_vectors <= MOST_GOLDEN_VECTORS:
        raise UsageError(
            f"found golden_vectors {recipe.golden_vectors}, expected 1 to {MOST_GOLDEN_VECTORS}"
        )
    return recipe.golden_vectors


def _require_no_half(model: Model) -> None:
    for spec in (*model.inputs, *model.outputs):
        if spec.dtype == "float16":
            raise ModelError(
                f"{spec} of {model.path.name} is half precision, expected float32",
                hint="export the model in float32",
            )


def _require_patterns(recipe: Recipe) -> None:
    named = [("keep_float", pattern) for pattern in recipe.keep_float]
    named += [("an override's name", each.name) for each in recipe.overrides if each.name]
    for what, pattern in named:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(f"{what} {pattern!r} is not a regular expression: {error}") from error
    for override in recipe.overrides:
        if override.name is None and override.type is None:
            raise UsageError(
                f"an override to {override.precision} names no operators, expected a name or type"
            )


def _precision(recipe: Recipe, target: Target, toolchain: Toolchain) -> Precision:
    wanted = recipe.precision or target.precisions[0]
    offered = offered_precisions(target, toolchain)
    for precision in (wanted, *(override.precision for override in recipe.overrides)):
        if precision not in (*offered, "float32"):
            raise UsageError(
                f"found the precision {precision}, expected one that {target.id} offers with "
                f"{toolchain.name}: {', '.join(offered)}"
            )
    return wanted


def _scheme(scheme: Scheme, precision: Precision) -> Scheme:
    weights, activations = BITS.get(precision, (8, 8))
    return Scheme(
        replace(scheme.weights, bits=weights), replace(scheme.activations, bits=activations)
    )


def _quantizer(recipe: Recipe, toolchain: Toolchain) -> Quantizer | None:
    if recipe.quantizer is None:
        fitting = [name for name in toolchain.quantizers if _fits(name, recipe)]
        return next((name for name in fitting if is_installed(name)), None)
    if recipe.quantizer not in toolchain.quantizers:
        known = ", ".join(toolchain.quantizers) or "none to choose from"
        raise UsageError(
            f"found the quantizer {recipe.quantizer}, the {toolchain.name} toolchain has {known}"
        )
    if not is_installed(recipe.quantizer):
        raise ToolchainMissing(
            f"the recipe asks for the quantizer {recipe.quantizer}, which is not installed",
            hint=f"install it with: pip install {recipe.quantizer}, or leave the choice open",
        )
    return recipe.quantizer


def _encodings(recipe: Recipe, toolchain: Toolchain) -> bool:
    if recipe.encodings and not toolchain.quantizers:
        raise UsageError(
            f"the recipe asks for encodings, which the {toolchain.name} toolchain does not write: "
            "they are for Qualcomm targets"
        )
    return recipe.encodings


def _fits(quantizer: Quantizer, recipe: Recipe) -> bool:
    """AIMET's export of mixed precision does not run on the HTP, and its ranges are its own."""
    mixed = bool(recipe.keep_float or recipe.overrides)
    return quantizer == "onnxruntime" or (not mixed and recipe.range_method in ("minmax", "mse"))


def _io(recipe: Recipe, toolchain: Toolchain, precision: Precision) -> PortDType:
    offered = toolchain.ios if precision == "w8a8" else ("float32",)
    io = recipe.io or offered[0]
    if io not in offered:
        raise UsageError(
            f"the {toolchain.name} toolchain makes {precision} models with {' or '.join(offered)} "
            f"inputs and outputs, found {io}"
        )
    return io
