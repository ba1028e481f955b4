"""Ctrl-C and polite kills, for threads too: Python gives signals to the main thread only.

A thread of ours that may wait for long is started with `reached_by`; whoever waits in it asks
`check`, waits with `pause`, or says with `cut_by` what ends the wait. In the main thread, which
signals reach by themselves, and in threads of others these three change nothing.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

FAREWELL_S = 1.5
"""How long what is at work may take to close what it has open, once it is interrupted."""


class Signalled(BaseException):
    """The user, or the system, wants this to end; whatever is open is closed on the way out.

    Args:
        signal_number: what came.
    """

    def __init__(self, signal_number: int = signal.SIGINT) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class Halted(KeyboardInterrupt):
    """Ctrl-C, while many things were done of which some have ended: subclasses hold those.

    Args:
        signal_number: what came.
    """

    def __init__(self, signal_number: int = signal.SIGINT) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def signal_of(error: BaseException) -> int:
    """Which signal an interruption stands for."""
    if isinstance(error, Signalled | Halted):
        return error.signal_number
    return signal.SIGINT


class Interruption:
    """Reaches the threads that work under it, once it comes."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._lock = threading.Lock()
        self._cuts: list[Callable[[], None]] = []

    def come(self) -> None:
        """Wake everybody who waits under it; never waits itself. Twice is fine."""
        with self._lock:
            self._came.set()
            cuts, self._cuts = self._cuts, []
        for cut in cuts:
            cut()

    def has_come(self) -> bool:
        """Whether it has."""
        return self._came.is_set()

    @contextmanager
    def reached_by(self) -> Iterator[None]:
        """What this thread does in the block can be interrupted by it."""
        before = _OURS.set(self)
        try:
            yield
        finally:
            _OURS.reset(before)

    def _add(self, cut: Callable[[], None]) -> None:
        with self._lock:
            if not self._came.is_set():
                self._cuts.append(cut)
                return
        raise Signalled

    def _remove(self, cut: Callable[[], None]) -> None:
        with self._lock:
            if cut in self._cuts:
                self._cuts.remove(cut)


_OURS: ContextVar[Interruption | None] = ContextVar("interruption", default=None)


def check() -> None:
    """Go no further in a thread that was interrupted.

    Raises:
        Signalled: it was.
    """
    ours = _OURS.get()
    if ours is not None and ours.has_come():
        raise Signalled


def pause(seconds: float) -> None:
    """Sleep, unless interrupted.

    Raises:
        Signalled: it was.
    """
    ours = _OURS.get()
    if ours is None:
        time.sleep(seconds)
    elif ours._came.wait(seconds):
        raise Signalled


class Cut:
    """From `cut_by` to `close`, an interruption calls what was given."""

    def __init__(self, ours: Interruption | None, cut: Callable[[], None]) -> None:
        self._ours = ours
        self._cut = cut

    def close(self) -> None:
        """It is over. Twice is fine."""
        if self._ours is not None:
            self._ours._remove(self._cut)


def cut_by(cut: Callable[[], None]) -> Cut:
    """Have `cut` called, from another thread, when this one is interrupted.

    Args:
        cut: ends what this thread waits for; returns at once, and never raises.

    Raises:
        Signalled: it was interrupted already.
    """
    ours = _OURS.get()
    if ours is not None:
        ours._add(cut)
    return Cut(ours, cut)
