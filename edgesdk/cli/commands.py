"""The verbs of the main line, one function each: parse, call, cli.render.

Annotations here and beside are evaluated once, not left as text: typer would evaluate each again at
every start.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edgesdk import api, cli
from edgesdk.cli import many, options, output
from edgesdk.cli.groups import ReleaseFlags, StageGates, spelt_out
from edgesdk.cli.options import required
from edgesdk.cli.places import at_place
from edgesdk.errors import UsageError
from edgesdk.units import parse_duration_ns

if TYPE_CHECKING:
    from edgesdk.values.report import Findings

Model = Annotated[
    str | None,
    typer.Argument(
        help="Float model: .onnx, .tflite, .keras, .h5, .pt2, a SavedModel or module:factory."
    ),
]
PackageFile = Annotated[Path, typer.Argument(help="An .edgepkg file.")]
OptionalPackage = Annotated[
    Path | None, typer.Option("--package", help="Install this first; else what is installed.")
]
FloatModel = Annotated[
    str | None,
    typer.Option("--model", help="The float model, or the artifact directory that holds it."),
]


def convert(
    model: Model = None,
    target: options.Target = None,
    calibration: options.Calibration = None,
    out: options.Output = None,
    input_shape: options.InputShapes = None,
    io: options.Io = None,
    keep_float: options.KeepFloat = None,
    recipe: options.RecipeFile = None,
    precision: options.Precision = None,
    range_method: options.RangeMethod = None,
    quantizer: options.ChosenQuantizer = None,
    encodings: options.Encodings = False,
    preprocessing: options.PreprocessingFile = None,
    project: options.ProjectFile = None,
    as_json: options.Json = False,
) -> None:
    """Convert a float model to INT8 for a target."""
    settings = api.load_project(project)
    conversion = api.convert(
        required(model or settings.model, "MODEL", "model"),
        required(target or settings.target, "--target", "target"),
        required(calibration or settings.calibration, "--calibration", "calibration"),
        out or Path(required(settings.output, "--output", "output")) / "artifact",
        recipe=options.recipe(
            settings.recipe,
            recipe,
            io=io,
            keep_float=keep_float,
            precision=precision,
            range_method=range_method,
            quantizer=quantizer,
            encodings=encodings,
        ),
        input_shapes={**settings.input_shapes, **options.parse_shapes(input_shape)},
        preprocessing=options.preprocessing(settings.preprocessing, preprocessing),
        progress=output.ProgressBars(),
    )
    output.emit(conversion, as_json, cli.render.conversion)


@spelt_out
def package(
    artifact: Annotated[Path, typer.Argument(help="Directory that convert wrote.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="The .edgepkg file to write.")],
    *,
    target: options.Target = None,
    release: ReleaseFlags,
    twin: options.TwinArtifact = None,
    base: options.Base = None,
    key: options.Key = None,
    unsigned: options.Unsigned = False,
    package_budget: options.PackageBudget = None,
    delta_budget: options.DeltaBudget = None,
    installed_budget: options.InstalledBudget = None,
    ram_budget: options.RamBudget = None,
    preprocessing: options.PreprocessingFile = None,
    project: options.ProjectFile = None,
    as_json: options.Json = False,
) -> None:
    """Seal an artifact into an .edgepkg under its size budgets."""
    settings = api.load_project(project)
    sealed = api.package(
        artifact,
        out,
        target=target,
        release=release.on(settings.package),
        budget=(
            settings.budget,
            api.BudgetText(package_budget, installed_budget, ram_budget, delta_budget),
        ),
        gates=(settings.gates,),
        base=base,
        twin=twin,
        preprocessing=options.preprocessing(settings.preprocessing, preprocessing),
        postprocessing=settings.postprocessing,
        signing=options.signing(key, unsigned),
        say=output.say,
    )
    output.emit(sealed, as_json, cli.render.package)


def inspect(
    path: Annotated[Path, typer.Argument(help="An artifact directory or an .edgepkg file.")],
    tensors: Annotated[bool, typer.Option(help="List every tensor's error and size.")] = False,
    as_json: options.Json = False,
) -> None:
    """Check an artifact or a package, and show what is in it."""
    found = api.inspect(path)
    output.emit(
        found, as_json, lambda console, value: cli.render.inspected(console, value, tensors)
    )


@at_place
def push(
    package: PackageFile,
    device: options.Device = None,
    allow_unsigned: options.AllowUnsigned = False,
    downgrade: Annotated[
        bool,
        typer.Option(
            "--downgrade", help="Let it be older than what the device had; you sign that."
        ),
    ] = False,
    key: Annotated[str | None, typer.Option(help="The key that signs the downgrade.")] = None,
    wait: options.Wait = None,
    jobs: many.Jobs = many.DEFAULT_JOBS,
    project: options.ProjectFile = None,
    as_json: options.Json = False,
) -> None:
    """Install a package on a device; it becomes the current one if it is healthy there."""
    settings = api.load_project(project)
    chosen = required(device or settings.device, "--device", "device")
    wanted = partial(
        api.push,
        package,
        permissions=api.Permissions(allow_unsigned, downgrade, key),
        wait_s=options.seconds(wait),
    )
    if api.is_selection(chosen):
        many.on_each(
            chosen,
            lambda name, progress, say: wanted(name, progress=progress, say=say),
            cli.render_lab.committed,
            jobs=jobs,
            as_json=as_json,
            may_repeat=True,
        )
    committed = wanted(chosen, progress=output.ProgressBars(), say=output.say)
    where = next(each for each in api.list_devices() if each.name == chosen)
    output.emit(
        committed, as_json, lambda console, done: cli.render.committed(console, done, where.virtual)
    )


@at_place
def rollback(
    device: options.Device = None,
    name: Annotated[
        str, typer.Option(help="Name of the package; else the one installed last.")
    ] = "",
    wait: options.Wait = None,
    jobs: many.Jobs = many.DEFAULT_JOBS,
    project: options.ProjectFile = None,
    as_json: options.Json = False,
) -> None:
    """Make the previous package of a device the current one again."""
    settings = api.load_project(project)
    chosen = required(device or settings.device, "--device", "device")
    wanted = partial(api.rollback, package=name, wait_s=options.seconds(wait))
    if api.is_selection(chosen):
        many.on_each(
            chosen,
            lambda each, _, say: wanted(each, say=say),
            cli.render_lab.installed,
            jobs=jobs,
            as_json=as_json,
        )
    done = wanted(chosen, say=output.say)
    output.emit(done, as_json, cli.render.installed)


def verify(
    package: PackageFile,
    allow_unsigned: Annotated[
        bool, typer.Option("--allow-unsigned", help="Take one without a signature.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Check a package, its signature and its expiry; no device is needed."""
    done = api.verify(package, allow_unsigned=allow_unsigned)
    output.emit(done, as_json, cli.render.verified)


