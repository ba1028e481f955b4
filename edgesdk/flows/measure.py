"""Measure what is installed on a device: latency (`bench`), accuracy (`evaluate`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device_agent.package_messages import Installed
from device_agent.preprocessing import Stages
from edgesdk.convert.conversion import ARTIFACT_FILE, read_artifact
from edgesdk.data.preprocessing import Preprocessing
from edgesdk.data.samples import LABEL, Samples, Source, check_labels, open_samples
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Device
from edgesdk.errors import DataError, UsageError
from edgesdk.flows.baseline import (
    against_baseline,
    regression_bound,
    resolve_baseline,
    tell_samples_needed,
)
from edgesdk.flows.installing import Permissions, Say, put
from edgesdk.flows.leasing import Claim
from edgesdk.flows.metrics import (
    Asked,
    Wanted,
    collect,
    find_metrics,
    want,
    with_metrics,
    with_predictions,
)
from edgesdk.flows.rebooted import reboot_named
from edgesdk.flows.runs import keep
from edgesdk.flows.session import agent_on, find_device, lack_explained, require_described
from edgesdk.models.opening import open_model
from edgesdk.models.types import TensorSpec
from edgesdk.package.reading import read_sealed
from edgesdk.progress import JUDGING, Progress, Silent
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import Contract, GateBounds
from edgesdk.validate.build import find, summarize_data
from edgesdk.validate.gates import Gates, resolve_gates
from edgesdk.validate.visit import Reference, require_alike, validate
from edgesdk.values.forecast import Placement
from edgesdk.values.package import Package
from edgesdk.values.report import Findings
from edgesdk.values.results import MeasuredDevice
from edgesdk.values.timing import Timing


def bench(
    device: str,
    *,
    package: Path | str | None = None,
    model: Path | str | None = None,
    gates: tuple[GateBounds, ...] = (),
    timing: Timing | None = None,
    baseline: str | None = None,
    permissions: Permissions | None = None,
    wait_s: float = 0.0,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Findings:
    """Measure the latency of a package on a device.

    Args:
        package: install this one first; the device's current one unless given.
        permissions: for that.
        model: the float model to time beside it, or an artifact directory that holds it.
        gates: on top of the target's, the last one winning. Those of p95, peak memory and parity
            are judged; accuracy is `evaluate`'s.
        baseline: the run that this one is held against, as `runs show` takes it. Without it a gate
            of regression takes the accepted one of the package on the device.
        wait_s: how long to wait for a device that is someone else's.

    Raises:
        HistoryError: no such baseline, or none that can be.
        EdgeSDKError: the device cannot be reached, or has nothing to run.
    """
    baseline = resolve_baseline(baseline)
    float_model = None if model is None else _float_model(Path(model))
    reference = None if float_model is None else Reference(float_model.path, None)
    enrolled = find_device(device)
    layers, contract = _layers(enrolled, gates)
    bounds = resolve_gates(*layers, contract=contract)
    bounds = dataclasses.replace(bounds, max_accuracy_drop_points=None)
    expected = () if float_model is None else float_model.expected
    claim = Claim("a measurement of latency", wait_s, say)
    sealed = _sealed(package, None if float_model is None else float_model.inputs)
    chosen = _Chosen(sealed, permissions or Permissions(), claim, expected)
    how_long = dataclasses.replace(timing or Timing(), cold_load=True)
    findings = _measure(enrolled, chosen, reference, bounds, how_long, progress or Silent())
    findings = against_baseline(findings, regression_bound(layers), baseline)
    keep("bench", findings, target=enrolled.target, data=None, say=say)
    return findings


def evaluate(
    device: str,
    dataset: Source,
    model: Path | str,
    *,
    preprocessing: Preprocessing | None = None,
    on_device_preprocessing: bool = False,
    metrics: Sequence[str] = (),
    truth: str | None = None,
    decode: str | None = None,
    package: Path | str | None = None,
    gates: tuple[GateBounds, ...] = (),
    permissions: Permissions | None = None,
    wait_s: float = 0.0,
    progress: Progress | None = None,
    say: Say = lambda _: None,
    say_of_data: Say | None = None,
) -> Findings:
    """Measure on a device how much accuracy a package loses against its float model.

    Args:
        dataset: `FILE.npz`, `FILE.npz#SPLIT`, a folder of pictures with one subfolder a class,
            `module:function`, or an iterable of samples; with labels.
        preprocessing: what makes inputs of pictures.
        on_device_preprocessing: send the pictures as they are, decoded, and let the device make the
            inputs as the package declares; the same bytes come of it, and more of them travel.
        metrics: beyond top-1, see `edgesdk.metrics.table.find_metric`; with these the data need
            no labels.
        truth: `FILE.npz` or `FILE.npz#SPLIT` with what metrics judge by, one row a sample; the
            dataset's own arrays unless given.
        decode: "module:function" that makes of one sample's outputs what "map" or "wer" judges.
        model: the float model, or an artifact directory that holds it; it runs on the device,
            too, on the same samples.
        package: as for `bench`.
        gates: as for `bench`, but those of accuracy and parity are judged.
        wait_s: as for `bench`.
        say_of_data: told what concerns no device, which is the same for many; `say` unless given.

    Raises:
        DataError: the data do not fit, or carry no labels.
        EdgeSDKError: the device cannot be reached.
    """
    asked = Asked(tuple(metrics), truth, decode)
    float_model, samples = _evaluated(
        dataset, model, preprocessing, on_device_preprocessing, asked, gates
    )
    enrolled = find_device(device)
    layers, contract = _layers(enrolled, gates)
    wanted = want(asked, samples, float_model.inputs, float_model.outputs, layers)
    reference = Reference(
        float_model.path, samples if wanted is None else None, on_device_preprocessing
    )
    judged = samples if wanted is None else wanted.samples
    bounds = _of_accuracy(resolve_gates(*layers, contract=contract), judged)
    sealed = _sealed(package, float_model.inputs)
    if sealed is not None and on_device_preprocessing:
        manifest = sealed.manifest
        _require_same(f"{manifest.name} {manifest.version}", manifest.stages, samples)
    tell_samples_needed(judged, bounds.max_accuracy_drop_points, say_of_data or say)
    claim = Claim("a measurement of accuracy", wait_s, say)
    chosen = _Chosen(sealed, permissions or Permissions(), claim, float_model.expected)
    findings = _measure(enrolled, chosen, reference, bounds, None, progress or Silent(), wanted)
    keep("eval", findings, target=enrolled.target, data=summarize_data(samples), say=say)
    return findings


def require_evaluable(
    dataset: Source,
    model: Path | str,
    *,
    preprocessing: Preprocessing | None = None,
    on_device_preprocessing: bool = False,
    metrics: Sequence[str] = (),
    truth: str | None = None,
    decode: str | None = None,
    gates: tuple[GateBounds, ...] = (),
) -> None:
    """Refuse what `evaluate` would refuse whatever the device, before any is asked.

    Args:
        dataset, model, preprocessing, on_device_preprocessing, metrics, truth, decode, gates: as
            for `evaluate`.

    Raises:
        DataError, ModelError, UsageError, ToolchainMissing: as `evaluate`.
    """
    asked = Asked(tuple(metrics), truth, decode)
    float_model, samples = _evaluated(
        dataset, model, preprocessing, on_device_preprocessing, asked, gates
    )
    want(asked, samples, float_model.inputs, float_model.outputs, gates)


def _evaluated(
    dataset: Source,
    model: Path | str,
    preprocessing: Preprocessing | None,
    on_device_preprocessing: bool,
    asked: Asked,
    gates: tuple[GateBounds, ...],
) -> tuple[_FloatModel, Samples]:
    find_metrics(asked, gates)  # Before samples are read: a misspelt name need not wait for them.
    float_model = _float_model(Path(model))
    samples = _samples(dataset, float_model, preprocessing, needs_labels=not asked.names)
    if on_device_preprocessing:
        _require_pictures(samples, asked.names)
    return float_model, samples


def _require_pictures(samples: Samples, metrics: Sequence[str]) -> None:
    if samples.pictures is None:
        raise UsageError(
            f"found {samples.origin}, which are no pictures, expected a folder of them",
            hint="leave --on-device-preprocessing out, or give --dataset FOLDER",
        )
    if metrics:
        raise UsageError("found --metric with --on-device-preprocessing, expected one of them")


def _of_accuracy(gates: Gates, samples: Samples) -> Gates:
    """Those that `evaluate` judges: nothing is timed, and without labels there is no top-1."""
    top1 = None if samples.labels is None else gates.max_accuracy_drop_points
    return dataclasses.replace(
        gates,
        max_accuracy_drop_points=top1,
        max_p95_ns=None,
        max_peak_ram_bytes=None,
        max_preprocess_p95_ns=None,
        max_inference_p95_ns=None,
        max_postprocess_p95_ns=None,
        max_end_to_end_p95_ns=None,
    )


@dataclass(frozen=True, slots=True)
class _FloatModel:
    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    expected: tuple[Placement, ...] = ()


def _samples(
    dataset: Source,
    model: _FloatModel,
    preprocessing: Preprocessing | None,
    *,
    needs_labels: bool,
) -> Samples:
    samples = open_samples(dataset, model.inputs, preprocessing=preprocessing)
    if samples.labels is None and not needs_labels:
        return samples
    if samples.labels is None:
        raise DataError(
            f"found no labels in {samples.origin}, and accuracy cannot be measured without them",
            hint=f"save an integer array {LABEL!r} beside the inputs, one class index a sample",
        )
    check_labels(samples, model.outputs, for_metrics=not needs_labels)
    return samples


def _layers(
    device: Device, gates: tuple[GateBounds, ...]
) -> tuple[tuple[GateBounds, ...], Contract]:
    """The bounds on top of the device's target's, and the target's contract."""
    target = load_target(device.target)
    return (target.gates, *gates), target.contract


