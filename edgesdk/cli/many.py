"""One command on many devices: a table that lives while they are at work, and a result for each."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from edgesdk import api, cli
from edgesdk.cli import output
from edgesdk.cli.tables import Column, Listing
from edgesdk.interruption import check
from edgesdk.progress import Advance, Progress

if TYPE_CHECKING:
    from rich.table import Table

    from edgesdk.flows.many import Standing
    from edgesdk.values.outcome import Outcome

T = TypeVar("T")

Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=1, max=256, help="Of many devices, so many at once.")
]
DEFAULT_JOBS = 8
_ORDER = ("running", "waiting", "interrupted", "failed", "not begun", "done")
"""Of states in the live table: what is going on first, then what one may have to act on."""
_BESIDE_ROWS = 5
"""Lines of a table that are no rows, and one for the cursor."""
_UNTIL_NUMBER = re.compile(r"(\D*[\d.]*).*", re.DOTALL)

Say = Callable[[str], None]
Task = Callable[[str, Progress, Say], T]
"""What is done with the device of that name, and where it tells how far it is."""


def on_each(
    selection: str,
    task: Task[T],
    tell: Callable[[T], str],
    *,
    jobs: int,
    as_json: bool,
    may_repeat: bool = False,
    verdict: Callable[[T], int] = lambda _: 0,
) -> None:
    """Do it with every device that is selected, show what became of each, and exit.

    Args:
        tell: a result in a few words.
        may_repeat: doing it twice is as good as doing it once, so a lost connection is tried again.
        verdict: the exit code that a result earns.

    Raises:
        typer.Exit: with the gravest of the devices' exit codes.
        UnknownDevice: the selection means none.
    """
    board = Board()

    def work() -> tuple[Outcome[T], ...]:
        return api.on_devices(
            selection,
            lambda name: task(name, board.progress(name), board.say(name)),
            limits=api.Limits(jobs=jobs),
            retry=api.Retry(when_lost=may_repeat),
            verdict=verdict,
            watch=board.watch,
        )

    show(board, work, tell, as_json)


def show(
    board: Board,
    work: Callable[[], tuple[Outcome[T], ...]],
    tell: Callable[[T], str],
    as_json: bool,
) -> NoReturn:
    """Have it done, print what became of each, also when it is interrupted, and exit.

    Raises:
        typer.Exit: always; with the gravest of the exit codes, or the signal's.
    """
    try:
        with board:
            outcomes = work()
    except api.CrowdHalted as halted:
        outcomes = halted.outcomes
    output.emit(
        outcomes,
        as_json,
        lambda console, ended: cli.render_lab.outcomes(console, ended, tell),
    )
    raise typer.Exit(api.gravest([each.exit_code for each in outcomes]))


def say_once() -> Say:
    """Talk of the data, which each device's task leads to and which need be heard but once.

    Two texts that begin alike, to their first number, are the same: how many samples a gate needs
    is reckoned from the last run, which another device may just have made.
    """
    said: set[str] = set()
    lock = threading.Lock()

    def say(text: str) -> None:
        with lock:
            key = _UNTIL_NUMBER.sub(r"\1", text)
            if key not in said:
                said.add(key)
                output.say(text)

    return say


class Board:
    """How far each device is: one live table on a terminal, a line for each change elsewhere."""

    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}
        self._doing: dict[str, str] = {}
        self._live: AbstractContextManager[object] = nullcontext()

    def watch(self, standing: Standing) -> None:
        """Take notice of a device's new standing."""
        self._standings[standing.device] = standing
        self._doing.pop(standing.device, None)
        if not output.stderr().is_terminal and standing.state != "running":
            note = f": {standing.note}" if standing.note else ""
            output.say(f"{standing.device} {standing.state}{note}")

    def say(self, name: str) -> Say:
        """Where a device's talk goes."""

        def say(text: str) -> None:
            check()
            output.say(f"{name}: {text}")

        return say

    def progress(self, name: str) -> Progress:
        """Where a device's progress goes."""
        return _OneOfMany(lambda doing: self._show(name, doing))

    def __enter__(self) -> None:
        if output.stderr().is_terminal:
            from rich.live import Live

            self._live = Live(
                get_renderable=self._table,
                console=output.stderr(),
                transient=True,
                refresh_per_second=4,
            )
        self._live.__enter__()

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def _show(self, name: str, doing: str) -> None:
        check()
        self._doing[name] = doing

    def _table(self) -> Table:
        console = output.stderr()
        return self.table(console.width, console.height)

    def table(self, width: int, height: int) -> Table:
        """A line for each device, those at work first; the others counted where they do not fit."""
        standings = sorted(self._standings.values(), key=lambda each: _ORDER.index(each.state))
        room = max(1, height - _BESIDE_ROWS)
        shown = standings if len(standings) <= room else standings[: room - 1]
        listing = Listing(Column("device"), Column("state"), Column("what"))
        for each in shown:
            listing.add(each.device, each.state, self._doing.get(each.device, each.note))
        if others := Counter(each.state for each in standings[len(shown) :]):
            counts = ", ".join(f"{count} {state}" for state, count in others.items())
            listing.add(f"and {others.total()} more", "", counts)
        return listing.within(width)


class _OneOfMany:
    """A `Progress` in a few words."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """What is done now, and how much of it."""
        done = 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            self._tell(f"{description} {100 * done // total} %" if total else description)

        self._tell(description)
        yield advance
