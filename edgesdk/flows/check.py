"""A model and a target in; what they will make of each other out, before anything is quantized.

Seconds for ONNX and TFLite. Formats other than these are exported by their own framework first,
which takes its time.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from edgesdk.convert.forecast import Limits, Subject, forecast
from edgesdk.convert.planning import Chain, choose_chain
from edgesdk.convert.sizing import FileSize
from edgesdk.errors import (
    ConversionError,
    EdgeSDKError,
    IncompatibleTarget,
    ToolchainMissing,
    UsageError,
)
from edgesdk.models.bridges import LoweredFormat
from edgesdk.models.lowering import lower
from edgesdk.models.opening import format_of, open_model
from edgesdk.models.reading import read_graph
from edgesdk.models.types import Format
from edgesdk.package.budget import resolve_budget
from edgesdk.package.remedies import remedies
from edgesdk.progress import Progress, Silent
from edgesdk.targets.loading import list_targets, load_target
from edgesdk.targets.types import BudgetText, Contract, Target
from edgesdk.values.forecast import CacheUse, Forecast, Refusal
from edgesdk.values.recipe import Recipe

InputShapes = Mapping[str, tuple[int, ...]]
_READABLE: tuple[LoweredFormat, ...] = ("onnx", "tflite")


def check(
    model: Path | str,
    target: str,
    *,
    recipe: Recipe | None = None,
    input_shapes: InputShapes | None = None,
    budget: tuple[BudgetText, ...] = (),
    contract: tuple[Contract, ...] = (),
    progress: Progress | None = None,
) -> Forecast:
    """Forecast placement, sizes and memory of a model on a target; nothing is quantized.

    Formats other than ONNX and TFLite are exported by their own framework first, which takes its
    time.

    Args:
        model: whatever `convert` takes; an `.onnx` or `.tflite` file may be quantized, too.
        target: a target id, or the path of a descriptor.
        input_shapes: fixed shapes for dynamic inputs.
        budget: on top of the target's, the last one winning.
        contract: likewise.

    Raises:
        EdgeSDKError: the model cannot be read, or no toolchain brings it to the target. A contract
            that cannot hold is no error: it is in the forecast.
    """
    descriptor = load_target(target)
    asked = _Asked(Path(model), recipe or Recipe(), budget, contract)
    chain = choose_chain(format_of(model), descriptor, asked.recipe)
    reads = chain.toolchain.reads
    subject = _subject(asked, reads, input_shapes or {}, progress or Silent())
    return _forecast(subject, descriptor, chain, asked)


def check_all(
    model: Path | str,
    *,
    recipe: Recipe | None = None,
    input_shapes: InputShapes | None = None,
    budget: tuple[BudgetText, ...] = (),
    contract: tuple[Contract, ...] = (),
    progress: Progress | None = None,
) -> tuple[Forecast | Refusal, ...]:
    """`check` against every built-in target, by id; a target that it cannot go to is a refusal.

    Raises:
        EdgeSDKError: the model cannot be read.
    """
    asked = _Asked(Path(model), recipe or Recipe(), budget, contract)
    model_format = format_of(model)

    @cache
    def read(reads: LoweredFormat) -> Subject | EdgeSDKError:
        # The error is kept as well: one framework that fails would fail for every target.
        try:
            return _subject(asked, reads, input_shapes or {}, progress or Silent())
        except EdgeSDKError as error:
            return error

    def subject(reads: LoweredFormat) -> Subject:
        found = read(reads)
        if isinstance(found, EdgeSDKError):
            raise found.with_traceback(None)
        return found

    if model_format in _READABLE:
        subject(model_format)  # so that a broken file is an error, and not as many refusals
    return tuple(
        _forecast_or_refusal(subject, model_format, target, asked) for target in list_targets()
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    model: Path
    recipe: Recipe
    budget: tuple[BudgetText, ...]
    contract: tuple[Contract, ...]


def _forecast_or_refusal(
    subject: Callable[[LoweredFormat], Subject],
    model_format: Format,
    target: Target,
    asked: _Asked,
) -> Forecast | Refusal:
    try:
        chain = choose_chain(model_format, target, asked.recipe)
        return _forecast(subject(chain.toolchain.reads), target, chain, asked)
    except (IncompatibleTarget, UsageError, ToolchainMissing, ConversionError) as error:
        return Refusal(target.id, error.message, error.hint)


def _forecast(subject: Subject, target: Target, chain: Chain, asked: _Asked) -> Forecast:
    limits = Limits(
        resolve_budget(target.budget, *asked.budget),
        resolve_contract(target.contract, *asked.contract),
        remedies,
    )
    if subject.graph.is_quantized:
        _require_read(subject, target, chain)
        subject = replace(subject, compiled=_cache_of(asked.model, target, chain))
    told = forecast(subject, target, chain, asked.recipe, limits)
    return replace(told, notes=(*told.notes, *_missing(chain)))


def _require_read(subject: Subject, target: Target, chain: Chain) -> None:
    if subject.graph.format != chain.toolchain.reads:
        raise IncompatibleTarget(
            f"{subject.name} is a quantized {subject.graph.format} model, {target.id} takes "
            f"{chain.toolchain.reads}",
            hint="check the float model: that can be brought there",
        )


def _cache_of(model: Path, target: Target, chain: Chain) -> CacheUse | None:
    reader = chain.toolchain.load_reader()
    return None if reader is None else reader.cache_of(model, target.accelerator)


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
        chain.versions()
    except ToolchainMissing as error:
        return (f"to convert it here: {error.message}; {error.hint}",)
    return ()


def _subject(
    asked: _Asked, reads: LoweredFormat, input_shapes: InputShapes, progress: Progress
) -> Subject:
    """The model as it is, where we read its format; else as its own toolkit brings it to `reads`.

    ONNX that becomes TFLite is read as it is: what its operators become is known. Not so where the
    recipe names operators, which are those of the TFLite model.
    """
    path = asked.model
    if format_of(path) in _READABLE:
        subject = _read(path, path.stem, input_shapes)
        names_operators = bool(asked.recipe.keep_float or asked.recipe.overrides)
        foretold = format_of(path) == "onnx" and not names_operators
        if subject.graph.is_quantized or format_of(path) == reads or foretold:
            return subject
    opened = open_model(path, input_shapes)
    with tempfile.TemporaryDirectory() as folder:
        lowered = lower(opened, reads, (), Path(folder), progress)
        return _read(lowered.path, opened.name, {})


def _read(path: Path, name: str, input_shapes: InputShapes) -> Subject:
    graph = read_graph(path, input_shapes)
    stored_bytes = path.stat().st_size
    packed_bytes = len(zlib.compress(path.read_bytes())) if graph.is_quantized else None
    return Subject(name, graph, FileSize(stored_bytes, packed_bytes))
