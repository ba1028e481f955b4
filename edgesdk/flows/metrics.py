"""Metrics beyond top-1: collect both models' outputs on the device, score them here, judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgesdk.data.samples import Samples
from edgesdk.data.truth import open_truth
from edgesdk.devices.agent import AgentSession
from edgesdk.errors import DataError, UsageError
from edgesdk.metrics.table import DECODED, find_metric
from edgesdk.models.types import TensorSpec
from edgesdk.progress import Progress
from edgesdk.targets.types import GateBounds
from edgesdk.units import GIB, format_bytes
from edgesdk.validate.adding import with_verdicts
from edgesdk.validate.judging import doubt
from edgesdk.validate.resampling import summarize_metric
from edgesdk.values.metric import Metric, MetricSummary, Outputs, Truth
from edgesdk.values.report import Findings
from edgesdk.values.results import Predictions, Prepared, Results
from edgesdk.values.verdict import Status, Verdict

F = TypeVar("F", bound=Findings)

_ROLES = ("float", "int8")
MOST_BYTES = 2 * GIB
"""Of outputs of both models, which are held in memory."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Metrics as a user asks for them.

    Args:
        names: see `edgesdk.metrics.table.find_metric`.
        truth: `FILE.npz` or `FILE.npz#SPLIT` with what they judge by, one row a sample; the
            dataset's own arrays unless given.
        decode: "module:function" that makes of one sample's outputs what "map" or "wer" judges.
    """

    names: tuple[str, ...] = ()
    truth: str | None = None
    decode: str | None = None


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


def find_metrics(asked: Asked, gates: Sequence[GateBounds]) -> tuple[Metric, ...]:
    """The metrics that are asked for; nothing is read but the user's own modules.

    Raises:
        UsageError: no such metric, one twice, a bound for one that is not measured, or a truth or
            decoding that none of them needs.
        ToolchainMissing: a metric's library is not installed.
        DataError: a function cannot be imported.
    """
    names = asked.names
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"found the metric {', '.join(sorted(repeated))} more than once")
    if unknown := sorted(set(_bounds(gates)) - set(names)):
        raise UsageError(
            f"found a bound for {', '.join(unknown)}, expected one for a metric that is measured",
            hint=f"measure it, too: --metric {unknown[0]}, or metrics in edgesdk.toml",
        )
    if asked.truth is not None and not names:
        raise UsageError("found a truth (--truth) and no metric that is judged by it (--metric)")
    if asked.decode is not None and not set(names) & set(DECODED):
        raise UsageError(
            f"found a decoding (--decode) and no --metric {' or '.join(DECODED)}, which alone are"
            " decoded"
        )
    return tuple(find_metric(name, asked.decode) for name in names)


def want(
    asked: Asked,
    samples: Samples | None,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    gates: Sequence[GateBounds],
) -> Wanted | None:
    """Find the metrics, read the truth, and see that each can judge such outputs by it.

    Args:
        samples: to run both models on; None without any.
        inputs, outputs: of the float model.

    Returns:
        None where no metric is asked for.

    Raises:
        UsageError: as `find_metrics`; or there are no samples.
        ToolchainMissing: a metric's library is not installed.
        DataError: the truth cannot be read, or does not fit.
    """
    found = find_metrics(asked, gates)
    if not found:
        return None
    if samples is None:
        raise UsageError(
            f"found the metric {found[0].name} and no data to measure it on",
            hint="give --dataset, or set dataset in edgesdk.toml",
        )
    truth = open_truth(asked.truth, samples, {name for spec in inputs for name in spec.names})
    for metric in found:
        metric.check(truth, outputs)
    if outputs[0].scores == 1:  # Its labels are for metrics alone: there is no top-1.
        samples = dataclasses.replace(samples, labels=None)
    return Wanted(found, truth, samples, _bounds(gates))


def _bounds(gates: Sequence[GateBounds]) -> Mapping[str, float]:
    """By metric, of the last layer that says any."""
    asked = (layer.max_metric_drop for layer in reversed(gates))
    return next((each for each in asked if each is not None), {})


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


def with_metrics(
    findings: F, wanted: Wanted, outputs: tuple[Outputs, Outputs], progress: Progress
) -> F:
    """The findings with every metric that is wanted, and the verdicts on them."""
    metrics = []
    for metric in wanted.metrics:
        with progress.task(f"judging by {metric.name}", metric.resamples) as advance:
            found = summarize_metric(metric, outputs, wanted.truth, advance=advance)
        metrics.append(found)
    findings = dataclasses.replace(findings, metrics=tuple(metrics))
    verdicts = (
        _verdict(each, wanted.bounds[each.name]) for each in metrics if each.name in wanted.bounds
    )
    return with_verdicts(findings, tuple(verdicts))


def _verdict(found: MetricSummary, bound: float) -> Verdict:
    if found.drop is None:
        status: Status = "not measured"
        reason = f"it is not defined for these samples: {found.reason}"
    else:
        passed = found.drop.value <= bound
        status = "pass" if passed else "fail"
        reason = (
            f"without an interval: {found.reason}"
            if found.drop.interval is None
            else doubt(found.drop_unit, bound, found.drop, passed)
        )
    gate, title = f"metric {found.name}", f"{found.title} lost"
    return Verdict(gate, title, found.drop_unit, bound, found.drop, status, reason, asked=True)
