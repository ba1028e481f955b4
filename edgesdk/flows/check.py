"""A model and a target in; what they will make of each other out, before anything is converted."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgesdk.convert.forecast import Limits, Subject, forecast
from edgesdk.convert.planning import Chain, choose_chain
from edgesdk.convert.sizing import FileSize
from edgesdk.errors import IncompatibleTarget, ModelError, ToolchainMissing, UsageError
from edgesdk.models.reading import read_graph
from edgesdk.package.budget import resolve_budget
from edgesdk.targets.loading import list_targets, load_target
from edgesdk.targets.types import BudgetText, Contract, Target
from edgesdk.values.forecast import Forecast, Refusal
from edgesdk.values.recipe import Recipe

InputShapes = Mapping[str, tuple[int, ...]]
_LOWERED_FIRST = (".keras", ".h5", ".pt2", ".pt", ".pth")


def check(
    model: Path | str,
    target: str,
    *,
    recipe: Recipe | None = None,
    input_shapes: InputShapes | None = None,
    budget: tuple[BudgetText, ...] = (),
    contract: tuple[Contract, ...] = (),
) -> Forecast:
    """Forecast placement, sizes and memory of a model on a target; nothing is converted.

    Args:
        model: an `.onnx` or `.tflite` file, in float or quantized.
        target: a target id, or the path of a descriptor.
        input_shapes: fixed shapes for dynamic inputs.
        budget: on top of the target's, the last one winning.
        contract: likewise.

    Raises:
        EdgeSDKError: the model cannot be read, or no toolchain brings it to the target. A contract
            that cannot hold is no error: it is in the forecast.
    """
    descriptor = load_target(target)
    asked = _Asked(recipe or Recipe(), budget, contract)
    subject = _subject(model, input_shapes or {})
    chain = choose_chain(subject.graph.format, descriptor, asked.recipe)
    return _forecast(subject, descriptor, chain, asked)


def check_all(
    model: Path | str,
    *,
    recipe: Recipe | None = None,
    input_shapes: InputShapes | None = None,
    budget: tuple[BudgetText, ...] = (),
    contract: tuple[Contract, ...] = (),
) -> tuple[Forecast | Refusal, ...]:
    """`check` against every built-in target, by id; a target that it cannot go to is a refusal.

    Raises:
        EdgeSDKError: the model cannot be read.
    """
    asked = _Asked(recipe or Recipe(), budget, contract)
    subject = _subject(model, input_shapes or {})
    return tuple(_forecast_or_refusal(subject, target, asked) for target in list_targets())


@dataclass(frozen=True, slots=True)
class _Asked:
    recipe: Recipe
    budget: tuple[BudgetText, ...]
    contract: tuple[Contract, ...]


def _forecast_or_refusal(subject: Subject, target: Target, asked: _Asked) -> Forecast | Refusal:
    try:
        chain = choose_chain(subject.graph.format, target, asked.recipe)
    except (IncompatibleTarget, UsageError) as error:
        return Refusal(target.id, error.message, error.hint)
    return _forecast(subject, target, chain, asked)


def _forecast(subject: Subject, target: Target, chain: Chain, asked: _Asked) -> Forecast:
    limits = Limits(
        resolve_budget(target.budget, *asked.budget),
        resolve_contract(target.contract, *asked.contract),
    )
    told = forecast(subject, target, chain, asked.recipe, limits)
    return replace(told, notes=(*told.notes, *_missing(chain)))


def resolve_contract(*layers: Contract) -> Contract:
    """The contract in force: a later layer (project, flags) overrides an earlier one (target).

    Raises:
        UsageError: a fraction that is none.
    """
    given = [each.min_accelerated_fraction for each in layers]
    fraction = next((each for each in reversed(given) if each is not None), None)
    if fraction is not None and not 0 <= fraction <= 1:
        raise UsageError(f"found the min_accelerated_fraction {fraction:g}, expected 0 to 1")
    return Contract(fraction)


def _missing(chain: Chain) -> tuple[str, ...]:
    try:
        chain.toolchain.versions()
    except ToolchainMissing as error:
        return (f"to convert it here: {error.message}; {error.hint}",)
    return ()


def _subject(model: Path | str, input_shapes: InputShapes) -> Subject:
    path = Path(model)
    if path.suffix in _LOWERED_FIRST or path.is_dir() or ":" in path.name:
        raise ModelError(
            f"found {path.name}, whose operators are known only once its own toolkit has exported "
            "it; expected an .onnx or .tflite file",
            hint="export it to ONNX or TFLite and check the exported file",
        )
    graph = read_graph(path, input_shapes)
    stored_bytes = path.stat().st_size
    packed_bytes = len(zlib.compress(path.read_bytes())) if graph.is_quantized else None
    return Subject(path.stem, graph, FileSize(stored_bytes, packed_bytes))
