"""What a model will meet on a target, told before it is converted: placement, sizes, contracts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgesdk.models.types import TensorSpec
from edgesdk.targets.types import Contract
from edgesdk.values.package import Budget
from edgesdk.values.remedies import OverBudget

CPU = "cpu"
"""Unit of an operator that no accelerator takes."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one operator runs.

    Args:
        index: its place in the model's own order.
        type: as the format spells it.
        name: its own, or its first output's.
        unit: id of the target's compute unit; "cpu" where it falls back.
        reason: why it is not on the accelerator; empty when it is, or when there is none.
        cure: what the user can do about it; empty where nothing, or nothing is needed.
        macs: multiply-accumulates of one run; None where they are not known.
    """

    index: int
    type: str
    name: str
    unit: str
    reason: str = ""
    cure: str = ""
    macs: int | None = None


@dataclass(frozen=True, slots=True)
class PlacedOperator(Placement):
    """An operator of a model that is not converted yet.

    Args:
        outputs: those whose shape is known, as they are before the conversion.
    """

    outputs: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Parameters and the accelerator's on-chip memory for them, in bytes.

    Args:
        on_chip_bytes: kept there between runs.
        streamed_bytes: sent anew for every run.
        capacity_bytes: what there is.
    """

    on_chip_bytes: int
    streamed_bytes: int
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """A model and a target, before any conversion.

    Args:
        precision: that the conversion would have; "as it is" of a quantized model.
        chain: what converts it and runs the result, in words.
        operators: each with its unit, in the graph's own order.
        basis: what the placement rests on: the rules of the descriptor, the compiled file at hand,
            or nothing but that the target has no accelerator.
        model_bytes: size of the converted model file.
        package_bytes: of the package with it.
        installed_bytes: of the package's files on the device.
        working_set_bytes: weights plus the largest sum of activations alive at once.
        cache: None where the target has no parameter cache.
        budget: the limits it was held against.
        contract: likewise.
        broken: contracts and budgets that cannot hold, one sentence each.
        over_budget: the budgets among them, with what would bring the model under each.
        notes: what else the reader must know, e.g. that nothing was compiled.
    """

    model_name: str
    model_format: str
    target_id: str
    precision: str
    chain: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[PlacedOperator, ...]
    basis: Literal["rules", "compiled", "no accelerator"]
    accelerated_fraction: float | None
    model_bytes: int
    package_bytes: int
    installed_bytes: int
    working_set_bytes: int
    cache: CacheUse | None = None
    budget: Budget = Budget()
    contract: Contract = Contract()
    broken: tuple[str, ...] = ()
    over_budget: tuple[OverBudget, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """No contract or budget is known to break."""
        return not self.broken


@dataclass(frozen=True, slots=True)
class Refusal:
    """A target that the model cannot go to at all.

    Args:
        reason: one sentence.
        hint: what to do about it; empty where nothing.
    """

    target_id: str
    reason: str
    hint: str = ""

    @property
    def broken(self) -> tuple[str, ...]:
        """No contract breaks where there is no forecast."""
        return ()


def accelerated_fraction(placements: Sequence[Placement]) -> float | None:
    """Share of the operators that are off the CPU; None of no operators."""
    if not placements:
        return None
    return sum(placement.unit != CPU for placement in placements) / len(placements)


def accelerated_macs(placements: Sequence[Placement]) -> float | None:
    """Share of the multiply-accumulates that are off the CPU; None where some are not known."""
    counts = [placement.macs for placement in placements]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts) or not any(known):
        return None
    off = (each.macs or 0 for each in placements if each.unit != CPU)
    return sum(off) / sum(known)


@dataclass(frozen=True, slots=True)
class Moved:
    """An operator that is not where it was forecast."""

    forecast: Placement
    found: Placement


def moved(forecast: Sequence[Placement], found: Sequence[Placement]) -> tuple[Moved, ...]:
    """The operators, by index, that two accounts of one model put on different units."""
    units = {placement.index: placement for placement in found}
    pairs = ((each, units[each.index]) for each in forecast if each.index in units)
    return tuple(Moved(told, real) for told, real in pairs if told.unit != real.unit)
