"""The report for a terminal: the three numbers, the gates, the size, the caveats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgesdk.report.changes import HEADINGS, chance_text, change_rows
from edgesdk.report.operators import (
    placement_facts,
    placement_lines,
    profile_text,
    profile_title,
    rows,
)
from edgesdk.report.placement import conversion_facts, fallen_text, first, moved_text
from edgesdk.report.wording import (
    CACHE_KEPT,
    NOT_DEFINED,
    STAGE_NAMES,
    count_text,
    device_kind,
    device_tag,
    findings_title,
    headline,
    interval_text,
    joules_text,
    latency_problem,
    latency_title,
    metric_values,
    notice,
    p_text,
    reason_text,
    shortened,
    size_change,
    stages_problem,
    stages_text,
    stand_in,
    subtitle,
    summary,
    title,
    travel_text,
    value_text,
)
from edgesdk.text import plain
from edgesdk.units import format_bytes, format_ns
from edgesdk.values.latency_comparison import SinceBaseline
from edgesdk.values.placement import ProfileSummary
from edgesdk.values.report import Findings, Report, converted_name
from edgesdk.values.results import Role
from edgesdk.values.verdict import Estimate, Unit, Verdict, with_symbol

_STYLES = {
    "pass": "bold white on green",
    "pass in part": "bold black on yellow",
    "fail": "bold white on red",
    "invalid": "bold black on yellow",
    "not measured": "bold white on bright_black",
    "not in use": "bold white on red",
    "not signed": "bold black on yellow",
}
_BAR_CELLS = 24
_MOST_OPERATORS = 3
_MOST_NAME = 32


def render_terminal(report: Report) -> RenderableType:
    """A renderable for `Console.print`; needs 80 columns, does without colour."""
    return _layout(
        _heading(report, title(report), subtitle(report), not_in_use=report.package.unhealthy),
        _numbers(report, _rows(report, latency=True, accuracy=True)),
        report,
        _sizes(report),
        _conversion(report),
    )


def render_findings(findings: Findings) -> RenderableType:
    """The same for what was measured without converting first; leaves out what was not tried."""
    results = findings.results
    rows = _rows(findings, latency=bool(results.runs), accuracy=results.predictions is not None)
    below = () if findings.stages is None else (_stages(findings),)
    return _layout(
        _heading(findings, findings_title(findings), *below), _numbers(findings, rows), findings
    )


def _stages(findings: Findings) -> str:
    declared = findings.results.installed.stages
    return "" if declared is None else f"Whole runs: {stages_text(declared)}"


def _layout(
    heading: RenderableType,
    numbers: RenderableType,
    findings: Findings,
    *below: RenderableType,
) -> RenderableType:
    parts: list[RenderableType] = [heading, numbers]
    if findings.verdicts:
        parts.append(gates_table(findings.verdicts))
    if findings.since is not None:
        parts.append(_since(findings.since))
    if findings.placement is not None:
        parts.append(_on_device(findings))
    parts += (_profile(findings, each) for each in findings.profiles)
    parts += below
    if findings.caveats:
        parts.append(_caveats(findings.caveats))
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts))


def _heading(findings: Findings, heading: str, *below: str, not_in_use: str = "") -> RenderableType:
    lines: list[RenderableType] = [
        Text.assemble(_badge(headline(findings)), " ", (heading, "bold")),
        *(Text(line, "dim") for line in below),
        Text(summary(findings)),
    ]
    if not_in_use:
        lines.append(Text.assemble(_badge("not in use"), " ", plain(not_in_use)))
    if not findings.results.installed.signed_by:
        lines.append(_badge("not signed"))
    device = findings.results.device
    if word := stand_in(device):
        badge = (f" {word.upper()} DEVICE ", "bold black on yellow")
        lines.append(Text.assemble(badge, " ", (notice(device), "yellow")))
    return Group(*lines)


def _badge(word: str) -> Text:
    return Text(f" {word.upper()} ", _STYLES[word])


def _rows(findings: Findings, *, latency: bool, accuracy: bool) -> Table:
    table = _table("Measured", "", "95 % interval", "n")
    if latency:
        _add_latency(table, findings, "float")
        _add_latency(table, findings, "int8")
    if accuracy:
        _add_accuracy(table, findings)
    _add_metrics(table, findings)
    _add_speedup(table, findings)
    _add_stages(table, findings)
    return table


def _numbers(findings: Findings, table: Table) -> RenderableType:
    device = findings.results.device
    place = Text(f"On {plain(device.name)}{device_kind(device)}", "dim")
    return Group(place, table)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _add(table: Table, name: str, estimate: Estimate | None, unit: Unit, noun: str) -> None:
    detail = name.startswith(" ")
    table.add_row(
        Text(name, "" if detail else "bold"),
        Text(value_text(estimate, unit), "" if detail else "bold"),
        interval_text(estimate, unit),
        "" if estimate is None else count_text(estimate.n, noun),
    )


def _add_latency(table: Table, findings: Findings, role: Role) -> None:
    latency = findings.latency(role)
    name = f"{latency_title(findings, role)}{device_tag(findings.results.device)}"
    problem, _ = latency_problem(findings, role)
    validity = findings.validity(role)
    if latency is not None and problem == "invalid":
        table.add_row(Text(name, "bold"), Text("invalid", "bold yellow"), "why: see below")
        return
    _add(table, name, None if latency is None else latency.p50, "ns", "run")
    if latency is not None:
        _add(table, "  95 in 100 runs below", latency.p95, "ns", "run")
        if validity is not None:
            table.add_row("  measurement", validity.stamp, "see below" if validity.remarks else "")
        for energy in latency.energy:
            rail = Text(plain(f"on {energy.rail}"))
            table.add_row("  energy", joules_text(energy), rail, "idle power too")
    run = findings.results.run(role)
    is_gated = any(verdict.gate == "peak_ram" for verdict in findings.verdicts)
    if run is not None and run.latency.peak_rss_bytes is not None and not is_gated:
        table.add_row("  peak memory", format_bytes(run.latency.peak_rss_bytes))
    if run is not None and run.cold is not None:
        kept = "" if run.cold.cache_dropped else CACHE_KEPT
        table.add_row("  loading, cold", format_ns(run.cold.load_ns), kept)
        table.add_row("  loading, file in cache", format_ns(run.opened.load_ns))


def _add_accuracy(table: Table, findings: Findings) -> None:
    accuracy = findings.accuracy
    drop = None if accuracy is None else accuracy.drop
    _add(table, "Accuracy lost", drop, "points", "sample")
    if findings.results.predictions is not None:
        prepared = findings.results.predictions.prepared
        if prepared != "as given":
            table.add_row("  pictures prepared", f"on the {prepared}")
    if accuracy is not None:
        _add(table, "  float", accuracy.float_percent, "percent", "sample")
        name = converted_name(findings.precision)
        _add(table, f"  {name}", accuracy.int8_percent, "percent", "sample")
        table.add_row("  McNemar's p", p_text(accuracy.mcnemar_p))
    elif findings.agreement_percent is not None:
        _add(table, "  same class as float", findings.agreement_percent, "percent", "sample")


def _add_metrics(table: Table, findings: Findings) -> None:
    for metric in findings.metrics:
        lost = f"{metric.title} lost"
        if metric.drop is None:
            none, why = Text(NOT_DEFINED, "bold yellow"), Text(plain(metric.reason))
            table.add_row(Text(lost, "bold"), none, why, count_text(metric.samples, "sample"))
        elif metric.drop.interval is None:
            value = Text(value_text(metric.drop, metric.drop_unit), "bold")
            count = count_text(metric.samples, "sample")
            table.add_row(Text(lost, "bold"), value, Text(plain(metric.reason)), count)
        else:
            _add(table, lost, metric.drop, metric.drop_unit, "sample")
        for name, estimate in metric_values(findings, metric):
            _add(table, f"  {name}", estimate, metric.unit, "sample")


def _add_speedup(table: Table, findings: Findings) -> None:
    if findings.speedup is not None:
        _add(
            table,
            f"Speed-up{device_tag(findings.results.device)}",
            findings.speedup,
            "times",
            "turn",
        )


def _add_stages(table: Table, findings: Findings) -> None:
    stages = findings.stages
    if stages is None:
        return
    name = f"Picture to answer{device_tag(findings.results.device)}"
    if stages_problem(findings):
        table.add_row(Text(name, "bold"), Text("invalid", "bold yellow"), "why: see below")
        return
    whole = stages.latency("end_to_end")
    _add(table, name, whole.p50, "ns", "run")
    _add(table, "  95 in 100 runs below", whole.p95, "ns", "run")
    for each in stages.latencies:
        if each.stage != "end_to_end":
            _add(table, f"  {STAGE_NAMES[each.stage]}", each.p50, "ns", "run")
            _add(table, "    95 in 100 below", each.p95, "ns", "run")


def gates_table(verdicts: tuple[Verdict, ...]) -> Table:
    """One row a gate, with the reason below it where it has one."""
    table = _table("Gate", "", "measured", "at most")
    for verdict in verdicts:
        table.add_row(
            _badge(verdict.status),
            verdict.title,
            Text("-" if verdict.measured is None else value_text(verdict.measured, verdict.unit)),
            with_symbol(verdict.unit, verdict.bound),
        )
        if verdict.reason:
            table.add_row("", Text(plain(reason_text(verdict)), "yellow"))
    return table


def _since(since: SinceBaseline) -> Group:
    latency = since.latency
    told = f"{latency.word}: {latency.reason}" if latency.reason else latency.word
    parts: list[RenderableType] = [Text(f"Since the baseline, {since.baseline}: {plain(told)}")]
    if latency.changes:
        table = _table(*HEADINGS)
        for row in change_rows(latency):
            table.add_row(*astuple(row))
        parts += [table, Text(chance_text(latency), "dim")]
    for each in since.differences:
        before, after = plain(each.before), plain(each.after)
        parts.append(Text(f"not the same: {each.what}, {before} -> {after}", "yellow"))
    parts += [Text(f"* {plain(caution)}") for caution in since.cautions]
    return Group(*parts)


def _on_device(findings: Findings) -> Group:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in placement_facts(findings):
        table.add_row(name, Text(plain(text)))
    for line in first(placement_lines(findings.placement), _MOST_OPERATORS):
        table.add_row("", Text(plain(line), "red"))
    return Group(Text("What computed it on the device", "dim"), table)


def _profile(findings: Findings, profile: ProfileSummary) -> Group:
    title = Text(f"{profile_title(findings, profile)}{device_tag(findings.results.device)}", "bold")
    text = Text(plain(profile_text(profile)), "" if profile.operators else "yellow")
    if not profile.operators:
        return Group(title, text)
    listed = rows(profile)
    places = {row.where for row in listed if row.where}
    table = _table("Operator", "", "on" if len(places) > 1 else "", "time", "share", "")
    for row in listed:
        table.add_row(
            plain(shortened(row.name, _MOST_NAME)),
            plain(row.type),
            plain(row.where) if len(places) > 1 else "",
            row.time,
            row.percent,
            Text("█" * round(row.share * _BAR_CELLS), "cyan"),
        )
    where = Text(f"All of them on {plain(places.pop())}.") if len(places) == 1 else Text()
    return Group(title, text, where, table)


def _sizes(report: Report) -> Group:
    return Group(*_size_lines(report))


def _size_lines(report: Report) -> Iterator[Text]:
    model, package = report.model, report.package
    name = converted_name(report.precision)
    yield Text.assemble(
        ("Model    ", "dim"),
        f"{format_bytes(model.float_bytes)} float, {format_bytes(model.int8_bytes)} {name}"
        f" ({size_change(model.float_bytes, model.int8_bytes)})",
    )
    line = Text.assemble(("Package  ", "dim"), format_bytes(package.size_bytes))
    if package.budget_bytes is not None:
        share = package.size_bytes / package.budget_bytes
        cells = min(_BAR_CELLS, round(share * _BAR_CELLS))
        line.append(f" of {format_bytes(package.budget_bytes)}, {100 * share:.0f} % ")
        line.append("█" * cells, "green" if share <= 1 else "red")
        line.append("░" * (_BAR_CELLS - cells), "dim")
    line.append(f"  {format_bytes(package.installed_bytes)} installed")
    yield line
    yield Text(f"         {travel_text(package)}", "" if package.signed_by else "yellow")
    for contributor in package.contributors[:3]:
        yield Text(
            f"         {format_bytes(contributor.size_bytes)} {plain(contributor.name)}", "dim"
        )


def _conversion(report: Report) -> Group:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in conversion_facts(report):
        table.add_row(name, Text(plain(text)))
    moved = report.conversion.moved
    told = {each.found for each in moved}
    fallen = (each for each in report.conversion.fallen_back if each not in told)
    for lines in ([*map(moved_text, moved)], [*map(fallen_text, fallen)]):
        for line in first(lines, _MOST_OPERATORS):
            table.add_row("", Text(plain(line)))
    return Group(Text("Conversion and placement", "dim"), table)


def _caveats(caveats: tuple[str, ...]) -> Group:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for caveat in caveats:
        table.add_row("*", Text(plain(caveat)))
    return Group(Text("Before you believe it", "dim"), table)
