"""A long run in words, the same for terminal and page."""

from __future__ import annotations

from collections.abc import Iterator

from edgesdk.report.wording import (
    count_text,
    device_kind,
    energy_text,
    interval_text,
    reason_text,
    value_text,
)
from edgesdk.text import plain
from edgesdk.units import format_ns
from edgesdk.values.endurance import Endurance
from edgesdk.values.verdict import Estimate, with_symbol

KEPT = (
    "Counts, p50 and p90 of each window are of all its runs; the figures of the settled part are"
    " of every n-th run, as many as were kept, each standing for those left out."
)


def endurance_title(found: Endurance) -> str:
    """What ran where, and for how long."""
    installed, device = found.endured.installed, found.endured.device
    return plain(
        f"{installed.name} {installed.version} for {duration_text(found.seconds)} on"
        f" {device.name}{device_kind(device)}"
    )


def endurance_facts(found: Endurance) -> Iterator[tuple[str, str]]:
    """Name and value of each figure."""
    windows = found.endured.windows
    yield "Runs", f"{found.runs:,} in {count_text(len(windows), 'window')}"
    yield "At first", f"median {format_ns(found.first_p50_ns)}"
    yield "Gave way", _gave_way_text(found)
    yield from _settled_facts(found)
    yield "Energy", "; ".join(map(energy_text, found.energy)) or "not measured: no power sensor"
    if found.not_judged:
        yield "Not judged", f"{', '.join(found.not_judged)}: edgesdk bench and eval judge these"
    yield "Measurement", found.validity.stamp


def gate_facts(found: Endurance) -> Iterator[tuple[str, str]]:
    """Each verdict in words, where there is no table of them."""
    for verdict in found.verdicts:
        measured = verdict.measured
        value = "" if measured is None else f", {value_text(measured, verdict.unit)}"
        most = f"at most {with_symbol(verdict.unit, verdict.bound)}"
        why = f": {reason_text(verdict)}" if verdict.reason else ""
        yield verdict.title, f"{verdict.status}{value}, {most}{why}"


def endurance_remarks(found: Endurance) -> tuple[str, ...]:
    """What makes it invalid, and what else must be known."""
    return (*found.validity.reasons, *found.validity.remarks)


def _gave_way_text(found: Endurance) -> str:
    if found.gave_way is not None:
        return f"after {duration_text(found.gave_way.at_s)}: {found.gave_way.sentence}"
    if found.unsettled is not None and found.unsettled.seconds_needed is not None:
        return "not seen; the run was too short to tell"
    return "never, as far as it tells"


def _settled_facts(found: Endurance) -> Iterator[tuple[str, str]]:
    settled, unsettled = found.settled, found.unsettled
    if unsettled is not None:
        word = "no" if unsettled.seconds_needed is None else "not known"
        yield "Settled", f"{word}: {unsettled.sentence}"
    if settled is None:
        return
    change = round(100 * (settled.p50.value / found.first_p50_ns - 1))  # A whole number has no -0.
    yield "Settled", f"from {duration_text(settled.from_s)} on, {change:+d} % to the first"
    for name, estimate in (("p50", settled.p50), ("p90", settled.p90), ("p95", settled.p95)):
        few = "too few samples were kept for it"
        yield f"Steady {name}", few if estimate is None else estimate_text(estimate)


def estimate_text(estimate: Estimate) -> str:
    """A latency with its interval."""
    interval = interval_text(estimate, "ns")
    return value_text(estimate, "ns") + (f" (95 % interval {interval})" if interval else "")


def duration_text(seconds: float) -> str:
    """A time as a person reads it: "42 s", "12 min 30 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")
