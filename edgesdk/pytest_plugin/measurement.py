"""One measurement, as a test uses it: numbers, gates that are assertions, properties for JUnit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesdk.errors import UsageError
from edgesdk.units import format_ns

if TYPE_CHECKING:
    from device_agent.package_messages import Installed
    from edgesdk.devices.inventory import Device
    from edgesdk.values.report import Findings
    from edgesdk.values.verdict import Estimate, Verdict

Property = tuple[str, str | int | float]

_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured on a device, judged.

    Args:
        findings: all of it, raw samples included: `edgesdk.values.report.Findings`.
    """

    findings: Findings

    @property
    def p50_ns(self) -> float:
        """Median latency of the converted model.

        Raises:
            UsageError: it was not timed, or too few runs for an interval.
        """
        return self._latency("p50")

    @property
    def p95_ns(self) -> float:
        """95th percentile of the converted model's latency.

        Raises:
            UsageError: as `p50_ns`.
        """
        return self._latency("p95")

    @property
    def accuracy_drop_points(self) -> float:
        """Top-1 accuracy lost to the conversion, in percentage points.

        Raises:
            UsageError: no labelled data were run.
        """
        if self.findings.accuracy is None:
            raise UsageError("no accuracy was measured", hint="use the fixture edge_accuracy")
        return self.findings.accuracy.drop.value

    def assert_gates(self) -> None:
        """Fail the test unless every gate passed; the table is in the message.

        Raises:
            AssertionError: one failed, is invalid, or was asked for and not measured; or there is
                none at all.
        """
        __tracebackhide__ = True
        if not self.findings.verdicts:
            raise AssertionError(
                "no gate to pass: name one in the test's marker, such as max_p95='10 ms', in"
                " [gates] of edgesdk.toml, or in the device's target"
            )
        if self.findings.exit_code != 0 or self.findings.outcome != "pass":
            raise AssertionError(self.table())

    def table(self) -> str:
        """The figures and the verdicts, as `edgesdk bench` shows them."""
        from rich.console import Console

        from edgesdk.report.terminal import render_findings

        console = Console(width=_WIDTH, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(render_findings(self.findings))
        return capture.get()

    def properties(self) -> list[Property]:
        """Names and values for JUnit's XML."""
        return [*self._latencies(), *self._memory(), *self._accuracy(), *self._verdicts()]

    def _latency(self, name: str) -> float:
        latency = self.findings.latency("int8")
        if latency is None:
            raise UsageError("no latency was measured", hint="use the fixture edge_measurement")
        estimate: Estimate | None = getattr(latency, name)
        if estimate is None:
            raise UsageError(f"found {latency.n} runs, too few for a {name} with an interval")
        return estimate.value

    def _latencies(self) -> Iterator[Property]:
        for latency in self.findings.latencies:
            yield f"edge_{latency.role}_runs", latency.n
            for name in ("p50", "p95", "p99"):
                yield from _estimate(f"edge_{latency.role}_{name}_ns", getattr(latency, name))

    def _memory(self) -> Iterator[Property]:
        for run in self.findings.results.runs:
            if run.latency.peak_rss_bytes is not None:
                yield f"edge_{run.role}_peak_memory_bytes", run.latency.peak_rss_bytes

    def _accuracy(self) -> Iterator[Property]:
        accuracy = self.findings.accuracy
        if accuracy is not None:
            yield from _estimate("edge_float_accuracy_percent", accuracy.float_percent)
            yield from _estimate("edge_int8_accuracy_percent", accuracy.int8_percent)
            yield from _estimate("edge_accuracy_drop_points", accuracy.drop)
            yield "edge_accuracy_samples", accuracy.drop.n

    def _verdicts(self) -> Iterator[Property]:
        for verdict in self.findings.verdicts:
            yield f"edge_gate_{verdict.gate}", _verdict_text(verdict)
            yield f"edge_gate_{verdict.gate}_bound", verdict.bound
            yield from _estimate(f"edge_gate_{verdict.gate}_measured", verdict.measured)


def _estimate(name: str, estimate: Estimate | None) -> Iterator[Property]:
    if estimate is None:
        return
    yield name, estimate.value
    if estimate.interval is not None:
        yield f"{name}_low", estimate.interval.low
        yield f"{name}_high", estimate.interval.high


def _verdict_text(verdict: Verdict) -> str:
    return f"{verdict.status}: {verdict.reason}" if verdict.reason else verdict.status


def package_properties(device: Device, installed: Installed) -> list[Property]:
    """What was tested where, for JUnit's XML."""
    return [
        ("edge_device", device.name),
        ("edge_target", device.target),
        ("edge_kind", device.kind),
        ("edge_package", f"{installed.name} {installed.version}"),
        ("edge_package_id", installed.package_id),
    ]


def summary_lines(tests: Sequence[tuple[str, Mapping[str, object]]]) -> list[str]:
    """A line for each test that measured something.

    Args:
        tests: node id and properties of each.
    """
    return [
        f"{nodeid}: {'; '.join(facts)}"
        for nodeid, properties in tests
        if (facts := list(_facts(properties)))
    ]


def _facts(properties: Mapping[str, object]) -> Iterator[str]:
    for name in ("p50", "p95"):
        value = properties.get(f"edge_int8_{name}_ns")
        if isinstance(value, (int, float)):
            yield f"{name} {format_ns(value)}"
    drop = properties.get("edge_accuracy_drop_points")
    if isinstance(drop, (int, float)):
        yield f"accuracy lost {drop:.2f} points"
    if "edge_int8_p50_ns" in properties and properties["edge_kind"] != "board":
        emulated = properties["edge_kind"] == "arm64"
        what = "emulated aarch64 (qemu-user)" if emulated else "a virtual device"
        yield f"{what}: not a board's latency"
