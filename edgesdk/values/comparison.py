"""Two runs, one held against the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesdk.values.results import Role
from edgesdk.values.run import RunHead
from edgesdk.values.verdict import Estimate, Status, Verdict

LatencyWord = Literal["faster", "slower", "no difference shown", "cannot be compared"]
AccuracyWord = Literal["better", "worse", "no difference shown", "cannot be compared"]


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
class AccuracyComparison:
    """The converted model's top-1 accuracy in both runs, on the same samples.

    Args:
        reason: why it cannot be compared; "" where it can.
        before_percent, after_percent: share of samples classified correctly; None where not
            compared, as the rest.
        drop: before minus after in points, paired.
        before_only, after_only: samples that only that run got right.
        mcnemar_p: two-sided exact p-value of "both are right equally often".
    """

    word: AccuracyWord
    reason: str
    before_percent: Estimate | None
    after_percent: Estimate | None
    drop: Estimate | None
    before_only: int
    after_only: int
    mcnemar_p: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of the earlier run in the later one.

    Args:
        differences: what else is not the same, the gravest first.
        latencies: of each role that both runs timed, and of the converted model in any case.
        accuracy: None where neither run predicted anything.
        cautions: what a reader must know before believing it, in sentences.
        verdicts: of the gates that were asked for.
        exit_code: 0; 1 if a gate failed; 6 if nothing could be compared, or a gate not be judged.
    """

    before: RunHead
    after: RunHead
    differences: tuple[Difference, ...]
    latencies: tuple[LatencyComparison, ...]
    accuracy: AccuracyComparison | None
    cautions: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    outcome: Status
    exit_code: int
