"""edgesdk target ls | show | check"""

from pathlib import Path
from typing import Annotated

import typer

from edgesdk import api, cli
from edgesdk.cli import options, output

app = typer.Typer(no_args_is_help=True, help="The catalogue of devices.")


@app.command("ls")
def ls(as_json: options.Json = False) -> None:
    """List every target."""
    output.emit(api.list_targets(), as_json, cli.render.targets)


@app.command("show")
def show(
    target: Annotated[str, typer.Argument(help="Target id, or the path of a descriptor.")],
    as_json: options.Json = False,
) -> None:
    """Show a target, each figure with its source."""
    output.emit(api.load_target(target), as_json, cli.render.target)


@app.command("check")
def check(
    descriptor: Annotated[Path, typer.Argument(help="A descriptor, .toml.")],
    as_json: options.Json = False,
) -> None:
    """Check a descriptor and report all its problems at once."""
    output.emit(api.check_descriptor(descriptor), as_json, cli.render.target)
