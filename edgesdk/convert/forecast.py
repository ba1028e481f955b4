"""What a model will meet on a target, told from its graph alone. Pure; nothing is converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from edgesdk.choices import Precision
from edgesdk.convert.keeping import KEPT, overridden
from edgesdk.convert.parameter_cache import forecast_cache
from edgesdk.convert.placement import place
from edgesdk.convert.planning import Chain, offered_precisions
from edgesdk.convert.sizing import (
    FLOATS,
    STAY_FLOAT,
    FileSize,
    Sizes,
    sizes_as_stored,
    sizes_converted,
    tensors_as_stored,
    tensors_converted,
)
from edgesdk.models.graph import Graph
from edgesdk.models.types import TensorSpec
from edgesdk.targets.types import Contract, OperatorRules, Target
from edgesdk.units import format_bytes
from edgesdk.values.artifact import OperatorPrecision, TensorSize
from edgesdk.values.forecast import (
    CPU,
    CacheUse,
    Forecast,
    PlacedOperator,
    Placement,
    accelerated_fraction,
)
from edgesdk.values.overrun import Network, Overrun
from edgesdk.values.package import Budget
from edgesdk.values.recipe import Recipe
from edgesdk.values.remedies import BudgetName, OverBudget, Remedy

AS_IT_IS: Final = "as it is"
_LISTED = 4
_NAME_MOST = 48
_KNOWN = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_TITLES: Mapping[BudgetName, str] = {
    "package": "the package",
    "installed": "the installed files",
    "peak_ram": "weights and live activations alone",
}
_NO_INT8 = "it has no INT8 form in any toolchain"
_CONVERTED: Mapping[Precision, str] = {
    "w8a8": "int8",
    "w8a16": "int16",
    "fp16": "float16",
    "w4a8": "int8",
    "w4a16": "int16",
}
"""Dtype of activations at each precision."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model file that was read.

    Args:
        compiled: what the file says that it keeps on chip; None where no compiler wrote it.
    """

    name: str
    graph: Graph
    file: FileSize
    compiled: CacheUse | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What must hold.

    Args:
        advise: what would bring a total under its budget.
    """

    budget: Budget
    contract: Contract
    advise: Callable[[Overrun], tuple[Remedy, ...]]


def forecast(
    subject: Subject, target: Target, chain: Chain, recipe: Recipe, limits: Limits
) -> Forecast:
    """Placement, sizes, memory, and the contracts and budgets that cannot hold.

    A model that is quantized already is taken as it is.

    Args:
        chain: what would convert the model for the target.

    Raises:
        ModelError: the recipe names operators that the model does not have.
    """
    graph = subject.graph
    named = [(operator.name, operator.type) for operator in graph.operators]
    given = overridden(named, recipe.keep_float, recipe.overrides)
    placements = _placements(graph, target, chain.precision, given)
    if graph.is_quantized:
        sizes = sizes_as_stored(graph, subject.file)
        tensors = tensors_as_stored(graph)
    else:
        sizes = sizes_converted(graph, subject.file, chain, given, recipe.golden_vectors)
        tensors = tensors_converted(graph, chain, given)
    network = _network(graph, target, chain, recipe)
    totals = _totals(limits.budget, sizes, tensors, network)
    broken, close = _over(totals, 0.0 if graph.is_quantized else chain.toolchain.size_doubt)
    return Forecast(
        model_name=subject.name,
        model_format=graph.format,
        target_id=target.id,
        precision=AS_IT_IS if graph.is_quantized else chain.precision,
        chain=_chain(graph, chain),
        inputs=graph.inputs,
        outputs=graph.outputs,
        operators=tuple(_placed(graph, placements)),
        basis="compiled" if subject.compiled else _basis(target),
        accelerated_fraction=accelerated_fraction(placements),
        model_bytes=sizes.model_bytes,
        package_bytes=sizes.package_bytes,
        installed_bytes=sizes.installed_bytes,
        working_set_bytes=sizes.working_set_bytes,
        cache=subject.compiled or _cache(graph, target, placements),
        budget=limits.budget,
        contract=limits.contract,
        broken=(
            *_refused(graph),
            *_contract(limits.contract, target, placements),
            *map(_too_much, broken),
        ),
        over_budget=tuple(
            OverBudget(each.what, each.limit_bytes, each.actual_bytes, limits.advise(each))
            for each in broken
        ),
        notes=(
            *(f"{_taken(each)}: too close to tell before the conversion" for each in close),
            *_notes(subject, target, chain),
        ),
    )


