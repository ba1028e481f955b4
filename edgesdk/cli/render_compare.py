"""Two runs held against each other, for people: what else differs, what moved, the gates."""

from __future__ import annotations

from dataclasses import astuple

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from edgesdk.cli.moments import minute
from edgesdk.cli.output import table
from edgesdk.report.changes import HEADINGS, chance_text, change_rows
from edgesdk.report.terminal import gates_table
from edgesdk.report.wording import interval_text, p_text, value_text
from edgesdk.text import plain
from edgesdk.values.comparison import AccuracyComparison, Comparison, MetricComparison
from edgesdk.values.latency_comparison import LatencyComparison
from edgesdk.values.results import Role
from edgesdk.values.run import RunHead
from edgesdk.values.verdict import Estimate, Unit

_TITLES: dict[Role, str] = {
    "int8": "Latency of the converted model",
    "float": "Latency of the float model",
}


def comparison(console: Console, compared: Comparison) -> None:
    """All of it."""
    _line(console, f"from {_run(compared.before)}")
    _line(console, f"to   {_run(compared.after)}")
    if compared.differences:
        _line(console, "What else is not the same:")
        listed = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 2))
        for each in compared.differences:
            listed.add_row(*map(_safe, (each.what, each.before, "->", each.after)))
        console.print(listed)
    for latency in compared.latencies:
        _latency(console, latency)
    if compared.accuracy is not None:
        _accuracy(console, compared.accuracy)
    for metric in compared.metrics:
        _metric(console, metric)
    if compared.verdicts:
        console.print(Padding(gates_table(compared.verdicts), (1, 0, 0, 0)))
    for caution in compared.cautions:
        _line(console, f"* {caution}")


def _run(head: RunHead) -> str:
    mark = ", the baseline" if head.baseline else ""
    made = minute(head.created)
    return f"run {head.id} of {made}: {head.package} {head.version} on {head.place}{mark}"


def _latency(console: Console, latency: LatencyComparison) -> None:
    _heading(console, _TITLES[latency.role], latency.word, latency.reason)
    if not latency.changes:
        return
    shown = table("", *HEADINGS)
    for row in change_rows(latency):
        shown.add_row(*astuple(row))
    console.print(shown)
    if said := chance_text(latency):
        _line(console, said)


def _accuracy(console: Console, accuracy: AccuracyComparison) -> None:
    _heading(console, "Accuracy of the converted model", accuracy.word, accuracy.reason)
    if accuracy.drop is None or accuracy.mcnemar_p is None:
        return
    rows: tuple[tuple[str, Estimate | None, Unit], ...] = (
        ("before", accuracy.before_percent, "percent"),
        ("after", accuracy.after_percent, "percent"),
        ("lost", accuracy.drop, "points"),
    )
    shown = table("", "", "", "95 % interval")
    for name, estimate, unit in rows:
        shown.add_row(name, value_text(estimate, unit), interval_text(estimate, unit))
    console.print(shown)
    _line(
        console,
        f"Of {accuracy.drop.n} samples {accuracy.before_only} were right before only,"
        f" {accuracy.after_only} after only; McNemar's p {p_text(accuracy.mcnemar_p)}.",
    )


def _metric(console: Console, metric: MetricComparison) -> None:
    _heading(
        console,
        f"{_safe(metric.title)} of the converted model",
        "cannot be compared" if metric.reason else "side by side",
        metric.reason or "no outputs are kept to pair, so that no test tells chance from a change",
    )
    shown = table("", "", "", "95 % interval", "samples")
    for name, estimate in (("before", metric.before), ("after", metric.after)):
        if estimate is not None:
            value, interval = (each(estimate, metric.unit) for each in (value_text, interval_text))
            shown.add_row(name, value, interval, str(estimate.n))
    console.print(shown)


def _heading(console: Console, title: str, word: str, reason: str) -> None:
    console.print()
    told = f": {reason}" if reason else ""
    console.print(f"[bold]{title}: {word}[/]{_safe(told)}", soft_wrap=True)


def _line(console: Console, text: str) -> None:
    console.print(plain(text), markup=False, soft_wrap=True)


def _safe(text: str) -> str:
    return plain(text).replace("[", "\\[")
