"""edgesdk diff: what changed between two versions, and what it costs to ship."""

from pathlib import Path
from typing import Annotated

import typer

from edgesdk import api, cli
from edgesdk.cli import options, output


def diff(
    old: Annotated[Path, typer.Argument(help="An .edgepkg, an artifact directory or a model.")],
    new: Annotated[Path, typer.Argument(help="The same of the later version.")],
    all_tensors: Annotated[
        bool, typer.Option("--all", help="List every tensor, not only the most expensive.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Explain a delta: which layers changed, and what they cost."""
    found = api.diff(old, new)
    output.emit(
        found,
        as_json,
        lambda console, value: cli.render_diff.difference(console, value, all_tensors),
    )
