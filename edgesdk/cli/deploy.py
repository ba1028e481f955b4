"""edgesdk deploy: parse, call, cli.render.

Annotations here are evaluated once, as in `edgesdk.cli.commands`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from edgesdk import api, cli
from edgesdk.cli import many, options, output
from edgesdk.cli.groups import (
    BudgetFlags,
    MetricFlags,
    RecipeFlags,
    ReleaseFlags,
    SpeedGates,
    TimingFlags,
    spelt_out,
)
from edgesdk.cli.options import required
from edgesdk.cli.places import at_place

if TYPE_CHECKING:
    from edgesdk.flows.deploy import Order
    from edgesdk.flows.deploy_many import Manner


@at_place
@spelt_out
def deploy(
    model: options.Model = None,
    *,
    target: options.Target = None,
    device: options.Device = None,
    calibration: options.Calibration = None,
    dataset: options.Dataset = None,
    out: options.Output = None,
    input_shape: options.InputShapes = None,
    recipe: RecipeFlags,
    preprocessing: options.PreprocessingFile = None,
    metrics: MetricFlags,
    release: ReleaseFlags,
    base: options.Base = None,
    key: options.Key = None,
    unsigned: options.Unsigned = False,
    budget: BudgetFlags,
    max_accuracy_drop: options.MaxAccuracyDrop = None,
    gates: SpeedGates,
    timing: TimingFlags,
    wait: options.Wait = None,
    jobs: many.Jobs = many.DEFAULT_JOBS,
    project: options.ProjectFile = None,
    as_json: options.Json = False,
) -> None:
    """Convert, package, push, measure and judge: from a model to a verdict on a device."""
    settings = api.load_project(project)
    chosen = required(device or settings.device, "--device", "device")
    data = required(calibration or settings.calibration, "--calibration", "calibration")
    asked = metrics.on(settings)
    folder = out or Path(required(settings.output, "--output", "output"))
    order = api.Order(
        model=required(model or settings.model, "MODEL", "model"),
        calibration=data,
        dataset=dataset or settings.dataset,
        recipe=recipe.on(settings.recipe),
        input_shapes={**settings.input_shapes, **options.parse_shapes(input_shape)},
        preprocessing=options.preprocessing(settings.preprocessing, preprocessing),
        postprocessing=settings.postprocessing,
        release=release.on(settings.package),
        budget=(settings.budget, budget.text()),
        gates=(
            metrics.gates(settings),
            gates.bounds(max_accuracy_drop, metrics.drops(asked)),
        ),
        baseline=gates.baseline,
        metrics=asked,
        signing=options.signing(key, unsigned),
        base=base,
    )
    kind = target or settings.target
    how = api.Manner(
        limits=api.Limits(jobs=jobs),
        timing=timing.timing(),
        permissions=api.Permissions(unsigned=unsigned),
        wait_s=options.seconds(wait),
    )
    if api.is_selection(chosen):
        _deploy_many(chosen, order, folder, kind, how, as_json)
    report = api.carry_out(
        order,
        chosen,
        folder,
        target=kind,
        timing=how.timing,
        permissions=how.permissions,
        wait_s=how.wait_s,
        progress=output.ProgressBars(),
        say=output.say,
    )
    output.emit(report, as_json, cli.render.report)
    raise typer.Exit(report.exit_code)


def _deploy_many(
    selection: str,
    order: "Order",
    folder: Path,
    target: str | None,
    how: "Manner",
    as_json: bool,
) -> NoReturn:
    from dataclasses import replace  # edgesdk --help does without

    board = many.Board()
    manner = replace(how, watch=board.watch, progress_of=board.progress, say_of=board.say)
    many.show(
        board,
        lambda: api.deploy_many(
            selection, order, folder, target=target, manner=manner, say=output.say
        ),
        cli.render_lab.findings,
        as_json,
    )
