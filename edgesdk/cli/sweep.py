"""edgesdk sweep: every model on every target, as one table."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesdk import api, cli
from edgesdk.cli import options, output
from edgesdk.cli.options import required

if TYPE_CHECKING:
    from edgesdk.values.sweep import Swept


def sweep(
    models: Annotated[list[str], typer.Argument(help="Float models, as convert takes them.")],
    target: Annotated[list[str], typer.Option("--target", "-t", help="A target. May be repeated.")],
    calibration: Annotated[
        list[str],
        typer.Option(help="Calibration data for all models; or repeated, for each in order."),
    ],
    out: options.Output = None,
    device: Annotated[
        str, typer.Option("--device", "-d", help="Measure on these, too: all, tag:NAME, 'pi-*'.")
    ] = "",
    dataset: options.Dataset = None,
    recipe: options.RecipeFile = None,
    input_shape: options.InputShapes = None,
    preprocessing: options.PreprocessingFile = None,
    unsigned: options.Unsigned = False,
    seconds: options.Seconds = 3.0,
    wait: options.Wait = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=256, help="Processes of this machine.")
    ] = 1,
    dask: Annotated[
        str | None, typer.Option(help="Let a Dask cluster do it: its scheduler, tcp://HOST:PORT.")
    ] = None,
    project: options.ProjectFile = None,
    as_json: options.Json = False,
) -> None:
    """Convert and package many models for many targets, and measure them on devices."""
    settings = api.load_project(project)
    cluster = nullcontext() if dask is None else api.dask_executor(dask)
    try:
        with cluster as executor:
            cells = api.sweep(
                models,
                target,
                calibration[0] if len(calibration) == 1 else calibration,
                out or Path(required(settings.output, "--output", "output")),
                recipe=settings.recipe if recipe is None else api.load_recipe(recipe),
                input_shapes={**settings.input_shapes, **options.parse_shapes(input_shape)},
                preprocessing=options.preprocessing(settings.preprocessing, preprocessing),
                postprocessing=settings.postprocessing,
                devices=device,
                dataset=dataset or settings.dataset,
                seconds=seconds,
                wait_s=3600.0 if wait is None else options.seconds(wait),
                unsigned=unsigned,
                executor=executor,
                jobs=jobs,
                watch=_tell,
                say=output.say,
            )
    except api.SweepHalted as halted:
        cells = halted.cells
    output.emit(cells, as_json, cli.render_lab.sweep)
    raise typer.Exit(max(each.exit_code for each in cells))


def _tell(swept: "Swept") -> None:
    ended = "done" if swept.problem is None else f"failed: {swept.problem.message}"
    output.say(f"{swept.model} for {swept.target} {ended}")
