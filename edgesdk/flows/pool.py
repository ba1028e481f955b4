"""Processes of this machine for tasks, which end when their parent wants it, or is gone.

Ctrl-C in a terminal reaches every process there is; ours leave it to the parent, who closes the
line that each of them listens to. A task at work is then ended by an exception, so that whatever it
has open is closed; one that minds none for long dies with its process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

from edgesdk.interruption import FAREWELL_S, Signalled

T = TypeVar("T")
R = TypeVar("R")

_TELLING_S = 0.5
_END_S = FAREWELL_S + _TELLING_S
"""A process is left that long: a task may wait for threads of its own, and has then to say so."""
PATIENCE_S = _END_S + _TELLING_S
"""How long the parent waits for what the tasks say at their end."""


@dataclass(frozen=True, slots=True)
class Pool:
    """An executor of processes.

    Args:
        end: have the tasks at work end, and let no other begin; never waits. Twice is fine.
    """

    executor: Executor
    end: Callable[[], None]


@contextmanager
def processes(count: int) -> Iterator[Pool]:
    """So many processes, gone when the block ends."""
    spawn = multiprocessing.get_context("spawn")  # Toolkits have threads; a fork breaks.
    theirs, ours = spawn.Pipe(duplex=False)
    try:
        with ProcessPoolExecutor(count, spawn, _listen, (theirs,)) as executor:
            yield Pool(executor, ours.close)
    finally:
        ours.close()
        theirs.close()


@contextmanager
def born_deaf() -> Iterator[None]:
    """Processes that are started in the block never see Ctrl-C; ours comes after it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unless_ended(task: Callable[[T], R], given: T, ended: Callable[[T, bool], R]) -> R:
    """Carry a task out in a process of a pool.

    Args:
        ended: what becomes of it instead where the parent wants an end; the second argument says
            whether it had begun.
    """
    begun = False
    signal.signal(signal.SIGTERM, _end)
    _line.at_work = True  # From here on the end of the line is told by a signal.
    try:
        if _line.has_ended():
            return ended(given, False)
        begun = True
        return task(given)
    except (Signalled, KeyboardInterrupt):
        if not _line.has_ended():  # Somebody else's wish, as of a pool that broke.
            os._exit(128 + signal.SIGTERM)
        return ended(given, begun)
    finally:
        _line.at_work = False
        # A signal that is already on its way must not take the result with it.
        usual = signal.SIG_IGN if _line.has_ended() else signal.SIG_DFL
        signal.signal(signal.SIGTERM, usual)


class _Line:
    """Between a process of a pool and the one that started it, who holds it open.

    Attributes:
        at_work: a task has to be ended, once the line has.
    """

    def __init__(self) -> None:
        self.at_work = False
        self._end: Connection | None = None

    def listen(self, end: Connection) -> None:
        """From now on."""
        self._end = end
        threading.Thread(target=self._await_end, args=(end,), daemon=True).start()

    def has_ended(self) -> bool:
        """Whether the parent wants an end, or is gone."""
        return self._end is not None and self._end.poll()

    def _await_end(self, end: Connection) -> None:
        end.poll(None)  # Nothing is ever written to it: what comes is its end.
        if self.at_work:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_END_S)
        os._exit(128 + signal.SIGTERM)


_line = _Line()


def _listen(end: Connection) -> None:
    """Runs first in each process."""
    _line.listen(end)


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Once is enough.
    raise Signalled
