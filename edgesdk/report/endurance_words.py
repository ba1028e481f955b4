"""A long run in words, the same for terminal and page."""

from __future__ import annotations

from collections.abc import Iterator

from edgesdk.report.wording import count_text, device_kind, energy_text, interval_text, value_text
from edgesdk.text import plain
from edgesdk.units import format_ns
from edgesdk.values.endurance import Endurance
from edgesdk.values.verdict import Estimate

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
    gave_way, settled = found.gave_way, found.settled
    yield (
        "Gave way",
        "never, as far as it tells"
        if gave_way is None
        else f"after {duration_text(gave_way.at_s)}: {gave_way.sentence}",
    )
    if settled is None:
        yield "Settled", "no: the latency still changed at the end"
    else:
        change = 100 * (settled.p50.value / found.first_p50_ns - 1)
        yield "Settled", f"from {duration_text(settled.from_s)} on, {change:+.0f} % to the first"
        yield "Steady p50", estimate_text(settled.p50)
        yield "Steady p90", estimate_text(settled.p90)
    yield "Energy", "; ".join(map(energy_text, found.energy)) or "not measured: no power sensor"


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
