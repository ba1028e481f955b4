"""What the commands of the history print for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from edgesdk.cli import render
from edgesdk.cli.moments import minute
from edgesdk.cli.tables import NAMES, Column, Listing
from edgesdk.report.endurance_words import duration_text
from edgesdk.text import plain
from edgesdk.values.endurance import Endurance
from edgesdk.values.report import Findings, Report
from edgesdk.values.run import RunHead
from edgesdk.values.verdict import with_symbol

if TYPE_CHECKING:
    from edgesdk.flows.runs import Exported


def runs(console: Console, heads: Sequence[RunHead], sought: Mapping[str, str | None]) -> None:
    """One row a run.

    Args:
        sought: what the list was narrowed by; None where it was not.
    """
    if not heads:
        line(console, _none(sought))
        return
    listed = Listing(
        Column("run"),
        Column("made", spare=1),
        Column("of", spare=3),
        Column("device", fold=NAMES),
        Column("package", fold=NAMES),
        Column("p50", right=True),
        Column("drop", right=True, spare=2),
        Column("outcome", fold=NAMES),
    )
    for head in heads:
        listed.add(
            head.id,
            minute(head.created),
            head.command,
            head.place,
            f"{head.package} {head.version}",
            "-" if head.p50_ns is None else with_symbol("ns", head.p50_ns),
            "-" if head.drop_points is None else with_symbol("points", head.drop_points),
            ", ".join(_told(head)),
        )
    listed.show(console)


def _none(sought: Mapping[str, str | None]) -> str:
    asked = [f"{name} {value}" for name, value in sought.items() if value is not None]
    if not asked:
        return "no runs are kept yet: edgesdk bench, eval and deploy keep theirs"
    return f"none of the runs that are kept is of {', '.join(asked)}: edgesdk runs ls lists them"


def _told(head: RunHead) -> Iterator[str]:
    """What its gates came to, and what else a reader must know before taking its figures."""
    long = head.command == "sustained"
    yield "no verdict" if long and head.outcome == "not measured" else head.outcome
    if long and head.p50_ns is None:
        yield "not settled"
    if head.stamp in ("invalid", "doubtful") and head.stamp != head.outcome:
        yield f"latency {head.stamp}"
    if head.stamp is None and head.p50_ns is not None:
        yield "validity not known"
    if head.steady_p90_ns is not None:
        yield f"p90 {with_symbol('ns', head.steady_p90_ns)}"
    if head.gave_way_s is not None:
        yield f"gave way after {duration_text(head.gave_way_s)}"
    if head.baseline:
        yield "baseline"


def shown(console: Console, findings: Findings | Endurance) -> None:
    """A run's report."""
    if isinstance(findings, Endurance):
        render.endurance(console, findings)
    elif isinstance(findings, Report):
        render.report(console, findings)
    else:
        render.findings(console, findings)


def accepted(console: Console, head: RunHead) -> None:
    """The new baseline."""
    line(console, f"run {head.id} is the baseline of {head.package} on {head.device}")


def removed(console: Console, heads: Sequence[RunHead]) -> None:
    """What is gone."""
    for head in heads:
        was = f", which was the baseline of {head.package} on {head.device}"
        line(console, f"forgot run {head.id}{was if head.baseline else ''}")


def exported(console: Console, done: Exported) -> None:
    """How many went where."""
    there = f"; {done.skipped} were there already" if done.skipped else ""
    line(console, f"wrote {done.runs} runs to {done.output}{there}")


def line(console: Console, text: str) -> None:
    """A line of plain text, whatever is in it."""
    console.print(plain(text), markup=False, soft_wrap=True)
