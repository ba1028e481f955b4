"""Groups of commands that are built when one of them is asked for.

typer builds every option of every command at each start; `edgesdk --help` shows none of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import typer
from typer.core import TyperGroup


def late(app: typer.Typer) -> typer.Typer:
    """The same group, its commands built at first use."""
    built = cache(lambda: typer.main.get_group(app))

    class Late(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return built().list_commands(ctx)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return built().get_command(ctx, cmd_name)

    return typer.Typer(cls=Late, help=app.info.help, no_args_is_help=app.info.no_args_is_help)
