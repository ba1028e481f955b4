"""Metrics beyond top-1: collect both models' outputs on the device, score them here, judge."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesdk.data.samples import Samples
from edgesdk.data.truth import open_truth
from edgesdk.devices.agent import AgentSession
from edgesdk.errors import DataError, UsageError
from edgesdk.metrics.table import find_metric
from edgesdk.models.types import TensorSpec
from edgesdk.progress import Progress
from edgesdk.targets.types import GateBounds
from edgesdk.units import GIB, format_bytes
from edgesdk.validate.adding import with_verdicts
from edgesdk.validate.resampling import summarize_metric
from edgesdk.values.metric import Metric, MetricSummary, Outputs, Truth
from edgesdk.values.report import Findings
from edgesdk.values.results import Predictions, Prepared, Results
from edgesdk.values.verdict import Verdict

_ROLES = ("float", "int8")
MOST_BYTES = 2 * GIB
"""Of outputs of both models, which are held in memory."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured, known to be possible before the device is visited.

    Args:
        bounds: by metric, the most that it may be worse.
    """

    metrics: tuple[Metric, ...]
    truth: Truth
    samples: Samples
    bounds: Mapping[str, float]


def want(
    names: Sequence[str],
    samples: Samples,
    inputs: Sequence[TensorSpec],
    *,
    truth: str | None,
    decode: str | None,
    gates: Sequence[GateBounds],
) -> Wanted:
    """Read the truth and find the metrics.

    Raises:
        UsageError: no such metric, one twice, or a bound for one that is not measured.
        ToolchainMissing: a metric's library is not installed.
        DataError: the truth cannot be read.
    """
    if repeated := {name for name in names if list(names).count(name) > 1}:
        raise UsageError(f"found --metric {', '.join(sorted(repeated))} more than once")
    asked = (layer.max_metric_drop for layer in reversed(gates))
    bounds = next((each for each in asked if each is not None), {})
    if unknown := sorted(set(bounds) - set(names)):
        raise UsageError(
            f"found a bound for {', '.join(unknown)}, expected one for a metric that is measured",
            hint=f"measure it, too: --metric {unknown[0]}",
        )
    found = tuple(find_metric(name, decode) for name in names)
    without = {name for spec in inputs for name in spec.names}
    return Wanted(found, open_truth(truth, samples, without), samples, bounds)


def collect(agent: AgentSession, samples: Samples, progress: Progress) -> tuple[Outputs, Outputs]:
    """Both models' outputs for every sample; they are opened as "float" and "int8".

    Raises:
        DataError: too much to hold.
    """
    found: tuple[list[tuple[npt.NDArray[Any], ...]], ...] = ([], [])
    size = 0
    for outputs in agent.infer(_ROLES, samples.stream(), samples.count, progress):
        for role, kept in zip(_ROLES, found, strict=True):
            kept.append(outputs[role])
            size += sum(array.nbytes for array in outputs[role])
        if size > MOST_BYTES:
            raise DataError(
                f"the outputs take {format_bytes(size)} after {len(found[0])} of {samples.count}"
                f" samples, expected at most {format_bytes(MOST_BYTES)} for all",
                hint="evaluate on fewer samples",
            )
    return found[0], found[1]


def with_predictions(
    results: Results, samples: Samples, outputs: tuple[Outputs, Outputs]
) -> Results:
    """The results with the classes that the outputs stand for, where the samples are labelled."""
    if samples.labels is None:
        return results
    top1 = [tuple(int(np.argmax(sample[0])) for sample in each) for each in outputs]
    labels = tuple(int(label) for label in samples.labels)
    prepared: Prepared = "as given" if samples.pictures is None else "workstation"
    return dataclasses.replace(results, predictions=Predictions(labels, top1[0], top1[1], prepared))


def with_metrics(findings: Findings, wanted: Wanted, outputs: tuple[Outputs, Outputs]) -> Findings:
    """The findings with every metric that is wanted, and the verdicts on them."""
    found = {
        metric.name: summarize_metric(metric, outputs, wanted.truth) for metric in wanted.metrics
    }
    metrics = tuple(each for each in found.values() if each is not None)
    undefined = tuple(
        f"{metric.title} is not defined for these samples: one of its classes has none."
        for metric in wanted.metrics
        if found[metric.name] is None
    )
    caveats = (*findings.caveats, *undefined)
    findings = dataclasses.replace(findings, metrics=metrics, caveats=caveats)
    return with_verdicts(findings, tuple(_verdicts(wanted, found)))


def _verdicts(wanted: Wanted, found: Mapping[str, MetricSummary | None]) -> Iterator[Verdict]:
    for metric in wanted.metrics:
        bound = wanted.bounds.get(metric.name)
        if bound is None:
            continue
        gate, title, summary = f"metric {metric.name}", f"{metric.title} lost", found[metric.name]
        if summary is None:
            reason = "it is not defined for these samples"
            yield Verdict(
                gate, title, metric.drop_unit, bound, None, "not measured", reason, asked=True
            )
            continue
        passed = summary.drop.value <= bound
        yield Verdict(
            gate,
            title,
            metric.drop_unit,
            bound,
            summary.drop,
            "pass" if passed else "fail",
            _doubt(summary, bound, passed),
            asked=True,
        )


def _doubt(summary: MetricSummary, bound: float, passed: bool) -> str:
    """Says so when the interval reaches across the bound; empty when it does not."""
    interval = summary.drop.interval
    if interval is None:
        return "" if math.isfinite(summary.drop.value) else "it is no number"
    across = interval.high > bound if passed else interval.low <= bound
    return "within uncertainty: the 95 % interval reaches across the bound" if across else ""
