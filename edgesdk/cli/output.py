"""How the command line talks: data on stdout, talk and progress on stderr, colours for people.

What it takes to show something is imported when that is done, so that `--help` stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from edgesdk.progress import Advance
from edgesdk.text import plain

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table

    from edgesdk.errors import EdgeSDKError

T = TypeVar("T")


@cache
def stdout() -> Console:
    """The console for data."""
    from rich.console import Console

    return Console(highlight=False, emoji=False)


@cache
def stderr() -> Console:
    """The console for talk."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False)


def table(title: str, *columns: str, right: tuple[str, ...] = (), fixed: str = "") -> Table:
    """An empty table; columns in `right` hold numbers, the column `fixed` is never broken."""
    from rich.table import Table

    empty = Table(title=title or None, title_justify="left")
    for column in columns:
        justify: JustifyMethod = "right" if column in right else "left"
        empty.add_column(column, overflow="fold", justify=justify, no_wrap=column == fixed)
    return empty


def emit(value: T, as_json: bool, render: Callable[[Console, T], None]) -> None:
    """Print a result: its JSON form for programs, `render` for people."""
    if as_json:
        import json

        from edgesdk.serial import to_dict

        print(json.dumps(to_dict(value), indent=1), file=sys.__stdout__, flush=True)
    else:
        render(stdout(), value)


def json_alone() -> AbstractContextManager[object]:
    """While it is open, what others print goes to stderr: stdout is for one JSON document."""
    return redirect_stdout(sys.stderr)


def say(text: str) -> None:
    """A line of talk, not part of the result."""
    stderr().print(plain(text), markup=False, soft_wrap=True)


def show_error(error: EdgeSDKError, as_json: bool) -> None:
    """One clear sentence, its details, and what to do next."""
    if as_json:
        import json

        from edgesdk.serial import to_dict

        document = {
            "error": {
                "type": type(error).__name__,
                "message": error.message,
                "details": list(error.details),
                "hint": error.hint,
                "exit_code": int(error.exit_code),
                **to_dict(error.facts()),
            }
        }
        print(json.dumps(document, indent=1), file=sys.__stdout__)
    console = stderr()
    console.print("[bold red]error:[/] ", end="")
    for line in error.message.splitlines():
        console.print(plain(line), markup=False, soft_wrap=True)
    for line in error.details:
        console.print(f"  - {plain(line)}", markup=False, soft_wrap=True)
    if error.hint:
        console.print("[bold]next:[/] ", end="")
        console.print(plain(error.hint), markup=False, soft_wrap=True)


class ProgressBars:
    """A `Progress` drawn on stderr when that is a terminal, and named there otherwise."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """Show one bar while the block runs."""
        if not stderr().is_terminal:
            say(description)
            yield lambda _: None
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=stderr(), transient=True) as bars:
            task = bars.add_task(description, total=total or None)
            yield lambda steps: bars.advance(task, steps)


def visiting(device: str) -> AbstractContextManager[Advance]:
    """Show that a device is being asked: one that is switched off is waited for for 20 s."""
    return ProgressBars().task(f"visiting {device}", 0)


def log_to_stderr(verbosity: int) -> None:
    """Send the log to stderr: warnings always, with -v what is done, with -vv every detail."""
    import logging

    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    logging.basicConfig(stream=sys.stderr, level=level, format="%(name)s: %(message)s")
    # What breaks a connection is an error of ours, in one sentence: paramiko says it once more.
    quiet = logging.CRITICAL if not verbosity else logging.WARNING
    logging.getLogger("paramiko").setLevel(quiet)
    logging.getLogger("asyncssh").setLevel(max(level, logging.WARNING))