@at_place
@spelt_out
def bench(
    device: options.Device = None,
    *,
    package: OptionalPackage = None,
    model: FloatModel = None,
    max_p95: options.MaxP95 = None,
    stages: StageGates,
    max_peak_ram: options.MaxPeakRam = None,
    max_parity_mismatch: options.MaxParityMismatch = None,
    max_latency_regression: options.MaxLatencyRegression = None,
    baseline: options.Baseline = None,
    min_accelerated_fraction: options.MinAcceleratedFraction = None,
    threads: options.Threads = 0,
    seconds: options.Seconds = 3.0,
    sustained: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help='Instead, run without a pause for so long, such as "30m": when does it give way?',
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="With --sustained: write its page to this file.")
    ] = None,
    per_operator: options.PerOperator = False,
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
            *(model, max_parity_mismatch, *stages),
            *(min_accelerated_fraction, max_latency_regression, baseline, per_operator or None),
        )
        endurance = api.sustain(
            _one(chosen, "--sustained"),
            parse_duration_ns(sustained) / 1e9,
            package=package,
            html=html,
            threads=threads,
            gates=(settings.gates, api.GateBounds(max_p95=max_p95, max_peak_ram=max_peak_ram)),
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
        gates=(
            options.contracted(settings),
            api.GateBounds(
                max_p95=max_p95,
                max_peak_ram=max_peak_ram,
                max_parity_mismatch_percent=max_parity_mismatch,
                min_accelerated_fraction=min_accelerated_fraction,
                max_latency_regression_percent=max_latency_regression,
                **stages._asdict(),
            ),
        ),
        timing=options.timing(threads, seconds, per_operator),
        baseline=baseline,
        permissions=api.Permissions(allow_unsigned),
        wait_s=options.seconds(wait),
    )
    _measure(chosen, wanted, jobs, as_json)


