"""The whole line: a model, a target, a device and data in; a verdict measured on the device out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from edgesdk.convert.conversion import Conversion, convert
from edgesdk.convert.planning import plan_conversion
from edgesdk.data.preprocessing import Postprocessing, Preprocessing, steps_of
from edgesdk.data.samples import Samples, Source, check_labels, open_samples
from edgesdk.devices.inventory import Device
from edgesdk.errors import (
    AgentError,
    ArtifactError,
    ExitCode,
    IncompatibleTarget,
    NoWheels,
    ToolchainMissing,
    Unhealthy,
)
from edgesdk.flows.agents import agent_install
from edgesdk.flows.baseline import (
    against_baseline,
    regression_bound,
    resolve_baseline,
    tell_samples_needed,
)
from edgesdk.flows.convert import warn_of
from edgesdk.flows.installing import Permissions, Say, install
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
from edgesdk.flows.package import Signing, dated, offered, stages_of, travelling
from edgesdk.flows.rebooted import NO_RESULT, reboot_named
from edgesdk.flows.report import HTML_FILE, REPORT_FILE, write_html
from edgesdk.flows.runs import keep
from edgesdk.flows.session import agent_on, find_device, lack_of_runtime, require_architecture
from edgesdk.models.opening import open_model
from edgesdk.models.types import Model
from edgesdk.package.budget import resolve_budget
from edgesdk.package.building import build_package, check_release, package_name
from edgesdk.package.reading import read_package
from edgesdk.progress import JUDGING, Progress, Silent
from edgesdk.serial import write_json
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import BudgetText, GateBounds, Target
from edgesdk.validate.build import build_report, summarize_data
from edgesdk.validate.gates import Gates, resolve_gates
from edgesdk.validate.visit import Reference, validate
from edgesdk.values.metric import Outputs
from edgesdk.values.package import Budget, Package, Release
from edgesdk.values.plan import ConversionPlan
from edgesdk.values.recipe import Recipe
from edgesdk.values.report import Report
from edgesdk.values.results import MeasuredDevice, Results
from edgesdk.values.timing import Timing
from edgesdk.wheels.ways import WHOLE

_NOT_IN_USE = "the package on trial is not in use there"


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
    baseline: str | None = None,
    metrics: Asked | None = None,
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
        baseline: as for `bench`.
        metrics: beyond top-1, measured on the evaluation data.
        base: an earlier package that the device has, to send a delta against.
        wait_s: how long to wait for a device that is someone else's, before and after converting.
        say: told what is not as usual, such as that a first key was made.

    Raises:
        Unhealthy: the package passed every gate and not its health check; the report is written.
        EdgeSDKError: the input does not hold, a toolchain or the device failed. A failed gate is
            no error: it is in the report.
    """
    order = Order(
        model=model,
        calibration=calibration,
        dataset=dataset,
        recipe=recipe or Recipe(),
        input_shapes=input_shapes,
        preprocessing=preprocessing,
        postprocessing=postprocessing,
        release=release or Release(),
        budget=budget,
        gates=gates,
        signing=signing or Signing(),
        base=base,
        baseline=baseline,
        metrics=metrics or Asked(),
    )
    return carry_out(
        order,
        device,
        output,
        target=target,
        timing=timing,
        permissions=permissions,
        wait_s=wait_s,
        progress=progress,
        say=say,
    )


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made, for whichever device; the arguments of `deploy` of the same names."""

    model: Path | str
    calibration: Source
    dataset: Source | None = None
    recipe: Recipe = Recipe()
    input_shapes: Mapping[str, tuple[int, ...]] | None = None
    preprocessing: Preprocessing | None = None
    postprocessing: Postprocessing | None = None
    release: Release = Release()
    budget: tuple[BudgetText, ...] = ()
    gates: tuple[GateBounds, ...] = ()
    signing: Signing = Signing()
    base: Path | str | None = None
    baseline: str | None = None
    metrics: Asked = Asked()


def carry_out(
    order: Order,
    device: str,
    output: Path | str,
    *,
    target: str | None = None,
    timing: Timing | None = None,
    permissions: Permissions | None = None,
    wait_s: float = 0.0,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Report:
    """`deploy` of what is to be made as one value.

    Raises:
        EdgeSDKError: as `deploy`.
    """
    shown, folder = progress or Silent(), folder_for(Path(output))
    enrolled = find_device(device)
    claim = Claim(purpose(order.model), wait_s, say)
    made = make(
        order,
        target_for(enrolled, target),
        folder,
        lambda plan, name: meet(enrolled, plan, name, claim, shown),
        progress=shown,
        say=say,
    )
    visited = Visit(enrolled, made.package, permissions or Permissions(), claim, shown)
    return visit(visited, made, folder, timing or Timing())


def purpose(model: Path | str) -> str:
    """What a device is leased for meanwhile."""
    return f"a deployment of {Path(model).name}"


@dataclass(frozen=True, slots=True)
class Made:
    """What was made for one target, and what it is judged by on every device.

    Args:
        regression_percent: by which it may be slower than the baseline; None without that gate.
        baseline: the id of the run that is it; the accepted one of each device unless given.
        wanted: metrics beyond top-1, known to be possible.
    """

    conversion: Conversion
    package: Package
    target: Target
    calibration: Samples
    evaluation: Samples | None
    budget: Budget
    gates: Gates
    regression_percent: float | None = None
    baseline: str | None = None
    wanted: Wanted | None = None


Meet = Callable[[ConversionPlan, str], int]
"""Look at the devices before anything is made for them.

