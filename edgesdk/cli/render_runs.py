"""What the commands of the history print for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from edgesdk.cli import render
from edgesdk.cli.output import table
from edgesdk.text import plain
from edgesdk.values.report import Findings, Report
from edgesdk.values.run import RunHead
from edgesdk.values.verdict import with_symbol

if TYPE_CHECKING:
    from edgesdk.flows.runs import Exported


def runs(console: Console, heads: Sequence[RunHead]) -> None:
    """One row a run."""
    if not heads:
        line(console, "no such runs are kept: edgesdk bench, eval and deploy keep theirs")
        return
    listed = table(
        "", "run", "made (UTC)", "of", "device", "package", "p50", "drop", "outcome", fixed="run"
    )
    for head in heads:
        listed.add_row(
            head.id,
            head.created[:16].replace("T", " "),
            head.command,
            _safe(head.place),
            f"{_safe(head.package)} {_safe(head.version)}",
            "-" if head.p50_ns is None else with_symbol("ns", head.p50_ns),
            "-" if head.drop_points is None else with_symbol("points", head.drop_points),
            head.outcome + (", baseline" if head.baseline else ""),
        )
    console.print(listed)


def shown(console: Console, findings: Findings) -> None:
    """A run's report."""
    if isinstance(findings, Report):
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


def _safe(text: str) -> str:
    return plain(text).replace("[", "\\[")
