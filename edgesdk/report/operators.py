"""What computed the model on the device and where its time went, in words. Lays nothing out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgesdk.report.placement import moved_text, units_text
from edgesdk.report.wording import count_text, shortened
from edgesdk.units import format_ns
from edgesdk.values.placement import OperatorShare, PlacementSummary, ProfileSummary
from edgesdk.values.report import Findings, role_name

MOST_SHOWN = 15
OWN_KERNELS = "the runtime's own kernels"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a profile: an operator, or all that are not shown, in words.

    Args:
        share: of the operators' time, 0 to 1.
    """

    name: str
    type: str
    where: str
    time: str
    percent: str
    share: float


def placement_facts(findings: Findings) -> Iterator[tuple[str, str]]:
    """Name and text of each fact of where the converted model really ran."""
    found = findings.placement
    if found is None:
        return
    if not found.units:
        yield "Placement", f"not measured: {found.source}"
        return
    yield "Placement", f"{units_text(found.units)}, by {found.source}"
    yield "Computed by", _delegates(found.delegates)
    if found.accelerated_fraction is not None and (
        found.forecast_fraction is not None or found.accelerated_fraction > 0
    ):
        yield "Accelerated", _accelerated(found)
    fallbacks = findings.results.installed.fallbacks
    if fallbacks:
        told = ", ".join(f"{why}: {count}" for why, count in sorted(fallbacks.items()))
        yield "Fallbacks", f"runs that applications had from the fallback model, {told}"


def placement_lines(found: PlacementSummary | None) -> tuple[str, ...]:
    """Operators on the CPU that were forecast elsewhere."""
    return () if found is None else tuple(moved_text(each) for each in found.moved)


def profile_title(findings: Findings, profile: ProfileSummary) -> str:
    """Whose operators these are."""
    return f"{role_name(profile.role, findings.precision)} model, operator by operator"


def profile_text(profile: ProfileSummary) -> str:
    """What the times are, and what profiling cost; or why there are none."""
    if not profile.operators:
        return f"Not measured: {profile.source}."
    return " ".join(_sentences(profile))


def rows(profile: ProfileSummary, most: int = MOST_SHOWN) -> tuple[Row, ...]:
    """The slowest operators, the others in a last line."""
    shown, rest = profile.operators[:most], profile.operators[most:]
    listed = [_row(each) for each in shown]
    if rest:
        share = sum(each.share for each in rest)
        time = sum(each.typical_ns for each in rest)
        name = f"{count_text(len(rest), 'other operator')}"
        listed.append(Row(name, "", "", format_ns(time), _percent(share), share))
    return tuple(listed)


def _sentences(profile: ProfileSummary) -> Iterator[str]:
    runs = count_text(profile.runs, "run")
    yield (
        f"By {profile.source}: the {profile.statistic} of {runs} each, in steps of"
        f" {format_ns(profile.resolution_ns)}; {format_ns(profile.sum_ns)} together."
    )
    if profile.latency_ns is not None:
        share = 100 * profile.sum_ns / profile.latency_ns
        yield f"That is {share:.0f} % of the clean median latency, {format_ns(profile.latency_ns)}."
    if profile.latency_ns is not None and profile.sum_ns > profile.latency_ns:
        yield "Timing them costs more than these operators take: the shares are a hint, no more."
    if profile.overhead_percent is not None and profile.profiled_ns is not None:
        yield (
            f"Profiled runs took {format_ns(profile.profiled_ns)},"
            f" {abs(profile.overhead_percent):.0f} %"
            f" {'more' if profile.overhead_percent >= 0 else 'less'} than clean ones."
        )


def _row(each: OperatorShare) -> Row:
    where = f"{each.unit}, {shortened(each.delegate)}" if each.delegate else each.unit
    return Row(
        each.name, each.type, where, format_ns(each.typical_ns), _percent(each.share), each.share
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _delegates(delegates: Mapping[str, int]) -> str:
    ordered: Sequence[tuple[str, int]] = sorted(delegates.items(), key=lambda each: -each[1])
    return ", ".join(f"{count} by {name or OWN_KERNELS}" for name, count in ordered)


def _accelerated(found: PlacementSummary) -> str:
    text = f"{100 * (found.accelerated_fraction or 0):.1f} % of the operators"
    if found.forecast_fraction is not None:
        text += f" ({100 * found.forecast_fraction:.1f} % forecast)"
    if found.accelerated_macs_fraction is not None:
        text += f", {100 * found.accelerated_macs_fraction:.1f} % of their multiply-accumulates"
    if found.accelerated_time_fraction is not None:
        text += f", {100 * found.accelerated_time_fraction:.1f} % of their time"
    return text
