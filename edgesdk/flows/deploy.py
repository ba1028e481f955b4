"""The whole line: a model, a target, a device and data in; a verdict measured on the device out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from edgesdk.convert.conversion import Conversion, convert
from edgesdk.convert.planning import plan_conversion
from edgesdk.data.preprocessing import Preprocessing
from edgesdk.data.samples import Samples, Source, check_labels, open_samples
from edgesdk.devices.inventory import Device
from edgesdk.errors import ArtifactError, IncompatibleTarget
from edgesdk.flows.convert import warn_of
from edgesdk.flows.package import travelling
from edgesdk.flows.report import HTML_FILE, REPORT_FILE, write_html
from edgesdk.flows.session import agent_on, find_device, require_ready
from edgesdk.models.opening import open_model
from edgesdk.package.budget import resolve_budget
from edgesdk.package.building import build_package, check_release, package_name
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
    release: Release | None = None,
    budget: tuple[BudgetText, ...] = (),
    gates: tuple[GateBounds, ...] = (),
    timing: Timing | None = None,
    progress: Progress | None = None,
) -> Report:
    """Convert, package, push, measure and judge.

    The output folder then holds `artifact/`, `<name>.edgepkg`, `report.json` and `report.html`.

    Args:
        model: an `.onnx`, `.tflite`, `.keras`, `.h5` or `.pt2` file, the folder of a SavedModel, or
            "module:function", in float32.
        device: an enrolled device.
        calibration: `FILE.npz`, `FILE.npz#SPLIT`, a folder of pictures, `module:function`, or an
            iterable of samples.
        output: folder for the results.
        dataset: labelled data to measure accuracy with; without it accuracy is "not measured".
        preprocessing: what makes inputs of pictures, for both.
        target: the one the device is enrolled as unless given.
        budget: on top of the target's, the last one winning.
        gates: likewise.

    Raises:
        EdgeSDKError: the input does not hold, a toolchain or the device failed. A failed gate is
            no error: it is in the report.
    """
    shown = progress or Silent()
    called = release or Release()
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
    bounds = resolve_gates(descriptor.gates, *gates, budget=limits)
    plan = plan_conversion(opened, descriptor, samples, recipe or Recipe())
    with agent_on(enrolled) as agent:
        require_ready(enrolled, agent.environment, plan)

    folder.mkdir(parents=True, exist_ok=True)
    conversion = convert(opened, plan, descriptor, samples, folder / "artifact", shown)
    package = build_package(
        conversion.artifact,
        conversion.directory,
        folder / f"{package_name(called, opened.name)}.edgepkg",
        called,
        limits,
        travelling(bounds),
    )
    results = _measure(enrolled, package, conversion, evaluation, timing or Timing(), shown)
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
    )
    write_json(folder / REPORT_FILE, report)
    write_html(report, folder / HTML_FILE)
    return report


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


def _measure(
    device: Device,
    package: Package,
    conversion: Conversion,
    evaluation: Samples | None,
    timing: Timing,
    progress: Progress,
) -> Results:
    with agent_on(device) as agent:
        return validate(
            agent,
            MeasuredDevice(device.name, device.virtual, agent.environment),
            agent.install(package.path, progress),
            reference=Reference(
                conversion.directory / conversion.artifact.file("float").path, evaluation
            ),
            timing=timing,
            progress=progress,
        )
