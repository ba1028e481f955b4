"""A measurement held against the baseline: the run that was accepted for its package and device.

What a gate needs is said before the measurement; what it found is a verdict among the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from edgesdk.data.samples import Samples
from edgesdk.errors import HistoryError, MalformedFile
from edgesdk.flows.installing import Say
from edgesdk.flows.runs import find_baseline, history, require_baseline, side_of
from edgesdk.history.store import Wanted
from edgesdk.serial import to_dict
from edgesdk.targets.types import GateBounds
from edgesdk.validate.adding import with_verdicts
from edgesdk.validate.comparing import Side, latency_verdict, since_baseline
from edgesdk.validate.statistics import pairs_needed
from edgesdk.values.report import Findings
from edgesdk.values.run import SeenResults, seen
from edgesdk.values.verdict import Verdict

F = TypeVar("F", bound=Findings)

ASSUMED_DISCORDANCE = 0.05
"""Share of samples that only one of two models gets right, where no earlier run tells it."""


def against_baseline(findings: F, bound: float | None, baseline: str | None) -> F:
    """Hold the latency against the baseline, where a run or a bound is named; judge it by a bound.

    Args:
        bound: see `regression_bound`.
        baseline: the id of a run, instead of the accepted one.
    """
    if bound is None and baseline is None:
        return findings
    now = Side("this run", "", seen(to_dict(findings), "this run"))
    try:
        before = _before(now.results, baseline)
    except (HistoryError, MalformedFile) as error:
        reason = f"{error.message}: {error.hint}" if error.hint else error.message
        return _without(findings, bound, reason)
    since = since_baseline(before, now)
    findings = dataclasses.replace(findings, since=since)
    if bound is None:
        return findings
    verdict = latency_verdict(since.latency, bound, f"the baseline, {before.called}")
    return with_verdicts(findings, [verdict])


def resolve_baseline(baseline: str | None) -> str | None:
    """The id of the run that is named as the baseline; to be called before anything is measured.

    Afterwards "last" would be whatever ended meanwhile.

    Raises:
        HistoryError: there is no such run, or nothing can be held against it.
    """
    return None if baseline is None else find_baseline(baseline).id


def _before(now: SeenResults, baseline: str | None) -> Side:
    store = history()
    if baseline is not None:
        return side_of(store, find_baseline(baseline))
    return side_of(store, require_baseline(store, now.device.name, now.installed.name))


def _without(findings: F, bound: float | None, reason: str) -> F:
    """The gate was not measured; where there is none, the baseline that was named is a caveat."""
    if bound is None:
        caveat = f"It was not held against the baseline: {reason}."
        return dataclasses.replace(findings, caveats=(*findings.caveats, caveat))
    verdict = Verdict(
        *("latency_regression", "Latency added since the baseline", "percent", bound, None),
        "not measured",
        reason,
        asked=True,
    )
    return with_verdicts(findings, [verdict])


def regression_bound(gates: Sequence[GateBounds]) -> float | None:
    """By how many percent the latency may be worse; the last that says so wins, None if none."""
    asked = (layer.max_latency_regression_percent for layer in reversed(gates))
    return next((bound for bound in asked if bound is not None), None)


def tell_samples_needed(samples: Samples, bound_points: float | None, say: Say) -> None:
    """Say how many samples the gate of accuracy needs, and how many there are.

    How often just one of the models is right decides it; that is taken from the latest kept run on
    the same data, or else assumed.
    """
    if bound_points is None or not 0 < bound_points <= 100 or samples.labels is None:
        return
    discordance, source = _discordance(samples)
    if 100 * discordance < bound_points:  # So large a drop takes at least that many.
        discordance, source = bound_points / 100, f"{source} less, but a drop takes as many"
    needed = pairs_needed(bound_points / 100, discordance)
    enough = "" if samples.count >= needed else ": a verdict may be within uncertainty"
    say(
        f"to see a drop of {bound_points:g} points with 95 % confidence and 80 % power, {needed}"
        f" samples are needed where {100 * discordance:.1f} % of them are discordant ({source});"
        f" found {samples.count}{enough}"
    )


def _discordance(samples: Samples) -> tuple[float, str]:
    """What share of the samples just one model got right, and who says so."""
    store = history()
    try:
        for head in reversed(store.heads(Wanted())):
            if head.data_sha256 == samples.sha256 and head.drop_points is not None:
                found = seen(store.load(head).document, f"run {head.id}")
                return _share(found), f"as in run {head.id}"
    except (HistoryError, MalformedFile):
        pass  # What is wrong with it is said when this measurement is to be kept.
    return ASSUMED_DISCORDANCE, "assumed"


def _share(results: SeenResults) -> float:
    """At least one sample in the data, as none among so many does not mean none ever."""
    predictions = results.predictions
    if predictions is None or predictions.labels is None or predictions.float_top1 is None:
        raise MalformedFile("found no predictions of both models")
    triples = zip(predictions.labels, predictions.float_top1, predictions.int8_top1, strict=True)
    found = sum((first == label) != (second == label) for label, first, second in triples)
    return max(found, 1) / len(predictions.labels)
