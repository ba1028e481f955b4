"""Builds the report: raw results and what came before, summarized, judged, with caveats. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime

from device_agent.archive import payloads
from device_agent.package_messages import Installed
from edgesdk.choices import Precision
from edgesdk.data.samples import Samples
from edgesdk.targets.types import Target
from edgesdk.units import format_bytes
from edgesdk.validate.conversion import conversion_caveats, summarize_conversion
from edgesdk.validate.gates import Gates, exit_code, judge, outcome
from edgesdk.validate.placement import (
    lost_xnnpack,
    never_had_xnnpack,
    summarize_placement,
    summarize_profiles,
)
from edgesdk.validate.stages import summarize_stages
from edgesdk.validate.summaries import (
    agreement_percent,
    speedup,
    summarize_accuracy,
    summarize_latency,
)
from edgesdk.validate.validity import stamp, stamp_stages
from edgesdk.values.artifact import Artifact
from edgesdk.values.forecast import Placement
from edgesdk.values.package import Budget, Package
from edgesdk.values.report import (
    SCHEMA,
    ArtifactSummary,
    Contributor,
    DataSummary,
    Findings,
    ModelSummary,
    PackageSummary,
    Report,
    TargetSummary,
    converted_name,
)
from edgesdk.values.results import ModelRun, Results
from edgesdk.values.verdict import Estimate, written

WORST_TENSORS = 10
ENOUGH_SAMPLES = 20


def build_report(
    *,
    artifact: Artifact,
    target: Target,
    calibration: DataSummary,
    evaluation: DataSummary | None,
    package: Package,
    budget: Budget,
    results: Results,
    gates: Gates,
    created: datetime,
    unhealthy: str = "",
    caveats: Sequence[str] = (),
) -> Report:
    """Derive everything a reader asks for from what was measured.

    Args:
        artifact: what was converted; its plan names the model and the tool versions.
        calibration: what set the quantization ranges.
        evaluation: what both models were run on; None without such data.
        budget: whose package size the report draws the package against.
        created: aware; written as UTC.
        unhealthy: why the device does not use the package; "" where it does.
        caveats: what only the caller knows, e.g. that the device is emulated.
    """
    model, conversion = summarize_model(artifact), summarize_conversion(artifact)
    precision = artifact.plan.precision
    found = find(
        results,
        target,
        gates,
        precision=precision,
        package_bytes=package.size_bytes,
        expected=artifact.expected_placements,
        caveats=(
            *conversion_caveats(conversion),
            *_size_caveats(model, precision),
            *_data_caveats(calibration, evaluation),
            *_stage_caveats(results, calibration, evaluation),
            *_health_caveats(unhealthy),
            *caveats,
        ),
    )
    return Report(
        schema=SCHEMA,
        created=created.astimezone(UTC).isoformat(timespec="seconds"),
        tool_versions=dict(artifact.plan.toolchain),
        model=model,
        target=TargetSummary(target.id, target.name, target.architecture),
        calibration=calibration,
        evaluation=evaluation,
        plan_digest=artifact.plan_digest,
        conversion=conversion,
        artifact=summarize_artifact(artifact),
        package=summarize_package(package, budget, results.installed, unhealthy),
        **{each.name: getattr(found, each.name) for each in fields(Findings)},
    )


def find(
    results: Results,
    target: Target,
    gates: Gates,
    *,
    precision: Precision | None = None,
    package_bytes: int | None = None,
    expected: Sequence[Placement] = (),
    caveats: Sequence[str] = (),
) -> Findings:
    """Derive from what was measured all that needs nothing else.

    Args:
        precision: of the converted model; None where nothing but the device knows it.
        package_bytes: size of the package file; None when it is not at hand.
        expected: where the operators must be, by the artifact; empty where it is not at hand.
        caveats: what the results alone do not tell.
    """
    predictions, ratio = results.predictions, speedup(results)
    placement = summarize_placement(results, expected)
    verdicts = judge(
        results, gates, precision=precision, package_bytes=package_bytes, placement=placement
    )
    return Findings(
        results=results,
        precision=precision,
        latencies=tuple(summarize_latency(run) for run in results.runs),
        validities=tuple(stamp(run, results.device, precision) for run in results.runs),
        speedup=ratio,
        agreement_percent=None if predictions is None else agreement_percent(predictions),
        accuracy=None if predictions is None else summarize_accuracy(predictions),
        stages=summarize_stages(results.stages),
        stages_validity=(
            None if results.stages is None else stamp_stages(results.stages, results.device)
        ),
        verdicts=verdicts,
        outcome=outcome(verdicts),
        exit_code=int(exit_code(verdicts)),
        caveats=(
            *find_caveats(results, target, precision),
            *_slower(ratio, precision),
            *caveats,
        ),
        placement=placement,
        profiles=summarize_profiles(results),
    )


def summarize_model(artifact: Artifact) -> ModelSummary:
    """The float model the artifact was made from."""
    plan = artifact.plan
    return ModelSummary(
        name=plan.model_name,
        format=plan.model_format,
        sha256=plan.model_sha256,
        inputs=plan.inputs,
        outputs=plan.outputs,
        float_bytes=artifact.file("float").size_bytes,
        int8_bytes=artifact.loaded_bytes,
    )


def summarize_artifact(artifact: Artifact) -> ArtifactSummary:
    """Operators by precision, those left in float, the tensors that suffered most."""
    operators = artifact.operators
    floats = ("float32",) if artifact.plan.precision == "fp16" else ("float32", "float16")
    return ArtifactSummary(
        precisions=dict(sorted(Counter(operator.precision for operator in operators).items())),
        left_in_float=tuple(op for op in operators if op.precision in floats),
        worst_tensors=artifact.tensor_errors[:WORST_TENSORS],
        working_set_bytes=artifact.working_set_bytes,
    )


def summarize_data(samples: Samples) -> DataSummary:
    """Where samples came from, and what identifies them."""
    return DataSummary(samples.origin, samples.count, samples.sha256, samples.preprocessing)


def summarize_package(
    package: Package, budget: Budget, installed: Installed, unhealthy: str
) -> PackageSummary:
    """What was pushed, largest file first; of a delta, what of them travels."""
    delta = package.head.delta is not None
    travelling = sorted(payloads(package.head), key=lambda each: (-each.stored_bytes, each.name))
    return PackageSummary(
        id=package.manifest.package_id,
        version=package.manifest.version,
        size_bytes=package.size_bytes,
        installed_bytes=package.installed_bytes,
        budget_bytes=budget.delta_bytes if delta else budget.package_bytes,
        contributors=tuple(Contributor(each.file.path, each.stored_bytes) for each in travelling),
        signed_by=installed.signed_by,
        sequence=package.manifest.sequence,
        delta=delta,
        unhealthy=unhealthy,
    )


def find_caveats(
    results: Results, target: Target, precision: Precision | None = None
) -> tuple[str, ...]:
    """What the results themselves tell against taking the figures at face value."""
    return (
        *_device_caveats(results, target),
        *_package_caveats(results.installed),
        *_kernel_caveats(results),
        *_run_caveats(results, precision),
    )


def _package_caveats(installed: Installed) -> Iterator[str]:
    if not installed.signed_by:
        yield "The package is not signed: nobody vouches for what was measured."
    if installed.fallbacks:
        why = ", ".join(f"{why} {count}" for why, count in sorted(installed.fallbacks.items()))
        yield (
            "Applications on the device were answered by the package's fallback instead of its"
            f" model, runs by reason: {why}."
        )


def _stage_caveats(
    results: Results, calibration: DataSummary, evaluation: DataSummary | None
) -> Iterator[str]:
    """Where what the package declares of pictures is not what its figures rest on."""
    stages = results.installed.stages
    if stages is None:
        return
    for what, data in (("calibrated", calibration), ("evaluated", evaluation)):
        if data is not None and data.preprocessing != stages.preprocessing.digest:
            yield (
                f"The model was {what} on inputs that came as they are: nobody has seen whether the"
                " preprocessing that the package declares would have made them."
            )


def _kernel_caveats(results: Results) -> Iterator[str]:
    if lost_xnnpack(results) and never_had_xnnpack(results):
        yield (
            "LiteRT's slow built-in kernels computed: tflite-runtime does not give INT8 to XNNPACK."
            " ai-edge-litert does, and is many times faster."
        )


def _health_caveats(unhealthy: str) -> Iterator[str]:
    if unhealthy:
        yield f"The device does not use this package: {unhealthy}."


def _device_caveats(results: Results, target: Target) -> Iterator[str]:
    environment = results.device.environment
    if results.device.emulated:
        yield (
            "The device is emulated aarch64 (qemu-user): its latencies and memory are no device's,"
            " and no gate was judged by them. Accuracy and parity were computed for real, by"
            " aarch64 code."
        )
    elif results.device.virtual:
        yield (
            "The device is virtual: its latencies and memory are those of the workstation it runs"
            " on, not of a board. Accuracy and parity were computed for real."
        )
    if environment.machine != target.architecture:
        yield (
            f"The device is {environment.machine}, the target {target.architecture}: other kernels"
            " computed than will on the target."
        )


def _run_caveats(results: Results, precision: Precision | None) -> Iterator[str]:
    stamps = [stamp(run, results.device, precision) for run in results.runs]
    if results.stages is not None:
        stamps.append(stamp_stages(results.stages, results.device))
    # Both models ran on the one device: what is said of it is said once.
    yield from dict.fromkeys(
        sentence for stamped in stamps for sentence in (*stamped.reasons, *stamped.remarks)
    )
    slow, fast = results.run("float"), results.run("int8")
    if slow is not None and fast is not None and _setting(slow) != _setting(fast):
        yield (
            f"The speed-up compares two settings: float with {_setting(slow)},"
            f" {converted_name(precision)} with {_setting(fast)}."
        )


def _slower(ratio: Estimate | None, precision: Precision | None) -> Iterator[str]:
    if ratio is None or (ratio.interval.high if ratio.interval else ratio.value) >= 1:
        return
    ends = () if ratio.interval is None else (ratio.interval.low, ratio.interval.high)
    symbol, (value, *interval) = written("times", ratio.value, *ends)
    span = f" ({' to '.join(interval)})" if interval else ""
    yield (
        f"The {converted_name(precision)} model is slower than the float one here:"
        f" {value} {symbol} as fast{span}."
    )


def _size_caveats(model: ModelSummary, precision: Precision) -> Iterator[str]:
    if model.int8_bytes >= model.float_bytes:
        yield (
            f"The {converted_name(precision)} model is not smaller than the float one:"
            f" {format_bytes(model.int8_bytes)} against {format_bytes(model.float_bytes)}."
        )


def _data_caveats(calibration: DataSummary, evaluation: DataSummary | None) -> Iterator[str]:
    count = calibration.samples
    if count < ENOUGH_SAMPLES:
        yield (
            f"Calibrated on {count} sample{'' if count == 1 else 's'}: fewer than"
            f" {ENOUGH_SAMPLES} may miss values that the device will meet."
        )
    if evaluation is not None and evaluation.sha256 == calibration.sha256:
        yield (
            "The evaluation data are the calibration data (same SHA-256), so the accuracy is"
            " flattered: the converted model was fitted to them."
        )


def _setting(run: ModelRun) -> str:
    opened = run.opened
    threads = "1 thread" if opened.threads == 1 else f"{opened.threads} threads"
    runtime = f"{opened.runtime.package} {opened.runtime.version}"
    return f"{runtime}, {opened.kernel_path} kernels, {threads}"
