# ruff: noqa: UP006, UP035, UP045
# The codec, which the device runs too, reads annotations as Python 3.7 has them.
"""Runs: measurements that are kept, what a list of them shows, and what comparing reads of them.

A run's document is the report as it was printed. Reports grow new fields from version to version;
what is compared is therefore read by its own records here, which ignore what they do not know, and
old runs stay comparable.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Optional, Tuple

from device_agent.codec import Malformed, from_dict
from edgesdk.choices import DeviceKind
from edgesdk.errors import MalformedFile
from edgesdk.values.endurance import Endurance, blocks_of
from edgesdk.values.report import DataSummary, Findings
from edgesdk.values.validity import Stamp
from edgesdk.values.verdict import Status

Command = Literal["bench", "eval", "deploy", "sustained"]
"""What measured it; "sustained" is `bench --sustained`."""
DIGEST_SHOWN = 8
"""Hex digits of a run's digest that its id has."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement to keep.

    Args:
        created: UTC, ISO 8601.
        target: id of the one the device is enrolled as, or that was deployed for.
        data: what both models were run on; None without such data.
        findings: all of it; a `Report` where the model was converted first, an `Endurance` of a run
            without a pause.
    """

    command: Command
    created: str
    target: str
    data: DataSummary | None
    findings: Findings | Endurance


@dataclass(frozen=True, slots=True)
class RunHead:
    """What a list of runs shows of one.

    Args:
        number: counts up from 1; never given twice.
        sha256: of the document, with `created`.
        created: UTC, ISO 8601.
        kind: "board", or what stood in for one.
        package_id: SHA-256 of its manifest.
        data_sha256: of the evaluation data; "" without such.
        stamp: of the converted model's latency; None where it was not measured, and where an
            edgesdk that kept no stamps kept the run.
        p50_ns: its median; None where it was not measured. Of a run without a pause, of the part in
            which it had settled.
        drop_points: accuracy lost to conversion; likewise.
        steady_p90_ns: of a run without a pause; None where it did not settle, and of other runs.
        gave_way_s: when such a run gave way; None where it did not, and of other runs.
        baseline: the run that later ones of this package on this device are held against.
    """

    number: int
    sha256: str
    created: str
    command: Command
    device: str
    kind: DeviceKind
    target: str
    package: str
    version: str
    package_id: str
    data_sha256: str
    outcome: Status
    stamp: Stamp | None
    p50_ns: float | None
    drop_points: float | None
    steady_p90_ns: float | None
    gave_way_s: float | None
    baseline: bool

    @property
    def place(self) -> str:
        """The device, and what it is where that is no board: "bench (virtual)"."""
        return place(self.device, self.kind)

    @property
    def id(self) -> str:
        """How it is called: its number, and the beginning of its digest."""
        return run_id(self.number, self.sha256)


def place(device: str, kind: str) -> str:
    """A device's name, with what it is where that is no board."""
    word = {"board": "", "arm64": " (emulated)"}.get(kind, " (virtual)")
    return f"{device}{word}"


