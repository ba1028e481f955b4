"""The report: what was taken where, what was measured there, and what that means.

`edgesdk/report/report.schema.json` publishes its JSON form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgesdk.choices import Method, Precision, Quantizer
from edgesdk.models.types import TensorSpec
from edgesdk.values.artifact import Lowering, OperatorPrecision, TensorError
from edgesdk.values.energy import Energy
from edgesdk.values.forecast import CacheUse, Moved, Placement
from edgesdk.values.latency_comparison import SinceBaseline
from edgesdk.values.metric import MetricSummary
from edgesdk.values.placement import PlacementSummary, ProfileSummary
from edgesdk.values.results import Results, Role
from edgesdk.values.stages import StagesSummary
from edgesdk.values.validity import Validity
from edgesdk.values.verdict import Estimate, Status, Verdict

SCHEMA = 1


def converted_name(precision: Precision | None) -> str:
    """What to call the converted model: "INT8", "w8a16"; "converted" of one that is not known."""
    if precision is None:
        return "converted"
    return "INT8" if precision == "w8a8" else precision


def role_name(role: Role, precision: Precision | None) -> str:
    """A model's name at the head of a line: "Float", "INT8", "w8a16", "Converted"."""
    if role == "float":
        return "Float"
    return "Converted" if precision is None else converted_name(precision)


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """The float model, and how large it is before and after conversion.

    Args:
        int8_bytes: of the converted model's files, all that the device loads.
    """

    name: str
    format: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    float_bytes: int
    int8_bytes: int


@dataclass(frozen=True, slots=True)
class TargetSummary:
    """The kind of device the model was converted for."""

    id: str
    name: str
    architecture: str


@dataclass(frozen=True, slots=True)
class ArtifactSummary:
    """How the converted model computes.

    Args:
        precisions: operators by precision ("int8", "float32", "-" for those that compute nothing).
        left_in_float: every operator that computes in a wider float than was asked for, with the
            reason.
        worst_tensors: the activations that lost most to quantization, worst first.
        working_set_bytes: lower bound of memory, without the runtime's own.
    """

    precisions: Mapping[str, int]
    left_in_float: tuple[OperatorPrecision, ...]
    worst_tensors: tuple[TensorError, ...]
    working_set_bytes: int


@dataclass(frozen=True, slots=True)
class CompilationSummary:
    """What the vendor's compiler said; see `edgesdk.values.artifact.Compilation`.

    Args:
        units: operators by the unit it put them on; empty where it does not say.
    """

    status: Literal["compiled", "accepted", "not compiled", "not needed"]
    compiler: str
    version: str
    reason: str
    units: Mapping[str, int]
    cache: CacheUse | None


@dataclass(frozen=True, slots=True)
class ConversionSummary:
    """How the model was converted, and where its operators run.

    Args:
        toolchain: that converted it.
        quantizer: which of the toolchain's; None where it has but one.
        lowering: how it was brought to the format that is quantized; None where it came in it.
        forecast: operators by unit, by the target's rules; empty where it has no accelerator.
        moved: operators that the compiler did not put where they were forecast.
        fallen_back: operators that no accelerator takes, with the reason: by the compiler where it
            says, else by the forecast.
    """

    toolchain: str
    quantizer: Quantizer | None
    range_method: Method
    lowering: Lowering | None
    compilation: CompilationSummary
    forecast: Mapping[str, int]
    moved: tuple[Moved, ...]
    fallen_back: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class DataSummary:
    """Samples that calibrated or evaluated the model.

    Args:
        origin: the source as it was given.
        sha256: over every sample's inputs, in order; labels do not count.
        preprocessing: digest of what made them of pictures; "" where they came as they are.
    """

    origin: str
    samples: int
    sha256: str
    preprocessing: str = ""


