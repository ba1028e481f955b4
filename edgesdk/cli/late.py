"""Commands and groups of them whose modules are imported when they are asked for.

`edgesdk --help` shows a name and a line of each: typer would build every option of every command
for that, of modules that import what their commands need.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


def find(place: str) -> Any:
    """What is meant by "MODULE:NAME", a module of `edgesdk.cli`."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"edgesdk.cli.{module}"), name)


def add_group(app: typer.Typer, name: str, place: str, summary: str) -> None:
    """Add the group of commands that is a `typer.Typer` at a place.

    Args:
        summary: its help, which the list of all commands shows.
    """
    built = cache(lambda: typer.main.get_group(find(place)))

    class Late(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return built().list_commands(ctx)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return built().get_command(ctx, cmd_name)

    app.add_typer(typer.Typer(cls=Late, help=summary, no_args_is_help=True), name=name)


def add(app: typer.Typer, name: str, place: str, summary: str) -> None:
    """Add the command that is a function at a place.

    Args:
        summary: the first line of its docstring, which the list of all commands shows.
    """

    @cache
    def built() -> Any:
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name)(find(place))
        return typer.main.get_command(alone)

    class Late(TyperCommand):
        def make_context(self, *arguments: Any, **named: Any) -> Any:
            return built().make_context(*arguments, **named)

    app.command(name, cls=Late, help=summary)(lambda: None)
