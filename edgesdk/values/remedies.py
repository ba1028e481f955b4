"""What would bring a model or its package under a budget that is broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesdk.units import format_bytes

BudgetName = Literal["package", "delta", "installed", "peak_ram"]

RemedyName = Literal[
    "leave-out-float",
    "leave-out-twin",
    "fewer-golden-vectors",
    "eight-bit-table",
    "eight-bit-weights",
    "precision",
    "prune-rows",
    "narrow-layer",
    "factor-layer",
    "smaller-input",
]


@dataclass(frozen=True, slots=True)
class Remedy:
    """One way to need fewer bytes.

    Args:
        what: its name, for programs.
        subject: the file, tensor or input that becomes smaller.
        saves_bytes: by itself, of what the budget counts.
        estimated: the saving is not read off but told from sizes in proportion.
        enough: by itself it brings the total under the budget.
        enough_together: together with those listed before it.
        how: what to do, in words.
    """

    what: RemedyName
    subject: str
    saves_bytes: int
    estimated: bool
    enough: bool
    enough_together: bool
    how: str

    def __str__(self) -> str:
        about = "about " if self.estimated else ""
        return f"{self.how}: saves {about}{format_bytes(self.saves_bytes)}, {self._reach()}"

    def _reach(self) -> str:
        if self.enough:
            return "enough by itself"
        return "enough with those above" if self.enough_together else "not enough"


@dataclass(frozen=True, slots=True)
class OverBudget:
    """A budget that a model cannot keep, told before it is converted.

    Args:
        what: the budget.
        told_bytes: what it counts, as forecast.
    """

    what: BudgetName
    limit_bytes: int
    told_bytes: int
    remedies: tuple[Remedy, ...]
