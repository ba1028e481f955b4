"""The verbs of the main line, one function each: parse, call, cli.render.

Annotations here and beside are evaluated once, not left as text: typer would evaluate each again at
every start.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edgesdk import api, cli
from edgesdk.cli import many, options, output
from edgesdk.cli.groups import BudgetFlags, RecipeFlags, ReleaseFlags, spelt_out
from edgesdk.cli.options import required
from edgesdk.cli.places import at_place

PackageFile = Annotated[Path, typer.Argument(help="An .edgepkg file.")]


@spelt_out
def convert(
    model: options.Model = None,
    *,
    target: options.Target = None,
    calibration: options.Calibration = None,
    out: options.Output = None,
    input_shape: options.InputShapes = None,
    recipe: RecipeFlags,
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
        recipe=recipe.on(settings.recipe),
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
    budget: BudgetFlags,
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
        budget=(settings.budget, budget.text()),
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
    permissions, wait_s = api.Permissions(allow_unsigned, downgrade, key), options.seconds(wait)
    if api.is_selection(chosen):
        many.on_each(
            chosen,
            api.pushing(package, permissions=permissions, wait_s=wait_s),
            cli.render_lab.committed,
            jobs=jobs,
            as_json=as_json,
            may_repeat=True,
        )
    committed = api.push(
        package,
        chosen,
        permissions=permissions,
        wait_s=wait_s,
        progress=output.ProgressBars(),
        say=output.say,
    )
    where = next(each for each in api.list_devices() if each.name == chosen)
    output.emit(
        committed, as_json, lambda console, done: cli.render.committed(console, done, where.kind)
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
    with output.visiting(chosen):
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
