"""Two runs, one held against the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesdk.values.latency_comparison import Difference, LatencyComparison
from edgesdk.values.run import RunHead
from edgesdk.values.verdict import Estimate, Status, Verdict

AccuracyWord = Literal["better", "worse", "no difference shown", "cannot be compared"]


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
class MetricComparison:
    """A metric beyond top-1 of the converted model in both runs, side by side.

    A run keeps its value and no outputs that could be paired, so that no test tells chance from a
    change; each has its own interval.

    Args:
        unit: of both values.
        reason: why they say nothing of each other; "" where they stand side by side.
        before, after: None where that run does not have it.
    """

    name: str
    title: str
    unit: Literal["percent", "own"]
    reason: str
    before: Estimate | None
    after: Estimate | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of the earlier run in the later one.

    Args:
        differences: what else is not the same, the gravest first.
        latencies: of each role that both runs timed, and of the converted model in any case.
        accuracy: None where neither run predicted anything.
        metrics: of both runs, those of the earlier one first.
        cautions: what a reader must know before believing it, in sentences.
        verdicts: of the gates that were asked for.
        exit_code: 0; 1 if a gate failed; 6 if nothing could be compared, or a gate not be judged.
    """

    before: RunHead
    after: RunHead
    differences: tuple[Difference, ...]
    latencies: tuple[LatencyComparison, ...]
    accuracy: AccuracyComparison | None
    metrics: tuple[MetricComparison, ...]
    cautions: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    outcome: Status
    exit_code: int
