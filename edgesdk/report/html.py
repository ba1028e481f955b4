"""The report as one HTML page that needs no network, no script and no knowledge of this SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from device_agent.model_messages import Latency
from edgesdk.report import changes, charts, wording
from edgesdk.report.charts import ClassChart, CumulativeChart, Gauge, RunChart, SizeBar
from edgesdk.report.operators import (
    Row,
    placement_facts,
    placement_lines,
    profile_text,
    profile_title,
    rows,
)
from edgesdk.report.placement import conversion_facts
from edgesdk.text import plain
from edgesdk.units import format_bytes, format_ns
from edgesdk.values.report import DataSummary, Report, converted_name, role_name
from edgesdk.values.results import ModelRun, Prepared
from edgesdk.values.verdict import with_symbol


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of a two-column list."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ProfileChart:
    """One model's operators, the slowest first, each with a bar of its share of the time."""

    title: str
    text: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """What the template draws besides the report itself."""

    title: str
    subtitle: str
    converted: str
    summary: str
    created: str
    cumulative: CumulativeChart | None
    runs: tuple[RunChart, ...]
    size: SizeBar
    gauges: tuple[Gauge | None, ...]
    classes: ClassChart | None
    conversion: tuple[Fact, ...]
    placement: tuple[Fact, ...]
    misplaced: tuple[str, ...]
    profiles: tuple[ProfileChart, ...]
    environment: tuple[Fact, ...]
    measurement: tuple[tuple[str, tuple[Fact, ...]], ...]
    provenance: tuple[Fact, ...]