def _over(totals: Iterable[Overrun], doubt: float) -> tuple[Sequence[Overrun], Sequence[Overrun]]:
    """Those that break their budget whatever comes of the conversion, and those that may.

    Args:
        doubt: by what share of it a size may be off.
    """
    over = [each for each in totals if each.actual_bytes * (1 + doubt) > each.limit_bytes]
    broken = [each for each in over if each.actual_bytes * (1 - doubt) > each.limit_bytes]
    return broken, [each for each in over if each not in broken]


def _placements(
    graph: Graph, target: Target, precision: Precision, given: Mapping[str, str]
) -> list[Placement]:
    placements = place(graph, target, _CONVERTED[precision])
    return [_kept(each, target.operators) if given.get(each.name) == "float32" else each
            for each in placements]  # fmt: skip


def _kept(placement: Placement, rules: Mapping[str, OperatorRules]) -> Placement:
    """Where an operator goes that the recipe keeps in float."""
    if placement.unit not in rules:
        return placement
    unit = rules[placement.unit]
    rule = unit.types.get(placement.type)
    dtypes = (rule.dtypes if rule else ()) or unit.dtypes
    if not dtypes or "float32" in dtypes:
        return placement
    return replace(placement, unit=CPU, reason=KEPT, cure="do not keep it in float")


def _placed(graph: Graph, placements: Sequence[Placement]) -> Iterator[PlacedOperator]:
    for operator, placement in zip(graph.operators, placements, strict=True):
        outputs = [graph.tensors[index] for index in operator.outputs if index >= 0]
        yield PlacedOperator(
            index=placement.index,
            type=placement.type,
            name=placement.name,
            unit=placement.unit,
            reason=placement.reason,
            cure=placement.cure,
            outputs=tuple(
                TensorSpec(tensor.name, tensor.shape, tensor.dtype)
                for tensor in outputs
                if tensor.shape is not None
            ),
        )


def _basis(target: Target) -> Literal["rules", "no accelerator"]:
    return "rules" if target.operators else "no accelerator"


def _cache(graph: Graph, target: Target, placements: Sequence[Placement]) -> CacheUse | None:
    edgetpu = target.accelerator.edgetpu
    if edgetpu is None:
        return None
    return forecast_cache(graph, placements, edgetpu.parameter_cache_bytes.value)


def _chain(graph: Graph, chain: Chain) -> str:
    runs = f"{chain.runtime.name} >= {chain.runtime.min_version} runs it"
    if graph.is_quantized:
        return f"already quantized; {runs}"
    return f"the {chain.toolchain.name} toolchain makes it {chain.precision}, {runs}"


def _refused(graph: Graph) -> Iterator[str]:
    """What convert refuses for certain."""
    foreign = {(each.type, each.domain) for each in graph.operators if each.domain not in _KNOWN}
    if graph.format == "onnx":
        for kind, domain in sorted(foreign):
            yield f"convert refuses {kind} of the domain {domain}, which no runtime of ours knows"
    for spec in graph.inputs:
        if spec.dtype in FLOATS and spec.dtype != "float32":
            yield f"{spec} is no float32, which convert takes: export the model in float32"


def _contract(contract: Contract, target: Target, placements: Sequence[Placement]) -> Iterator[str]:
    fallen = [placement for placement in placements if placement.unit == CPU]
    if fallen and any(rules.no_fallback for rules in target.operators.values()):
        yield (
            f"{target.id} runs no model that is not all on its accelerator, and {len(fallen)} of "
            f"{len(placements)} operators are forecast off it: {_kinds(fallen)}"
        )
    wanted, found = contract.min_accelerated_fraction, accelerated_fraction(placements)
    if wanted is None or found is None or found >= wanted:
        return
    share = f"{len(placements) - len(fallen)} of {len(placements)} operators ({found:.1%})"
    why = f"on the CPU: {_kinds(fallen)}" if target.operators else f"{target.id} has none"
    yield f"{share} are forecast on an accelerator, min_accelerated_fraction is {wanted:g}; {why}"


