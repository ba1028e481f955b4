"""Whether a measurement is one: the stamp that each timed model gets, with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesdk.values.results import Role

Stamp = Literal["valid", "doubtful", "invalid"]


@dataclass(frozen=True, slots=True)
class Validity:
    """One model's latencies, stamped.

    Args:
        stamp: "invalid": the latencies are not those of this model on this device, and no gate is
            judged by them. "doubtful": they are, under conditions that a reader must know.
        reasons: why they are invalid, one sentence each; empty unless they are.
        remarks: what else must be known, one sentence each.
        competing_percent: CPU time that others took meanwhile, of all CPUs; None where the device
            does not tell.
    """

    role: Role
    stamp: Stamp
    reasons: tuple[str, ...]
    remarks: tuple[str, ...]
    competing_percent: float | None = None

    @property
    def is_valid(self) -> bool:
        """The latencies may be used, doubtful or not."""
        return self.stamp != "invalid"