def render_html(report: Report) -> str:
    """The whole page. Every text of the report is escaped, whatever it holds."""
    return _template().render(report=report, page=_page(report), wording=wording)


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bytes"] = format_bytes
    environment.globals["with_symbol"] = with_symbol
    environment.globals["change_rows"] = changes.change_rows
    environment.globals["change_headings"] = changes.HEADINGS
    environment.globals["chance_text"] = changes.chance_text
    source = files("edgesdk.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def _printable(value: Any) -> Any:
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _page(report: Report) -> Page:
    return Page(
        title=wording.title(report),
        subtitle=wording.subtitle(report),
        converted=converted_name(report.precision),
        summary=wording.summary(report),
        created=f"{datetime.fromisoformat(report.created):%-d %B %Y, %H:%M} UTC",
        cumulative=charts.cumulative_chart(report.results.runs),
        runs=tuple(
            charts.run_chart(run, summary)
            for run, summary in zip(report.results.runs, report.latencies, strict=True)
        ),
        size=charts.size_bar(report),
        gauges=tuple(charts.gauge(verdict) for verdict in report.verdicts),
        classes=None if report.accuracy is None else charts.class_chart(report.accuracy.classes),
        conversion=tuple(Fact(name, text) for name, text in conversion_facts(report)),
        placement=tuple(Fact(name, text) for name, text in placement_facts(report)),
        misplaced=placement_lines(report.placement),
        profiles=tuple(
            ProfileChart(profile_title(report, each), profile_text(each), rows(each))
            for each in report.profiles
        ),
        environment=tuple(_environment(report)),
        measurement=tuple(
            (role_name(run.role, report.precision), tuple(_measurement(report, run)))
            for run in report.results.runs
        ),
        provenance=tuple(_provenance(report)),
    )


def _environment(report: Report) -> Iterator[Fact]:
    device = report.results.device
    found = device.environment
    yield Fact("Device", f"{device.name}{wording.device_tag(device)}")
    yield Fact("Board", _or_unknown(found.board))
    yield Fact(
        "Processor", f"{_or_unknown(found.cpu_model)}, {wording.count_text(found.cpu_count, 'CPU')}"
    )
    yield Fact("Architecture", _or_unknown(found.machine))
    yield Fact("Highest clock", _or_unknown(found.max_clock_hz and _hertz(found.max_clock_hz)))
    yield Fact("Clock governor", _or_unknown(found.governor))
    yield Fact("Memory", _bytes_of(found.memory_available_bytes, found.memory_total_bytes))
    yield Fact("Disk", f"{_bytes_or_unknown(found.disk_free_bytes)} free")
    yield Fact("System", _or_unknown(_joined(f"{found.system} {found.kernel}".strip(), found.libc)))
    yield Fact("Python", _or_unknown(found.python))


def _measurement(report: Report, run: ModelRun) -> Iterator[Fact]:
    opened, latency = run.opened, run.latency
    validity, figures = report.validity(run.role), report.latency(run.role)
    assert validity is not None and figures is not None
    yield Fact("Measurement", validity.stamp)
    yield Fact("Runtime", f"{opened.runtime.package} {opened.runtime.version}")
    yield Fact("Kernel path", opened.kernel_path)
    yield Fact("Threads", str(opened.threads))
    yield Fact("Loading, file in cache", format_ns(opened.load_ns))
    if run.cold is not None:
        yield Fact("Loading, cold", wording.cold_text(run.cold))
    yield Fact(
        "Warm-up",
        f"{wording.count_text(latency.warm_up_runs, 'run')},"
        f" {'then steady' if latency.steady else 'never settled'}",
    )
    turns = wording.count_text(len(latency.block_sizes), "turn")
    yield Fact("Timed", f"{wording.count_text(len(latency.samples_ns), 'run')} in {turns}")
    yield Fact("Memory before loading", _bytes_or_unknown(opened.baseline_rss_bytes))
    yield Fact("Peak memory", _bytes_or_unknown(latency.peak_rss_bytes))
    clocks = [at.clock_hz for at in latency.conditions if at.clock_hz is not None]
    yield Fact("Clock", _or_unknown(clocks and _span(min(clocks), max(clocks), _hertz)))
    heat = [
        at.temperature_celsius for at in latency.conditions if at.temperature_celsius is not None
    ]
    yield Fact("Temperature", _or_unknown(heat and _span(min(heat), max(heat), _celsius)))
    energy = "; ".join(map(wording.energy_text, figures.energy))
    yield Fact("Energy", energy or "not measured: no power sensor")
    yield Fact("Held back", _held_back(latency))
    percent = validity.competing_percent
    yield Fact("Other work", _or_unknown(percent is not None and f"{percent:.1f} % of all CPUs"))


def _held_back(latency: Latency) -> str:
    told = [at.throttled for at in latency.conditions if at.throttled is not None]
    causes = dict.fromkeys(cause for causes in told for cause in causes)
    return ", ".join(causes) or ("never" if told else "not readable")


def _provenance(report: Report) -> Iterator[Fact]:
    model, package = report.model, report.package
    yield Fact("Model", f"{model.name} ({model.format})")
    yield Fact("Model SHA-256", model.sha256)
    yield Fact("Inputs", "; ".join(map(str, model.inputs)))
    yield Fact("Outputs", "; ".join(map(str, model.outputs)))
    yield Fact("Target", f"{report.target.id} ({report.target.architecture})")
    yield from _data("Calibration", report.calibration)
    if report.evaluation is not None:
        yield from _data("Evaluation", report.evaluation)
    if report.results.installed.stages is not None:
        yield Fact("Preprocessing", wording.stages_text(report.results.installed.stages))
        yield Fact("Preprocessing digest", report.results.installed.stages.preprocessing.digest)
    if report.results.predictions is not None:
        yield Fact("Pictures prepared", _prepared(report.results.predictions.prepared))
    yield Fact("Plan digest", report.plan_digest)
    yield Fact("Package", f"version {package.version}")
    yield Fact("Package id", package.id)
    yield Fact("Package sequence", str(package.sequence))
    yield Fact("Package signature", wording.signature_text(package.signed_by))
    for name, version in sorted(report.tool_versions.items()):
        yield Fact(name, version)
    yield Fact("Report schema", str(report.schema))


def _prepared(where: Prepared) -> str:
    return "none, inputs came as they are" if where == "as given" else f"on the {where}"


def _data(name: str, data: DataSummary) -> Iterator[Fact]:
    yield Fact(f"{name} data", f"{data.origin}, {wording.count_text(data.samples, 'sample')}")
    yield Fact(f"{name} SHA-256", data.sha256)


def _joined(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def _span(low: float, high: float, text: Callable[[float], str]) -> str:
    return text(low) if text(low) == text(high) else f"{text(low)} to {text(high)}"


def _or_unknown(text: object) -> str:
    return str(text) if text else "not readable"


def _bytes_or_unknown(count: int | None) -> str:
    return "not readable" if count is None else format_bytes(count)


def _bytes_of(free: int | None, total: int | None) -> str:
    return f"{_bytes_or_unknown(total)}, {_bytes_or_unknown(free)} available"


def _hertz(clock_hz: float) -> str:
    return f"{clock_hz / 1e9:.2f} GHz"


def _celsius(degrees: float) -> str:
    return f"{degrees:.1f} °C"
