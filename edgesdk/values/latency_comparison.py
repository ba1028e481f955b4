"""A latency held against an earlier one: how it moved, and what else is not the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesdk.values.results import Role
from edgesdk.values.verdict import Estimate

LatencyWord = Literal["faster", "slower", "no difference shown", "cannot be compared"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something besides the figures that is not the same in both runs.

    Args:
        what: e.g. "threads".
        before, after: as a reader would write it.
    """

    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class QuantileChange:
    """How one quantile of the latency moved.

    Args:
        probability: 0.5 for the median.
        before, after: of each run, in nanoseconds.
        ratio: after over before; above 1 is slower. Its `n` counts turns of both.
        p: of "both runs are from one distribution", by permuting turns.
        word: "slower" and "faster" only where the test and the interval agree.
    """

    probability: float
    before: Estimate
    after: Estimate
    ratio: Estimate
    p: float
    word: LatencyWord


@dataclass(frozen=True, slots=True)
class LatencyComparison:
    """One model's latency in both runs.

    Args:
        role: "int8" is the converted model; "float" the reference, which serves as a control.
        word: that of the median, or of the 95th percentile where only that one moved.
        reason: why it cannot be compared; "" where it can.
        slower_chance: that a run picked from the later measurement is slower than one picked from
            the earlier, ties counting half; 0.5 is no difference. None where not compared.
        changes: the median, and the 95th percentile where both runs support it.
    """

    role: Role
    word: LatencyWord
    reason: str
    slower_chance: float | None
    changes: tuple[QuantileChange, ...]


@dataclass(frozen=True, slots=True)
class SinceBaseline:
    """This measurement's latency held against an earlier run's.

    Args:
        baseline: what that run is called, e.g. "run 12-3fa9c2d1".
        differences: what else is not the same, the gravest first.
        latency: of the converted model.
        cautions: what a reader must know before believing it, in sentences.
    """

    baseline: str
    differences: tuple[Difference, ...]
    latency: LatencyComparison
    cautions: tuple[str, ...]
