"""edgesdk runs ls | show | compare | accept | rm | export"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgesdk import api, cli
from edgesdk.cli import options, output

app = typer.Typer(no_args_is_help=True, help="The measurements that were kept.")

Run = Annotated[
    str, typer.Argument(help="A run: 12, 12-3fa9c2d1, the beginning of its digest, last, last~1.")
]
OfDevice = Annotated[str | None, typer.Option("--device", "-d", help="On this device only.")]
OfTarget = Annotated[str | None, typer.Option("--target", "-t", help="For this target only.")]
OfPackage = Annotated[str | None, typer.Option("--package", help="Of this package only, by name.")]
Since = Annotated[
    str | None, typer.Option(help="Made then or later: 2026-11-26, or 7d for seven days ago.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="The latest so many.")]


@app.command("ls")
def ls(
    device: OfDevice = None,
    target: OfTarget = None,
    package: OfPackage = None,
    since: Since = None,
    limit: Limit = None,
    as_json: options.Json = False,
) -> None:
    """List the runs, oldest first."""
    found = api.list_runs(device=device, target=target, package=package, since=since, limit=limit)
    sought = {"device": device, "target": target, "package": package, "since": since}
    output.emit(found, as_json, lambda console, heads: cli.render_runs.runs(console, heads, sought))


@app.command("show")
def show(
    run: Run,
    html: Annotated[Path | None, typer.Option(help="Write the HTML form to this file.")] = None,
    as_json: options.Json = False,
) -> None:
    """Show a run as it was printed when it was measured."""
    if as_json and html is None:  # Whatever version kept it, its JSON can be had.
        output.emit(api.find_run(run).document, as_json, lambda *_: None)
        return
    output.emit(api.show_run(run, html=html), as_json, cli.render_runs.shown)


@app.command("compare")
def compare(
    run_a: Annotated[str, typer.Argument(help="The earlier run, or baseline.")],
    run_b: Annotated[str, typer.Argument(help="The later run.")] = "last",
    max_regression: Annotated[
        float | None,
        typer.Option(
            "--fail-on-regression",
            min=0,
            metavar="PERCENT",
            help="Exit 1 if the later run is shown to be slower by more.",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--fail-on-accuracy-drop",
            min=0,
            metavar="POINTS",
            help="Exit 1 if the later run is shown to have lost more accuracy.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Hold a later run against an earlier one: is it slower, is it worse, or is it chance?"""
    compared = api.compare(
        run_a,
        run_b,
        max_latency_regression_percent=max_regression,
        max_accuracy_regression_points=max_drop,
    )
    output.emit(compared, as_json, cli.render_compare.comparison)
    raise typer.Exit(compared.exit_code)


@app.command("accept")
def accept(run: Run, as_json: options.Json = False) -> None:
    """Make a run the baseline of its package on its device."""
    output.emit(api.accept_run(run), as_json, cli.render_runs.accepted)


@app.command("rm")
def rm(
    runs: Annotated[list[str], typer.Argument(help="Runs, as for show.")],
    as_json: options.Json = False,
) -> None:
    """Forget runs."""
    output.emit(api.remove_runs(runs), as_json, cli.render_runs.removed)


@app.command("export")
def export(
    out: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="The file; for mlflow a tracking URI, sqlite:///mlflow.db."
        ),
    ],
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs, as for show; else all there are.")
    ] = None,
    form: Annotated[
        Literal["jsonl", "csv", "mlflow"], typer.Option("--to", help="In which form.")
    ] = "jsonl",
    device: OfDevice = None,
    target: OfTarget = None,
    package: OfPackage = None,
    since: Since = None,
    as_json: options.Json = False,
) -> None:
    """Write runs for other programs: JSON Lines, CSV, or MLflow."""
    if form == "mlflow":
        output.say(f"sending runs to {out}")  # MLflow alone takes seconds to begin.
    done = api.export_runs(
        form,
        out,
        runs=runs or (),
        device=device,
        target=target,
        package=package,
        since=since,
    )
    output.emit(done, as_json, cli.render_runs.exported)
