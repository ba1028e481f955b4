"""The options that several commands share, with one wording each."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from edgesdk import api
from edgesdk.choices import Method, PortDType, Quantizer
from edgesdk.choices import Precision as PrecisionName
from edgesdk.errors import UsageError

if TYPE_CHECKING:
    from edgesdk.data.preprocessing import Preprocessing
    from edgesdk.flows.package import Signing
    from edgesdk.project import Project
    from edgesdk.targets.types import GateBounds
    from edgesdk.values.package import FallbackCause
    from edgesdk.values.recipe import Recipe

Checked = Callable[[typer.CallbackParam, str | None], str | None]


def lasting(least_ns: int = 1) -> Checked:
    """What refuses a text that is no duration, before anything else is done.

    Args:
        least_ns: the shortest one that will do.
    """

    def checked(param: typer.CallbackParam, value: str | None) -> str | None:
        from edgesdk.units import parse_duration_ns

        if value is not None:
            try:
                parse_duration_ns(value, least_ns=least_ns)
            except UsageError as error:
                raise UsageError(f"{param.opts[0]}: {error.message}") from error
        return value

    return checked


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Target = Annotated[
    str | None, typer.Option("--target", "-t", help="Target id, or the path of a descriptor.")
]
Model = Annotated[
    str | None,
    typer.Argument(
        help="Float model: .onnx, .tflite, .keras, .h5, .pt2, a SavedModel or module:factory."
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", "-d", help="An enrolled device, or many: all, tag:NAME, 'pi-*', NAME,NAME."
    ),
]
Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        callback=lasting(0),
        help='Wait so long for a device that is someone else\'s, "10 m".',
    ),
]
Calibration = Annotated[
    str | None,
    typer.Option(
        help="Calibration data: FILE.npz, FILE.npz#SPLIT, a folder of pictures or module:function."
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        help="Evaluation data, labelled: FILE.npz, FILE.npz#SPLIT, a folder of pictures or "
        "module:function."
    ),
]
PreprocessingFile = Annotated[
    Path | None,
    typer.Option("--preprocessing", help="What makes inputs of pictures, a .toml file."),
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="Precisions and overrides, a .toml file.")
]
Precision = Annotated[
    PrecisionName | None, typer.Option(help="Bits of weights and activations; the target's usual.")
]
RangeMethod = Annotated[
    Method | None, typer.Option(help="How ranges are made from the calibration data.")
]
ChosenQuantizer = Annotated[
    Quantizer | None, typer.Option("--quantizer", help="Where the target has a choice of them.")
]
Encodings = Annotated[
    bool, typer.Option("--encodings", help="Write the encodings as JSON, where there are any.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Where the result goes.")]
InputShapes = Annotated[
    list[str] | None,
    typer.Option("--input-shape", help="Fix a dynamic input: NAME=1,3,224,224. May be repeated."),
]
Io = Annotated[
    PortDType | None,
    typer.Option("--io", help="Inputs and outputs of the INT8 model."),
]
KeepFloat = Annotated[
    list[str] | None,
    typer.Option("--keep-float", help="Regular expression; operators it matches stay float32."),
]
ProjectFile = Annotated[
    Path | None, typer.Option("--project", help="Project file; edgesdk.toml here by default.")
]
PackageName = Annotated[str | None, typer.Option("--name", help="Package name on the device.")]
PackageVersion = Annotated[str | None, typer.Option("--version", help="Version, for people.")]
Sequence = Annotated[
    int | None, typer.Option("--sequence", min=0, help="Version, for machines: later is higher.")
]
IncludeFloat = Annotated[
    bool, typer.Option("--include-float", help="Put the float model in the package, too.")
]
TwinArtifact = Annotated[
    Path | None,
    typer.Option("--twin", help="Artifact directory of a twin to put in, such as a w8a16 one."),
]
Fallback = Annotated[
    str | None,
    typer.Option(
        help="When the device runs the twin or the float model: some of load,parity,ood, or none."
    ),
]
MinSequence = Annotated[
    int | None,
    typer.Option("--min-sequence", min=0, help="Once it is current, go back to none below this."),
]
Expires = Annotated[
    str | None, typer.Option("--expires", help="Installed until then, e.g. 2027-06-30 (UTC).")
]
Boards = Annotated[
    list[str] | None,
    typer.Option("--board", help="Only for boards whose name begins so. May be repeated."),
]
MaxLatency = Annotated[
    str | None,
    typer.Option(
        "--health-latency",
        callback=lasting(),
        help='Health check: most of the median latency, "20 ms".',
    ),
]
HealthCommand = Annotated[
    str | None,
    typer.Option("--health-command", help="Health check: a command to run on the device."),
]
Base = Annotated[
    Path | None,
    typer.Option("--base", help="An earlier package: travel as a delta against it."),
]
Key = Annotated[str | None, typer.Option("--key", help="Sign with this key, by name or file.")]
Unsigned = Annotated[bool, typer.Option("--unsigned", help="Leave it without a signature.")]
AllowUnsigned = Annotated[
    bool,
    typer.Option("--allow-unsigned", help="On a lab device, take a package without a signature."),
]
PackageBudget = Annotated[str | None, typer.Option(help='Largest package file, e.g. "4 MiB".')]
DeltaBudget = Annotated[
    str | None, typer.Option(help="Largest package file that is made against another one.")
]
InstalledBudget = Annotated[str | None, typer.Option(help="Most bytes once installed.")]
RamBudget = Annotated[str | None, typer.Option("--ram-budget", help="Most memory to run it in.")]
MinAcceleratedFraction = Annotated[
    float | None,
    typer.Option(
        "--min-accelerated-fraction",
        "--min-accelerated",
        min=0,
        max=1,
        help="Share of operators off the CPU, 0 to 1: as forecast by check, in truth on a device.",
    ),
]
MaxAccuracyDrop = Annotated[
    float | None, typer.Option(help="Gate: points of top-1 that INT8 may lose.")
]
MaxP95 = Annotated[
    str | None,
    typer.Option("--max-p95", callback=lasting(), help='Gate: p95 latency, e.g. "10 ms".'),
]
MaxPreprocess = Annotated[
    str | None,
    typer.Option(
        "--max-preprocess-p95", callback=lasting(), help="Gate: p95 from picture to input."
    ),
]
MaxInference = Annotated[
    str | None,
    typer.Option(
        "--max-inference-p95", callback=lasting(), help="Gate: p95 of inference within a whole run."
    ),
]
MaxPostprocess = Annotated[
    str | None,
    typer.Option(
        "--max-postprocess-p95", callback=lasting(), help="Gate: p95 from outputs to answer."
    ),
]
MaxEndToEnd = Annotated[
    str | None,
    typer.Option(
        "--max-end-to-end-p95", callback=lasting(), help="Gate: p95 from picture to answer."
    ),
]
MaxPeakRam = Annotated[str | None, typer.Option(help='Gate: peak memory, e.g. "256 MiB".')]
MaxParityMismatch = Annotated[
    float | None, typer.Option(help="Gate: percent of golden values off by over one step.")
]
MaxLatencyRegression = Annotated[
    float | None,
    typer.Option(min=0, help="Gate: percent by which it may be slower than the baseline."),
]
Baseline = Annotated[
    str | None,
    typer.Option(help="The run to hold it against; else the one that edgesdk runs accept made it."),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        help="Beyond top-1: topK, f1, f1-micro, roc-auc, pr-auc, rmse, mae, map, wer or "
        "module:function. May be repeated.",
    ),
]
MetricDrops = Annotated[
    list[str] | None,
    typer.Option(
        "--max-metric-drop",
        metavar="[NAME=]BOUND",
        help="Gate: how much worse a metric may get; points of shares. May be repeated.",
    ),
]
Truth = Annotated[
    str | None, typer.Option(help="What metrics judge by: FILE.npz or FILE.npz#SPLIT.")
]
Decode = Annotated[
    str | None,
    typer.Option(help="module:function from one sample's outputs to boxes (map) or text (wer)."),
]
Threads = Annotated[
    int, typer.Option(min=0, max=256, help="Threads of the runtime; 0: one per CPU, at most 4.")
]
PerOperator = Annotated[
    bool,
    typer.Option("--per-operator", help="Then time each operator, in runs of their own."),
]
Seconds = Annotated[
    float,
    typer.Option(
        min=0.1,
        max=600.0,
        help="Time in each model: up to 60 for want of 400 runs, less once it has 50,000.",
    ),
]


def seconds(text: str | None) -> float:
    """A duration that was checked, in seconds; 0 without one."""
    from edgesdk.units import parse_duration_ns

    return 0.0 if text is None else parse_duration_ns(text, least_ns=0) / 1e9


def required(value: str | None, name: str, key: str) -> str:
    """A value that a flag or the project file must give.

    Raises:
        UsageError: neither does.
    """
    if value is None:
        raise UsageError(f"{name} is missing", hint=f"give it, or set {key} in edgesdk.toml")
    return value


def parse_drops(texts: list[str] | None, metrics: tuple[str, ...]) -> dict[str, float] | None:
    """Read `f1=1.5` texts; a bound without a name is for every metric.

    Raises:
        UsageError: no number of 0 or more.
    """
    if not texts:
        return None
    drops: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            bound = float(number)
        except ValueError:
            bound = math.nan
        if not 0 <= bound < math.inf:
            raise UsageError(f"found --max-metric-drop {text}, expected 1.5 or f1=1.5")
        drops.update({name: bound} if name else dict.fromkeys(metrics, bound))
    return drops


def parse_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """Read `NAME=1,3,224,224` texts.

    Raises:
        UsageError: not of that form.
    """
    shapes = {}
    for text in texts or []:
        name, _, sizes = text.rpartition("=")
        if not name or not all(size.strip().isdigit() for size in sizes.split(",")):
            raise UsageError(f"found --input-shape {text}, expected NAME=1,3,224,224")
        shapes[name] = tuple(int(size) for size in sizes.split(","))
    return shapes


def recipe(
    project: Recipe,
    file: Path | None,
    *,
    io: PortDType | None,
    keep_float: list[str] | None,
    precision: PrecisionName | None,
    range_method: Method | None = None,
    quantizer: Quantizer | None = None,
    encodings: bool = False,
) -> Recipe:
    """The recipe file, or the project's recipe without one, with the flags on top."""
    below = project if file is None else api.load_recipe(file)
    return api.Recipe(
        io=io or below.io,
        keep_float=tuple(keep_float or below.keep_float),
        precision=precision or below.precision,
        range_method=range_method or below.range_method,
        quantizer=quantizer or below.quantizer,
        overrides=below.overrides,
        encodings=encodings or below.encodings,
        golden_vectors=below.golden_vectors,
    )