def _kinds(fallen: Sequence[Placement]) -> str:
    counts = Counter((each.type, each.reason) for each in fallen)
    listed = [
        f"{count} {kind}" + (f" ({reason})" if reason else "")
        for (kind, reason), count in counts.most_common(_LISTED)
    ]
    return ", ".join(listed) + (", ..." if len(counts) > _LISTED else "")


def _totals(
    budget: Budget, sizes: Sizes, tensors: tuple[TensorSize, ...], network: Network
) -> Iterator[Overrun]:
    """What each budget that is set counts, over it or not."""
    constants = tuple(size for size in tensors if size.kind == "constant")
    golden = sizes.golden
    if budget.package_bytes is not None:
        yield Overrun(
            what="package",
            limit_bytes=budget.package_bytes,
            actual_bytes=sizes.package_bytes,
            network=network,
            golden_bytes=golden.size_bytes,
            golden_count=golden.count,
            tensors=constants,
            counted=min(1.0, sizes.packed_share),
        )
    if budget.installed_bytes is not None:
        yield Overrun(
            what="installed",
            limit_bytes=budget.installed_bytes,
            actual_bytes=sizes.installed_bytes,
            network=network,
            golden_bytes=golden.size_bytes,
            golden_count=golden.count,
            tensors=constants,
        )
    if budget.peak_ram_bytes is not None:
        yield Overrun(
            what="peak_ram",
            limit_bytes=budget.peak_ram_bytes,
            actual_bytes=sizes.working_set_bytes,
            network=network,
            tensors=tuple(size for size in tensors if size.kind == "constant" or size.at_peak),
        )


def _network(graph: Graph, target: Target, chain: Chain, recipe: Recipe) -> Network:
    fixed = graph.is_quantized
    return Network(
        layout="NCHW" if graph.format == "onnx" else "NHWC",
        inputs=tuple((spec.name, spec.shape) for spec in graph.inputs),
        outputs=tuple((spec.name, spec.shape) for spec in graph.outputs),
        precision=chain.precision,
        # What is quantized already is not converted again.
        offered=() if fixed else offered_precisions(target, chain.toolchain),
        keep_float=() if fixed else recipe.keep_float,
        overrides=() if fixed else recipe.overrides,
        operators=tuple(
            OperatorPrecision(each.index, each.type, each.name, "float32", _NO_INT8)
            for each in graph.operators
            if each.type in STAY_FLOAT and not fixed
        ),
    )


def _too_much(overrun: Overrun) -> str:
    largest = ", ".join(
        f"{_short(size.name)} {list(size.shape)} {format_bytes(size.size_bytes)}"
        for size in overrun.tensors[:_LISTED]
    )
    return f"{_taken(overrun)}: {format_bytes(overrun.over_bytes)} too much; largest: {largest}"


def _taken(overrun: Overrun) -> str:
    return (
        f"{_TITLES[overrun.what]} would take about {format_bytes(overrun.actual_bytes)}, the "
        f"{overrun.what} budget is {format_bytes(overrun.limit_bytes)}"
    )


def _short(name: str) -> str:
    return name if len(name) <= _NAME_MOST else f"...{name[-_NAME_MOST:]}"


def _notes(subject: Subject, target: Target, chain: Chain) -> Iterator[str]:
    graph = subject.graph
    if subject.compiled:
        yield "the model is compiled: placement and cache use are what the file says"
    elif target.operators:
        yield "nothing was compiled: the placement is told from the rules of the descriptor"
    if graph.is_quantized:
        yield "the model is quantized already: sizes are those of the file, and convert refuses it"
    if chain.toolchain.compiler and not graph.is_quantized:
        yield "sizes are of the quantized model; what a vendor's compiler makes of it may differ"
    for spec in graph.inputs:
        if -1 in spec.shape:
            sizes = ",".join("1" if size < 0 else str(size) for size in spec.shape)
            yield (
                f"{spec} is open, so memory is told without what follows from it: fix it with "
                f"--input-shape {spec.name}={sizes} (your own sizes)"
            )
