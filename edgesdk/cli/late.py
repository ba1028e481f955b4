"""Commands and groups of them that are built when they are asked for.

typer builds every option of every command at each start; `edgesdk --help` shows none of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


def group(app: typer.Typer) -> typer.Typer:
    """The same group, its commands built at first use."""
    built = cache(lambda: typer.main.get_group(app))

    class Late(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return built().list_commands(ctx)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return built().get_command(ctx, cmd_name)

    return typer.Typer(cls=Late, help=app.info.help, no_args_is_help=app.info.no_args_is_help)


def add(app: typer.Typer, name: str, function: Callable[..., None]) -> None:
    """Add a command whose options are built when it is called."""

    @cache
    def built() -> Any:
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name)(function)
        return typer.main.get_command(alone)

    class Late(TyperCommand):
        def make_context(self, *arguments: Any, **named: Any) -> Any:
            return built().make_context(*arguments, **named)

    app.command(name, cls=Late, help=inspect.getdoc(function))(lambda: None)