def preprocessing(project: Preprocessing | None, file: Path | None) -> Preprocessing | None:
    """The preprocessing file, or the project's without one."""
    return project if file is None else api.load_preprocessing(file)


def contracted(project: Project) -> GateBounds:
    """The project's gates; its contract holds on the device, too, where no gate says otherwise."""
    import dataclasses

    gates, contract = project.gates, project.contract
    if gates.min_accelerated_fraction is not None:
        return gates
    return dataclasses.replace(gates, min_accelerated_fraction=contract.min_accelerated_fraction)


def parse_command(text: str) -> tuple[str, ...]:
    """A command's words, by the shell's rules for quotes.

    Raises:
        UsageError: a quote is not closed.
    """
    import shlex  # only whoever names a command waits for it

    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(
            f"found --health-command {text}, expected every quote closed ({error})"
        ) from error


def parse_fallback(text: str) -> tuple[FallbackCause, ...]:
    """Read "load,ood", or "none".

    Raises:
        UsageError: another word, or one twice.
    """
    from edgesdk.values.package import FallbackCause

    words = [] if text.strip() == "none" else [word.strip() for word in text.split(",")]
    causes = get_args(FallbackCause)
    if not set(words) <= set(causes) or len(set(words)) != len(words):
        raise UsageError(
            f"found --fallback {text}, expected none, or some of {', '.join(causes)}, each once"
        )
    return tuple(cause for cause in causes if cause in words)


def signing(key: str | None, unsigned: bool) -> Signing:
    """Who signs."""
    return api.Signing(key, unsigned)
