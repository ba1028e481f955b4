"""What a model will meet on a target, told before it is converted: placement, sizes, contracts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgesdk.models.types import TensorSpec

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
    """

    index: int
    type: str
    name: str
    unit: str
    reason: str = ""
    cure: str = ""


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
        operators: each with its unit, in the graph's own order.
        basis: what the placement rests on: the rules of the descriptor, the compiled file at hand,
            or nothing but that the target has no accelerator.
        model_bytes: size of the converted model file.
        package_bytes: of the package with it.
        working_set_bytes: weights plus the largest sum of activations alive at once.
        cache: None where the target has no parameter cache.
        broken: contracts and budgets that cannot hold, one sentence each.
        notes: what else the reader must know, e.g. that nothing was compiled.
    """

    model_name: str
    model_format: str
    target_id: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[Placement, ...]
    basis: Literal["rules", "compiled", "no accelerator"]
    accelerated_fraction: float | None
    model_bytes: int
    package_bytes: int
    working_set_bytes: int
    cache: CacheUse | None = None
    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """No contract or budget is known to break."""
        return not self.broken


def accelerated_fraction(placements: Sequence[Placement]) -> float | None:
    """Share of the operators that are off the CPU; None of no operators."""
    if not placements:
        return None
    return sum(placement.unit != CPU for placement in placements) / len(placements)