Args: the plan, and the package's name. Gives the highest sequence of that name they have, or 0.
"""


def make(
    order: Order,
    target: Target,
    folder: Path,
    meet: Meet,
    *,
    progress: Progress,
    say: Say,
) -> Made:
    """Convert and package, once the devices have been looked at.

    Raises:
        EdgeSDKError: the input does not hold, a toolchain failed; or whatever `meet` raises.
    """
    called = dated(order.release)
    baseline = resolve_baseline(order.baseline)
    find_metrics(order.metrics, order.gates)  # Before data are read, which may take long.
    earlier = None if order.base is None else read_package(Path(order.base))
    opened = open_model(order.model, order.input_shapes)
    check_release(called, opened.name)
    samples, evaluation = _read(order, opened, progress)
    layers = (target.gates, *order.gates)
    wanted = want(order.metrics, evaluation, opened.inputs, opened.outputs, layers)
    warn_of(samples)
    limits = resolve_budget(target.budget, *order.budget)
    bounds = resolve_gates(*layers, budget=limits, contract=target.contract)
    judged = evaluation if wanted is None else wanted.samples
    if judged is not None:
        tell_samples_needed(judged, bounds.max_accuracy_drop_points, say)
    plan = plan_conversion(
        opened, target, samples, order.recipe, preprocessing=steps_of(order.preprocessing)
    )
    stages = stages_of(plan, order.preprocessing, order.postprocessing)
    chosen = order.signing.choose(say)
    name = package_name(called, opened.name)
    had = meet(plan, name)
    if called.sequence is None:
        called = replace(called, sequence=had + 1)

    folder.mkdir(parents=True, exist_ok=True)
    conversion = convert(opened, plan, target, samples, folder / "artifact", progress)
    package = build_package(
        conversion.artifact,
        conversion.directory,
        folder / f"{name}.edgepkg",
        called,
        limits,
        travelling(bounds),
        signer=chosen.signer,
        before_writing=chosen.keep,
        base=earlier,
        offered=offered(target, conversion.artifact),
        stages=stages,
    )
    return Made(
        *(conversion, package, target, samples, evaluation, limits, bounds),
        regression_percent=regression_bound(layers),
        baseline=baseline,
        wanted=wanted,
    )


def _read(order: Order, model: Model, progress: Progress) -> tuple[Samples, Samples | None]:
    """The samples to calibrate with, and those to evaluate on, where there are any."""
    with progress.task("reading the data", 0) as advance:
        samples = open_samples(order.calibration, model.inputs, advance, order.preprocessing)
        if order.dataset is None:
            return samples, None
        evaluation = open_samples(order.dataset, model.inputs, advance, order.preprocessing)
        check_labels(evaluation, model.outputs, for_metrics=bool(order.metrics.names))
    return samples, evaluation


def meet(
    device: Device,
    plan: ConversionPlan,
    name: str,
    claim: Claim,
    progress: Progress | None = None,
) -> int:
    """See that a device can run what is planned, and is nobody else's.

    A runtime that it lacks is brought to it, into the agent's own folder, where wheels can do that.

    Returns:
        The highest sequence it has among the packages of that name, or 0.

    Raises:
        DeviceError: it cannot be reached, is not what it should be, or is someone else's.
    """
    with agent_on(device, claim=claim, progress=progress) as agent:
        require_architecture(device, agent.environment, plan.target_id, plan.target_architecture)
        lack = lack_of_runtime(device, agent.environment, (plan.runtime,))
        had = [each.sequence for each in agent.inventory().packages if each.name == name]
    if lack is not None:
        _bring(device, plan.runtime.name, lack, claim, progress or Silent())
    return max(had, default=0)


def _bring(
    device: Device, runtime: str, lack: AgentError, claim: Claim, progress: Progress
) -> None:
    if runtime not in WHOLE:
        raise lack
    claim.say(f"{lack.message}: bringing one for the agent alone")
    try:
        agent_install(
            device.name,
            runtimes=(runtime,),
            progress=progress,
            wait_s=claim.wait_s,
            say=claim.say,
        )
    except (NoWheels, ToolchainMissing) as error:
        raise AgentError(
            lack.message,
            code=lack.code,
            hint=lack.hint,
            details=(f"it could not be brought: {error.message}", *error.details),
        ) from error
    claim.say(f"`edgesdk agent uninstall {device.name}` takes it away again")


def visit(visited: Visit, made: Made, folder: Path, timing: Timing) -> Report:
    """Push, measure and judge on one device; the report is written to the folder.

    Raises:
        Unhealthy: the package passed every gate and not its health check; the report is written.
        DeviceError: the device cannot be reached, or refuses the package.
    """
    results, outputs, unhealthy = _measure(visited, made, timing)
    with visited.progress.task(JUDGING, 0):
        report = build_report(
            artifact=made.conversion.artifact,
            target=made.target,
            calibration=summarize_data(made.calibration),
            evaluation=None if made.evaluation is None else summarize_data(made.evaluation),
            package=made.package,
            budget=made.budget,
            results=results,
            gates=made.gates,
            created=datetime.now(UTC),
            unhealthy="" if unhealthy is None else unhealthy.message,
        )
    if made.wanted is not None and outputs is not None:
        report = with_metrics(report, made.wanted, outputs, visited.progress)
    report = against_baseline(report, made.regression_percent, made.baseline)
    write_json(folder / REPORT_FILE, report)
    write_html(report, folder / HTML_FILE)
    say = visited.claim.say
    keep("deploy", report, target=made.target.id, data=report.evaluation, say=say)
    if unhealthy is not None and report.exit_code == ExitCode.PASSED:
        raise unhealthy
    return report


def folder_for(path: Path) -> Path:
    """The folder for results, which may not be there yet.

    Raises:
        ArtifactError: it is a file.
    """
    if path.exists() and not path.is_dir():
        raise ArtifactError(f"{path} is a file, expected a directory to write the results to")
    return path


def target_for(device: Device, wanted: str | None) -> Target:
    """What to convert for: what the device is enrolled as, or something that runs there as well.

    Raises:
        IncompatibleTarget: of another architecture.
        TargetError: no such target.
    """
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
class Visit:
    """What is taken where."""

    device: Device
    package: Package
    permissions: Permissions
    claim: Claim
    progress: Progress


Pair = tuple[Outputs, Outputs]


def _measure(
    visit: Visit, made: Made, timing: Timing
) -> tuple[Results, Pair | None, Unhealthy | None]:
    """What was measured of the package on trial, and why it is not in use if it is not.

    Both models' outputs are fetched only where metrics are judged by them; the predicted classes
    are read from these then.
    """
    conversion, wanted = made.conversion, made.wanted
    has_classes = conversion.artifact.plan.outputs[0].scores > 1
    device, progress = visit.device, visit.progress
    with agent_on(device, claim=visit.claim, progress=progress) as agent:
        installed = install(
            agent,
            device,
            visit.package,
            progress,
            permissions=visit.permissions,
            say=visit.claim.say,
        )
        with reboot_named(
            device, agent.environment, visit.claim.say, consequence=f"{NO_RESULT}; {_NOT_IN_USE}"
        ):
            results = validate(
                agent,
                MeasuredDevice(device.name, device.kind, agent.environment),
                installed,
                reference=Reference(
                    conversion.directory / conversion.artifact.file("float").path,
                    made.evaluation if wanted is None and has_classes else None,
                ),
                timing=timing,
                progress=progress,
            )
            outputs = None if wanted is None else collect(agent, wanted.samples, progress)
        if wanted is not None and outputs is not None:
            results = with_predictions(results, wanted.samples, outputs)
        try:
            committed = agent.commit(installed.package_id, progress)
        except Unhealthy as error:
            return results, outputs, error
    return replace(results, installed=committed.installed), outputs, None