@dataclass(frozen=True, slots=True)
class Contributor:
    """A file inside the package and the bytes it takes there."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PackageSummary:
    """What was pushed.

    Args:
        id: SHA-256 of its manifest.
        size_bytes: of the package file.
        installed_bytes: on the device's disk.
        budget_bytes: the most `size_bytes` may be; None without a budget.
        contributors: its files, largest first.
        signed_by: name of the key that the device believed; "" of a package without a signature.
        sequence: its place among the packages of its name.
        delta: it travelled as a delta, which `size_bytes` is of.
        unhealthy: why the device does not use it; "" where it does.
    """

    id: str
    version: str
    size_bytes: int
    installed_bytes: int
    budget_bytes: int | None
    contributors: tuple[Contributor, ...]
    signed_by: str
    sequence: int
    delta: bool
    unhealthy: str


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Latency of one inference in nanoseconds.

    Args:
        n: timed runs.
        steady: the warm-up had settled. Whether the figures may be trusted is the stamp's to say,
            `Findings.validities`.
        minimum: the fastest run (no interval exists for it).
        p50, p95, p99: None where n is too small for a 95 % interval of that quantile.
        energy: of one inference, by each power sensor; empty without one.
    """

    role: Role
    n: int
    steady: bool
    minimum: Estimate
    p50: Estimate | None
    p95: Estimate | None
    p99: Estimate | None
    energy: tuple[Energy, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """The samples whose true class is `label`; `drop` in percentage points, positive is worse."""

    label: int
    n: int
    float_correct: int
    int8_correct: int
    drop: Estimate


@dataclass(frozen=True, slots=True)
class AccuracySummary:
    """Top-1 accuracy of both models on the same labelled samples, run on the device.

    Args:
        float_percent, int8_percent: share of samples classified correctly.
        drop: float minus converted in percentage points; positive is worse.
        float_only: samples only the float model got right.
        int8_only: samples only the converted model got right.
        mcnemar_p: two-sided exact p-value of "the two are equally accurate".
        classes: by label.
    """

    float_percent: Estimate
    int8_percent: Estimate
    drop: Estimate
    float_only: int
    int8_only: int
    mcnemar_p: float
    classes: tuple[ClassAccuracy, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """One package on one device, judged; `results` is raw, what follows it is derived from it.

    Args:
        precision: of the converted model; None where only the installed package is known.
        validities: whether those latencies are a measurement at all, one for each of them.
        speedup: float median over the converted model's (n counts pairs of turns); None when either
            latency is missing or invalid.
        agreement_percent: samples both models put in the same class; needs no labels.
        accuracy: None without labelled data.
        stages: the converted model from picture to answer; None where that was not timed.
        stages_validity: whether those times are a measurement at all; likewise.
        outcome: "fail" if a gate failed, else "invalid" if one is, else "not measured" if one that
            the user asked for is, else "pass" if one passed, else "not measured".
        exit_code: 0, 1 if a gate failed, 6 if one is invalid or was asked for and not measured.
        caveats: what a reader must know before believing the figures.
        placement: what computed the converted model's operators; None where nobody asked.
        profiles: where the time of each profiled model goes.
        metrics: beyond top-1, those that were asked for.
        since: the latency held against the baseline; None where nobody asked, or there is none.
    """

    results: Results
    precision: Precision | None
    latencies: tuple[LatencySummary, ...]
    validities: tuple[Validity, ...]
    speedup: Estimate | None
    agreement_percent: Estimate | None
    accuracy: AccuracySummary | None
    stages: StagesSummary | None
    stages_validity: Validity | None
    verdicts: tuple[Verdict, ...]
    outcome: Status
    exit_code: int
    caveats: tuple[str, ...]
    placement: PlacementSummary | None
    profiles: tuple[ProfileSummary, ...]
    metrics: tuple[MetricSummary, ...] = field(default=(), kw_only=True)
    since: SinceBaseline | None = field(default=None, kw_only=True)

    def latency(self, role: Role) -> LatencySummary | None:
        """The latency of that role, or None."""
        return next((latency for latency in self.latencies if latency.role == role), None)

    def validity(self, role: Role) -> Validity | None:
        """The stamp of that role's latency, or None."""
        return next((validity for validity in self.validities if validity.role == role), None)


@dataclass(frozen=True, slots=True)
class Report(Findings):
    """Findings, and where all of it came from.

    Args:
        created: UTC, ISO 8601.
        tool_versions: distribution to version, on the workstation.
        calibration: what set the quantization ranges.
        evaluation: what both models were run on; None without such data.
    """

    schema: int
    created: str
    tool_versions: Mapping[str, str]
    model: ModelSummary
    target: TargetSummary
    calibration: DataSummary
    evaluation: DataSummary | None
    plan_digest: str
    conversion: ConversionSummary
    artifact: ArtifactSummary
    package: PackageSummary
