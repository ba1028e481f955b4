"""edgesdk agent save"""

from pathlib import Path
from typing import Annotated

import typer

from edgesdk import api, cli
from edgesdk.cli import options, output

app = typer.Typer(no_args_is_help=True, help="The agent that runs on devices.")


@app.command("save")
def save(
    path: Annotated[Path, typer.Argument(help="The file to write, e.g. edgesdk-agent.pyz.")],
    as_json: options.Json = False,
) -> None:
    """Write the agent to a file, for devices that no SSH reaches."""
    output.emit(api.save_agent(path), as_json, cli.render.written)


@app.callback()
def _group() -> None:
    """A group, also while it has one command only."""
