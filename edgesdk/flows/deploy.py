"""The whole line: a model, a target, a device and data in; a verdict measured on the device out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from edgesdk.convert.conversion import Conversion, convert
from edgesdk.convert.planning import plan_conversion
from edgesdk.data.preprocessing import Postprocessing, Preprocessing, steps_of
from edgesdk.data.samples import Samples, Source, check_labels, open_samples
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Device
from edgesdk.errors import ArtifactError, ExitCode, IncompatibleTarget, Unhealthy
from edgesdk.flows.convert import warn_of
from edgesdk.flows.installing import Permissions, Say, install
from edgesdk.flows.leasing import Claim
from edgesdk.flows.package import Signing, dated, offered, stages_of, travelling
from edgesdk.flows.report import HTML_FILE, REPORT_FILE, write_html
from edgesdk.flows.session import agent_on, find_device, require_ready
from edgesdk.models.opening import open_model
from edgesdk.package.budget import resolve_budget
from edgesdk.package.building import build_package, check_release, package_name
from edgesdk.package.reading import read_package
from edgesdk.progress import Progress, Silent
from edgesdk.serial import write_json
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import BudgetText, GateBounds, Target
from edgesdk.validate.build import build_report, summarize_data
from edgesdk.validate.gates import resolve_gates
from edgesdk.validate.visit import Reference, validate
from edgesdk.values.package import Package, Release
from edgesdk.values.recipe import Recipe
from edgesdk.values.report import Report
from edgesdk.values.results import MeasuredDevice, Results
from edgesdk.values.timing import Timing


def deploy(
    model: Path | str,
    device: str,
    calibration: Source,
    output: Path | str,
    *,
    dataset: Source | None = None,
    target: str | None = None,
    recipe: Recipe | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    preprocessing: Preprocessing | None = None,
    postprocessing: Postprocessing | None = None,
    release: Release | None = None,
    budget: tuple[BudgetText, ...] = (),
    gates: tuple[GateBounds, ...] = (),
    timing: Timing | None = None,
    signing: Signing | None = None,
    base: Path | str | None = None,
    permissions: Permissions | None = None,
    wait_s: float = 0.0,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Report:
    """Convert, package, push, measure and judge.

    The package is on trial while it is measured. It becomes the current one of the device if it
    passes its health check; if not, the report says so and the device is as it was before.

    The output folder then holds `artifact/`, `<name>.edgepkg`, `report.json` and `report.html`.

    Args:
        model: an `.onnx`, `.tflite`, `.keras`, `.h5` or `.pt2` file, the folder of a SavedModel, or
            "module:function", in float32.
        device: an enrolled device.
        calibration: `FILE.npz`, `FILE.npz#SPLIT`, a folder of pictures, `module:function`, or an
            iterable of samples.
        output: folder for the results.
        dataset: labelled data to measure accuracy with; without it accuracy is "not measured".
        preprocessing: what makes inputs of pictures, for both and on the device: the package
            carries it, and where it names a source size its stages are timed.
        postprocessing: what makes the answer of the outputs; goes with it.
        target: the one the device is enrolled as unless given.
        budget: on top of the target's, the last one winning.
        gates: likewise.
        base: an earlier package that the device has, to send a delta against.
        wait_s: how long to wait for a device that is someone else's, before and after converting.
        say: told what is not as usual, such as that a first key was made.

    Raises:
        Unhealthy: the package passed every gate and not its health check; the report is written.
        EdgeSDKError: the input does not hold, a toolchain or the device failed. A failed gate is
            no error: it is in the report.
    """
    shown = progress or Silent()
    called = dated(release or Release())
    earlier = None if base is None else read_package(Path(base))
    folder = _folder(Path(output))
    enrolled = find_device(device)
    descriptor = _target_for(enrolled, target)
    opened = open_model(model, input_shapes)
    check_release(called, opened.name)
    with shown.task("reading the data", 0) as advance:
        samples = open_samples(calibration, opened.inputs, advance, preprocessing)
        evaluation = None
        if dataset is not None:
            evaluation = open_samples(dataset, opened.inputs, advance, preprocessing)
            check_labels(evaluation, opened.outputs)
    warn_of(samples)
    limits = resolve_budget(descriptor.budget, *budget)
    bounds = resolve_gates(descriptor.gates, *gates, budget=limits, contract=descriptor.contract)
    plan = plan_conversion(
        opened, descriptor, samples, recipe or Recipe(), preprocessing=steps_of(preprocessing)
    )
    stages = stages_of(plan, preprocessing, postprocessing)
    chosen = (signing or Signing()).choose(say)
    claim = Claim(f"a deployment of {opened.name}", wait_s, say)
    with agent_on(enrolled, claim=claim) as agent:  # Someone else's is better known beforehand.
        require_ready(enrolled, agent.environment, plan)
        called = _numbered(called, package_name(called, opened.name), agent)

    folder.mkdir(parents=True, exist_ok=True)
    conversion = convert(opened, plan, descriptor, samples, folder / "artifact", shown)
    package = build_package(
        conversion.artifact,
        conversion.directory,
        folder / f"{package_name(called, opened.name)}.edgepkg",
        called,
        limits,
        travelling(bounds),
        signer=chosen.signer,
        before_writing=chosen.keep,
        base=earlier,
        offered=offered(descriptor, conversion.artifact),
        stages=stages,
    )
    visit = _Visit(enrolled, package, permissions or Permissions(), claim, shown)
    results, unhealthy = _measure(visit, conversion, evaluation, timing or Timing())
    report = build_report(
        artifact=conversion.artifact,
        target=descriptor,
        calibration=summarize_data(samples),
        evaluation=None if evaluation is None else summarize_data(evaluation),
        package=package,
        budget=limits,
        results=results,
        gates=bounds,
        created=datetime.now(UTC),
        unhealthy="" if unhealthy is None else unhealthy.message,
    )
    write_json(folder / REPORT_FILE, report)
    write_html(report, folder / HTML_FILE)
    if unhealthy is not None and report.exit_code == ExitCode.PASSED:
        raise unhealthy
    return report


def _numbered(release: Release, name: str, agent: AgentSession) -> Release:
    """The release with the sequence after the last one of that name on the device."""
    if release.sequence is not None:
        return release
    had = [each.sequence for each in agent.inventory().packages if each.name == name]
    return replace(release, sequence=max(had, default=0) + 1)


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise ArtifactError(f"{path} is a file, expected a directory to write the results to")
    return path


def _target_for(device: Device, wanted: str | None) -> Target:
    enrolled_as = load_target(device.target)
    target = load_target(wanted) if wanted else enrolled_as
    if target.architecture != enrolled_as.architecture:
        raise IncompatibleTarget(
            f"{target.id} is {target.architecture}, the device {device.name} is enrolled as "
            f"{enrolled_as.id}, which is {enrolled_as.architecture}",
            hint=f"choose --target {enrolled_as.id}, or another device",
        )
    return target


@dataclass(frozen=True, slots=True)
class _Visit:
    """What is taken where."""

    device: Device
    package: Package
    permissions: Permissions
    claim: Claim
    progress: Progress


def _measure(
    visit: _Visit, conversion: Conversion, evaluation: Samples | None, timing: Timing
) -> tuple[Results, Unhealthy | None]:
    """What was measured of the package on trial, and why it is not in use if it is not."""
    device, progress = visit.device, visit.progress
    with agent_on(device, claim=visit.claim) as agent:
        installed = install(
            agent,
            device,
            visit.package,
            progress,
            permissions=visit.permissions,
            say=visit.claim.say,
        )
        results = validate(
            agent,
            MeasuredDevice(device.name, device.kind, agent.environment),
            installed,
            reference=Reference(
                conversion.directory / conversion.artifact.file("float").path, evaluation
            ),
            timing=timing,
            progress=progress,
        )
        try:
            committed = agent.commit(installed.package_id, progress)
        except Unhealthy as error:
            return results, error
    return replace(results, installed=committed.installed), None