def _float_model(path: Path) -> _FloatModel:
    if (path / ARTIFACT_FILE).is_file():
        artifact = read_artifact(path)
        plan = artifact.plan
        return _FloatModel(
            path / artifact.file("float").path,
            plan.inputs,
            plan.outputs,
            artifact.expected_placements,
        )
    model = open_model(path)
    if model.format not in ("onnx", "tflite"):
        raise UsageError(
            f"found the {model.format} model {path.name}, which no device runs as it is",
            hint="give the artifact directory: it holds the float model as the device runs it",
        )
    return _FloatModel(path, model.inputs, model.outputs)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The package to measure: one to install first, or what is current.

    Args:
        expected: where its operators must be, where its artifact is at hand.
    """

    package: Package | None
    permissions: Permissions
    claim: Claim
    expected: tuple[Placement, ...] = ()


def _measure(
    device: Device,
    chosen: _Chosen,
    reference: Reference | None,
    gates: Gates,
    timing: Timing | None,
    progress: Progress,
    wanted: Wanted | None = None,
) -> Findings:
    with agent_on(device, claim=chosen.claim, progress=progress) as agent:
        require_described(device, agent.environment)
        installed = _installed(agent, device, chosen, progress)
        if reference is not None and reference.on_device:
            called = f"{installed.name} {installed.version}"
            _require_same(called, installed.stages, reference.dataset)
        with (
            lack_explained(device, agent.environment, installed),
            reboot_named(device, agent.environment, chosen.claim.say),
        ):
            results = validate(
                agent,
                MeasuredDevice(device.name, device.kind, agent.environment),
                installed,
                reference=reference,
                timing=timing,
                progress=progress,
            )
            outputs = None if wanted is None else collect(agent, wanted.samples, progress)
    if wanted is not None and outputs is not None:
        results = with_predictions(results, wanted.samples, outputs)
    target = load_target(device.target)
    with progress.task(JUDGING, 0):
        findings = find(results, target, gates, expected=chosen.expected)
    if wanted is None or outputs is None:
        return findings
    return with_metrics(findings, wanted, outputs, progress)


def _sealed(package: Path | str | None, inputs: Sequence[TensorSpec] | None) -> Package | None:
    """A package file, seen to take what the float model beside it takes, before it is sent.

    Raises:
        PackageError: it is damaged.
        UsageError: it takes other inputs.
    """
    if package is None:
        return None
    sealed = read_sealed(Path(package))
    manifest = sealed.manifest
    if inputs is not None:
        require_alike(
            [each.shape for each in inputs],
            [tuple(each.shape) for each in manifest.inputs],
            f"the package {manifest.name} {manifest.version}",
        )
    return sealed


def _require_same(called: str, stages: Stages | None, samples: Samples | None) -> None:
    """The device prepares pictures as its package says, which must be as this project says."""
    wanted = "" if samples is None else samples.preprocessing
    if stages is None:
        raise UsageError(
            f"the package {called} declares no preprocessing, which the device would need",
            hint="set [preprocessing] in edgesdk.toml, convert, package and push again; or leave"
            " --on-device-preprocessing out",
        )
    if stages.preprocessing.digest != wanted:
        raise UsageError(
            f"the package {called} declares the preprocessing "
            f"{stages.preprocessing.digest[:12]}, found {wanted[:12]} here",
            hint="use the one it was made with, or convert, package and push again",
        )


def _installed(
    agent: AgentSession, device: Device, chosen: _Chosen, progress: Progress
) -> Installed:
    if chosen.package is None:
        return agent.current()
    committed = put(
        agent,
        device,
        chosen.package,
        progress,
        permissions=chosen.permissions,
        say=chosen.claim.say,
    )
    return committed.installed