def run_id(number: int, sha256: str) -> str:
    """The id of a run, e.g. "12-3fa9c2d1"."""
    return f"{number}-{sha256[:DIGEST_SHOWN]}"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as it was kept.

    Args:
        document: the JSON form of a `Findings`; of a `Report` where `head.command` is "deploy", of
            an `Endurance` where it is "sustained".
    """

    head: RunHead
    document: Mapping[str, Any]


# What comparing reads. Field names are those of the report; annotations are the codec's.


@dataclass(frozen=True)
class SeenRuntime:
    """As `device_agent.environment_messages.RuntimeVersion`."""

    package: str
    version: str


@dataclass(frozen=True)
class SeenOpened:
    """As `device_agent.model_messages.Opened`."""

    runtime: SeenRuntime
    kernel_path: str
    threads: int


@dataclass(frozen=True)
class SeenLatency:
    """As `device_agent.model_messages.Latency`."""

    samples_ns: Tuple[int, ...]
    block_sizes: Tuple[int, ...]
    steady: bool

    def turns(self) -> tuple[tuple[int, ...], ...]:
        """The samples of each turn, in order."""
        ends = list(itertools.accumulate(self.block_sizes))
        starts = [0, *ends[:-1]]
        return tuple(self.samples_ns[a:b] for a, b in zip(starts, ends, strict=True))


@dataclass(frozen=True)
class SeenModel:
    """As `edgesdk.values.results.ModelRun`."""

    role: str
    opened: SeenOpened
    latency: SeenLatency


@dataclass(frozen=True)
class SeenEnvironment:
    """As `device_agent.environment_messages.Environment`."""

    machine: str
    kernel: str
    cpu_model: str
    cpu_count: int
    governor: Optional[str] = None
    board: Optional[str] = None


@dataclass(frozen=True)
class SeenDevice:
    """As `edgesdk.values.results.MeasuredDevice`."""

    name: str
    kind: str
    environment: SeenEnvironment


@dataclass(frozen=True)
class SeenInstalled:
    """As `device_agent.package_messages.Installed`."""

    package_id: str
    name: str
    version: str


@dataclass(frozen=True)
class SeenPredictions:
    """As `edgesdk.values.results.Predictions`."""

    int8_top1: Tuple[int, ...]
    float_top1: Optional[Tuple[int, ...]] = None
    labels: Optional[Tuple[int, ...]] = None


@dataclass(frozen=True)
class SeenValidity:
    """As `edgesdk.values.validity.Validity`: why a latency is no measurement, or is doubtful."""

    role: str
    reasons: Tuple[str, ...]
    remarks: Tuple[str, ...]


@dataclass(frozen=True)
class SeenInterval:
    """As `edgesdk.values.verdict.Interval`."""

    low: float
    high: float
    confidence: float
    method: str


@dataclass(frozen=True)
class SeenEstimate:
    """As `edgesdk.values.verdict.Estimate`."""

    value: float
    n: int
    interval: Optional[SeenInterval] = None


@dataclass(frozen=True)
class SeenMetric:
    """As `edgesdk.values.metric.MetricSummary`, of the converted model."""

    name: str
    title: str
    unit: str
    int8_value: Optional[SeenEstimate] = None


@dataclass(frozen=True)
class SeenResults:
    """As `edgesdk.values.results.Results`, with the report's word on what of it is valid,
    and its metrics beyond top-1.

    Args:
        unbroken: the model ran without a pause, and its turns are blocks of the settled part; it
            has none where it did not settle.
    """

    device: SeenDevice
    installed: SeenInstalled
    runs: Tuple[SeenModel, ...]
    predictions: Optional[SeenPredictions] = None
    validities: Tuple[SeenValidity, ...] = ()
    metrics: Tuple[SeenMetric, ...] = ()
    unbroken: bool = False

    def why_invalid(self, role: str) -> str:
        """Why the latency of that role is not a measurement; "" where it is one."""
        return " ".join(reason for v in self.validities if v.role == role for reason in v.reasons)

    def remarks(self, role: str) -> tuple[str, ...]:
        """What must be known of the latency of that role."""
        return tuple(remark for v in self.validities if v.role == role for remark in v.remarks)

    def run(self, role: str) -> SeenModel | None:
        """The model of that role, or None."""
        return next((run for run in self.runs if run.role == role), None)


@dataclass(frozen=True)
class _SeenReport:
    results: SeenResults
    validities: Tuple[SeenValidity, ...] = ()
    metrics: Tuple[SeenMetric, ...] = ()


@dataclass(frozen=True)
class _SeenWindow:
    samples_ns: Tuple[int, ...]


@dataclass(frozen=True)
class _SeenEndured:
    device: SeenDevice
    installed: SeenInstalled
    opened: SeenOpened
    windows: Tuple[_SeenWindow, ...]


@dataclass(frozen=True)
class _SeenSettled:
    windows: int


@dataclass(frozen=True)
class _SeenEndurance:
    endured: _SeenEndured
    validity: SeenValidity
    settled: Optional[_SeenSettled] = None


def seen(document: Mapping[str, Any], called: str) -> SeenResults:
    """What comparing needs of a run, whatever version of edgesdk kept it.

    Args:
        document: of a `StoredRun`.
        called: what to call it in a message, e.g. "run 12-3fa9c2d1".

    Raises:
        MalformedFile: the document lacks some of it.
    """
    try:
        if "endured" in document:
            return _seen_long(from_dict(_SeenEndurance, document))
        report = from_dict(_SeenReport, document)
    except Malformed as error:
        raise MalformedFile(f"{called} does not hold", details=(str(error),)) from error
    results = replace(report.results, validities=report.validities, metrics=report.metrics)
    for each in results.runs:
        samples, sizes = each.latency.samples_ns, each.latency.block_sizes
        if sum(sizes) != len(samples) or min(sizes, default=0) < 0:
            raise MalformedFile(
                f"{called} does not hold: found {len(samples)} {each.role} samples in "
                f"turns of {sum(sizes)}"
            )
    return results


def _seen_long(found: _SeenEndurance) -> SeenResults:
    """A run without a pause as one in turns: blocks of the windows in which it had settled.

    Every window kept about as many samples of its runs, so that they are pooled as they are.
    """
    endured, settled = found.endured, found.settled
    windows = endured.windows[-settled.windows :] if settled is not None else ()
    turns = [_samples(block) for block in blocks_of(windows)] if windows else []
    samples = tuple(itertools.chain.from_iterable(turns))
    latency = SeenLatency(samples, tuple(map(len, turns)), steady=True)
    return SeenResults(
        device=endured.device,
        installed=endured.installed,
        runs=(SeenModel(found.validity.role, endured.opened, latency),),
        validities=(found.validity,),
        unbroken=True,
    )


def _samples(windows: Sequence[_SeenWindow]) -> tuple[int, ...]:
    return tuple(sample for window in windows for sample in window.samples_ns)