def _measure(chosen: str, wanted: "Callable[..., Findings]", jobs: int, as_json: bool) -> NoReturn:
    """Carry out a measurement on one device or many, show it, and end with its exit code."""
    if api.is_selection(chosen):
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


@at_place
def evaluate(
    device: options.Device = None,
    dataset: options.Dataset = None,
    model: FloatModel = None,
    package: OptionalPackage = None,
    metric: options.Metrics = None,
    truth: options.Truth = None,
    decode: options.Decode = None,
    max_accuracy_drop: options.MaxAccuracyDrop = None,
    max_metric_drop: options.MetricDrops = None,
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
    asked = options.asked(settings, metric, truth, decode)
    wanted = partial(
        api.evaluate,
        dataset=required(dataset or settings.dataset, "--dataset", "dataset"),
        model=required(model or settings.model, "--model", "model"),
        preprocessing=options.preprocessing(settings.preprocessing, preprocessing),
        on_device_preprocessing=on_device_preprocessing,
        metrics=asked.names,
        truth=asked.truth,
        decode=asked.decode,
        package=package,
        gates=(
            options.contracted(settings),
            api.GateBounds(
                max_accuracy_drop_points=max_accuracy_drop,
                max_parity_mismatch_percent=max_parity_mismatch,
                max_metric_drop=options.parse_drops(max_metric_drop, asked.names),
            ),
        ),
        permissions=api.Permissions(allow_unsigned),
        wait_s=options.seconds(wait),
    )
    _measure(chosen, wanted, jobs, as_json)


@at_place
@spelt_out
def deploy(
    model: Model = None,
    *,
    target: options.Target = None,
    device: options.Device = None,
    calibration: options.Calibration = None,
    dataset: options.Dataset = None,
    out: options.Output = None,
    input_shape: options.InputShapes = None,
    io: options.Io = None,
    keep_float: options.KeepFloat = None,
    recipe: options.RecipeFile = None,
    precision: options.Precision = None,
    range_method: options.RangeMethod = None,
    quantizer: options.ChosenQuantizer = None,
    encodings: options.Encodings = False,
    preprocessing: options.PreprocessingFile = None,
    metric: options.Metrics = None,
    truth: options.Truth = None,
    decode: options.Decode = None,
    release: ReleaseFlags,
    base: options.Base = None,
    key: options.Key = None,
    unsigned: options.Unsigned = False,
    package_budget: options.PackageBudget = None,
    delta_budget: options.DeltaBudget = None,
    installed_budget: options.InstalledBudget = None,
    ram_budget: options.RamBudget = None,
    max_accuracy_drop: options.MaxAccuracyDrop = None,
    max_metric_drop: options.MetricDrops = None,
    max_p95: options.MaxP95 = None,
    max_peak_ram: options.MaxPeakRam = None,
    max_parity_mismatch: options.MaxParityMismatch = None,
    min_accelerated_fraction: options.MinAcceleratedFraction = None,
    stages: StageGates,
    max_latency_regression: options.MaxLatencyRegression = None,
    baseline: options.Baseline = None,
    threads: options.Threads = 0,
    seconds: options.Seconds = 3.0,
    per_operator: options.PerOperator = False,
    wait: options.Wait = None,
    jobs: many.Jobs = many.DEFAULT_JOBS,
    project: options.ProjectFile = None,
    as_json: options.Json = False,
) -> None:
    """Convert, package, push, measure and judge: from a model to a verdict on a device."""
    settings = api.load_project(project)
    chosen = required(device or settings.device, "--device", "device")
    data = required(calibration or settings.calibration, "--calibration", "calibration")
    folder = out or Path(required(settings.output, "--output", "output"))
    asked = options.asked(settings, metric, truth, decode)
    order = api.Order(
        model=required(model or settings.model, "MODEL", "model"),
        calibration=data,
        dataset=dataset or settings.dataset,
        recipe=options.recipe(
            settings.recipe,
            recipe,
            io=io,
            keep_float=keep_float,
            precision=precision,
            range_method=range_method,
            quantizer=quantizer,
            encodings=encodings,
        ),
        input_shapes={**settings.input_shapes, **options.parse_shapes(input_shape)},
        preprocessing=options.preprocessing(settings.preprocessing, preprocessing),
        postprocessing=settings.postprocessing,
        release=release.on(settings.package),
        budget=(
            settings.budget,
            api.BudgetText(package_budget, installed_budget, ram_budget, delta_budget),
        ),
        gates=(
            options.contracted(settings),
            api.GateBounds(
                max_accuracy_drop_points=max_accuracy_drop,
                max_p95=max_p95,
                max_peak_ram=max_peak_ram,
                max_parity_mismatch_percent=max_parity_mismatch,
                min_accelerated_fraction=min_accelerated_fraction,
                max_latency_regression_percent=max_latency_regression,
                max_metric_drop=options.parse_drops(max_metric_drop, asked.names),
                **stages._asdict(),
            ),
        ),
        baseline=baseline,
        metrics=asked,
        signing=options.signing(key, unsigned),
        base=base,
    )
    kind = target or settings.target
    timing = options.timing(threads, seconds, per_operator)
    permissions, wait_s = api.Permissions(unsigned=unsigned), options.seconds(wait)
    if api.is_selection(chosen):
        board = many.Board()
        manner = api.Manner(
            limits=api.Limits(jobs=jobs),
            timing=timing,
            permissions=permissions,
            wait_s=wait_s,
            watch=board.watch,
            progress_of=board.progress,
            say_of=board.say,
        )
        with board:
            ended = api.deploy_many(
                chosen, order, folder, target=kind, manner=manner, say=output.say
            )
        many.show(ended, cli.render_lab.findings, as_json)
    report = api.carry_out(
        order,
        chosen,
        folder,
        target=kind,
        timing=timing,
        permissions=permissions,
        wait_s=wait_s,
        progress=output.ProgressBars(),
        say=output.say,
    )
    output.emit(report, as_json, cli.render.report)
    raise typer.Exit(report.exit_code)


def report(
    path: Annotated[Path, typer.Argument(help="A report.json, or the folder that holds it.")],
    html: Annotated[Path | None, typer.Option(help="Write the HTML form to this file.")] = None,
    as_json: options.Json = False,
) -> None:
    """Show a stored report again, or write its HTML form."""
    stored = api.report(path, html=html)
    output.emit(stored, as_json, cli.render.report)


def init(
    directory: Annotated[Path, typer.Argument(help="Folder for the project file.")] = Path("."),
    as_json: options.Json = False,
) -> None:
    """Write an edgesdk.toml to start from; an existing one is left alone."""
    output.emit(api.init(directory), as_json, cli.render.written)
