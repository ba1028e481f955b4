"""edgesdk check: what a model will meet on a target, before any conversion."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgesdk import api, cli
from edgesdk.cli import options, output
from edgesdk.cli.options import required
from edgesdk.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from edgesdk.values.forecast import Forecast, Refusal


def check(
    model: Annotated[
        str | None,
        typer.Argument(help="Any model that convert takes; .onnx and .tflite quantized, too."),
    ] = None,
    target: options.Target = None,
    all_targets: Annotated[
        bool, typer.Option("--all-targets", help="One row for every built-in target.")
    ] = False,
    operators: Annotated[
        bool, typer.Option("--operators", help="List every operator, not only those on the CPU.")
    ] = False,
    input_shape: options.InputShapes = None,
    recipe: options.RecipeFile = None,
    precision: options.Precision = None,
    io: options.Io = None,
    keep_float: options.KeepFloat = None,
    min_accelerated_fraction: options.MinAcceleratedFraction = None,
    package_budget: options.PackageBudget = None,
    installed_budget: options.InstalledBudget = None,
    ram_budget: options.RamBudget = None,
    project: options.ProjectFile = None,
    as_json: options.Json = False,
) -> None:
    """Tell operators, placement, sizes and broken budgets before any conversion."""
    if all_targets and target:
        raise UsageError(f"found --all-targets and --target {target}, expected one of them")
    settings = api.load_project(project)
    found = required(model or settings.model, "MODEL", "model")
    chosen = options.recipe(
        settings.recipe, recipe, io=io, keep_float=keep_float, precision=precision
    )
    shapes = {**settings.input_shapes, **options.parse_shapes(input_shape)}
    budget = (settings.budget, api.BudgetText(package_budget, installed_budget, ram_budget))
    contract = (settings.contract, api.Contract(min_accelerated_fraction))
    if all_targets:
        rows = api.check_all(
            found,
            recipe=chosen,
            input_shapes=shapes,
            budget=budget,
            contract=contract,
            progress=output.ProgressBars(),
        )
        output.emit(rows, as_json, cli.render_check.rows)
        raise typer.Exit(_exit_code(rows))
    told = api.check(
        found,
        required(target or settings.target, "--target", "target"),
        recipe=chosen,
        input_shapes=shapes,
        budget=budget,
        contract=contract,
        progress=output.ProgressBars(),
    )
    output.emit(
        told, as_json, lambda console, value: cli.render_check.forecast(console, value, operators)
    )
    raise typer.Exit(_exit_code((told,)))


def _exit_code(rows: "tuple[Forecast | Refusal, ...]") -> int:
    """0 where no contract breaks; targets that the model cannot go to do not count."""
    broken = any(row.broken for row in rows)
    return int(ExitCode.GATE_FAILED if broken else ExitCode.PASSED)
