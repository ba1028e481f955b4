"""What a long step tells its caller; the command line draws it, a program may ignore it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]

JUDGING = "judging what was measured"
"""Resampling so many runs takes seconds on a slow workstation."""


class Progress(Protocol):
    """Receives the progress of long work."""

    def task(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """Open a task of `total` units, 0 if unknown; the callable given advances it by so many."""


class Silent:
    """A `Progress` that shows nothing."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        yield lambda _: None
