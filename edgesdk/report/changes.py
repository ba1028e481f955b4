"""How a latency moved between two runs: words and rows, for terminals and pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgesdk.report.wording import p_text, value_text
from edgesdk.values.latency_comparison import LatencyComparison
from edgesdk.values.verdict import Estimate


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One quantile, as text."""

    name: str
    before: str
    after: str
    ratio: str
    interval: str
    p: str
    word: str


HEADINGS = ("", "before", "after", "after / before", "95 % interval", "p", "")


def change_rows(latency: LatencyComparison) -> Iterator[ChangeRow]:
    """The median, and the 95th percentile where it was compared."""
    for change in latency.changes:
        name = "median" if change.probability == 0.5 else f"p{100 * change.probability:.0f}"
        yield ChangeRow(
            name,
            value_text(change.before, "ns"),
            value_text(change.after, "ns"),
            f"{change.ratio.value:.3f} ({100 * (change.ratio.value - 1):+.1f} %)",
            _ends(change.ratio),
            p_text(change.p),
            change.word,
        )


def chance_text(latency: LatencyComparison) -> str:
    """How often the later is the slower of two runs; "" where that was not compared."""
    if latency.slower_chance is None:
        return ""
    chance = 100 * latency.slower_chance
    return f"A run of the later is slower than one of the earlier in {chance:.0f} %."


def _ends(ratio: Estimate) -> str:
    interval = ratio.interval
    return "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"
