"""edgesdk bench and eval: parse, call, cli.render.

Annotations here are evaluated once, as in `edgesdk.cli.commands`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edgesdk import api, cli
from edgesdk.cli import many, options, output
from edgesdk.cli.groups import MetricFlags, SpeedGates, TimingFlags, spelt_out
from edgesdk.cli.options import required
from edgesdk.cli.places import at_place
from edgesdk.errors import UsageError

if TYPE_CHECKING:
    from edgesdk.values.report import Findings

OptionalPackage = Annotated[
    Path | None, typer.Option("--package", help="Install this first; else what is installed.")
]
FloatModel = Annotated[
    str | None,
    typer.Option("--model", help="The float model, or the artifact directory that holds it."),
]


@at_place
@spelt_out
def bench(
    device: options.Device = None,
    *,
    package: OptionalPackage = None,
    model: FloatModel = None,
    gates: SpeedGates,
    timing: TimingFlags,
    sustained: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            callback=options.lasting(),
            help='Instead, run without a pause for so long, such as "30m": when does it give way?',
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="With --sustained: write its page to this file.")
    ] = None,
    allow_unsigned: options.AllowUnsigned = False,
    wait: options.Wait = None,
    jobs: many.Jobs = many.DEFAULT_JOBS,
    project: options.ProjectFile = None,
    as_json: options.Json = False,
) -> None:
    """Measure the latency of what is installed on a device."""
    settings = api.load_project(project)
    chosen = required(device or settings.device, "--device", "device")
    if sustained is not None:
        _refuse_beside_sustained(
            *(model, *gates._replace(max_p95=None, max_peak_ram=None), timing.per_operator or None)
        )
        endurance = api.sustain(
            _one(chosen, "--sustained"),
            options.seconds(sustained),
            package=package,
            html=html,
            threads=timing.threads,
            gates=(settings.gates, gates.bounds()),
            permissions=api.Permissions(allow_unsigned),
            wait_s=options.seconds(wait),
            progress=output.ProgressBars(),
            say=output.say,
        )
        output.emit(endurance, as_json, cli.render.endurance)
        raise typer.Exit(endurance.exit_code)
    if html is not None:
        raise UsageError("found --html without --sustained", hint="edgesdk report writes reports")
    wanted = partial(
        api.bench,
        package=package,
        model=model,
        gates=(options.contracted(settings), gates.bounds()),
        timing=timing.timing(),
        baseline=api.resolve_baseline(gates.baseline),  # Once, for all devices.
        permissions=api.Permissions(allow_unsigned),
        wait_s=options.seconds(wait),
    )
    _measure(chosen, wanted, package, jobs, as_json)


@at_place
@spelt_out
def evaluate(
    device: options.Device = None,
    dataset: options.Dataset = None,
    model: FloatModel = None,
    package: OptionalPackage = None,
    *,
    metrics: MetricFlags,
    max_accuracy_drop: options.MaxAccuracyDrop = None,
    max_parity_mismatch: options.MaxParityMismatch = None,
    preprocessing: options.PreprocessingFile = None,
    on_device_preprocessing: Annotated[
        bool,
        typer.Option(
            "--on-device-preprocessing", help="Send pictures; the device makes inputs of them."
        ),
    ] = False,
    allow_unsigned: options.AllowUnsigned = False,
    wait: options.Wait = None,
    jobs: many.Jobs = many.DEFAULT_JOBS,
    project: options.ProjectFile = None,
    as_json: options.Json = False,
) -> None:
    """Measure on a device how much accuracy INT8 loses against the float model."""
    settings = api.load_project(project)
    chosen = required(device or settings.device, "--device", "device")
    asked = metrics.on(settings)
    judged = partial(
        api.evaluate,
        dataset=required(dataset or settings.dataset, "--dataset", "dataset"),
        model=required(model or settings.model, "--model", "model"),
        preprocessing=options.preprocessing(settings.preprocessing, preprocessing),
        on_device_preprocessing=on_device_preprocessing,
        metrics=asked.names,
        truth=asked.truth,
        decode=asked.decode,
        gates=(
            metrics.gates(settings),
            api.GateBounds(
                max_accuracy_drop_points=max_accuracy_drop,
                max_parity_mismatch_percent=max_parity_mismatch,
                max_metric_drop=metrics.drops(asked),
            ),
        ),
    )
    if api.is_selection(chosen):
        api.require_evaluable(**judged.keywords)  # Told once, before any device is asked.
    wanted = partial(
        judged,
        package=package,
        permissions=api.Permissions(allow_unsigned),
        wait_s=options.seconds(wait),
        say_of_data=many.say_once(),
    )
    _measure(chosen, wanted, package, jobs, as_json)


def _measure(
    chosen: str,
    wanted: "Callable[..., Findings]",
    package: Path | None,
    jobs: int,
    as_json: bool,
) -> NoReturn:
    """Carry out a measurement on one device or many, show it, and end with its exit code."""
    if api.is_selection(chosen):
        if package is not None:
            api.inspect(package)  # What is wrong with it is told once, before any device is asked.
        many.on_each(
            chosen,
            lambda name, progress, say: wanted(name, progress=progress, say=say),
            cli.render_lab.findings,
            jobs=jobs,
            as_json=as_json,
            verdict=lambda found: found.exit_code,
        )
    findings = wanted(chosen, progress=output.ProgressBars(), say=output.say)
    output.emit(findings, as_json, cli.render.findings)
    raise typer.Exit(findings.exit_code)


def _one(device: str, option: str) -> str:
    """A device's name, where many make no sense."""
    if api.is_selection(device):
        raise UsageError(
            f"found --device {device} with {option}, expected one device",
            hint="start it once for each device: they do not disturb one another",
        )
    return device


def _refuse_beside_sustained(*flags: object) -> None:
    if any(flag is not None for flag in flags):
        raise UsageError(
            "found a float model, a gate, a baseline or --per-operator beside --sustained, which"
            " runs one model and is judged by --max-p95 and --max-peak-ram alone",
            hint="run edgesdk bench without --sustained for these",
        )
