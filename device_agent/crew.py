"""Threads behind the one that reads: hashing and unpacking let go of the interpreter's lock."""

from __future__ import annotations

import collections
import queue
import threading
from typing import Callable, Deque, Optional

Call = Callable[[], bytes]
Take = Callable[[bytes], object]

_AHEAD = 8
"""Calls at most that are handed over and not taken yet: chunks of 64 KiB, in memory twice."""


class Crew:
    """Does what it is handed, and has the results taken in that order, by whoever hands it over.

    The `with` block ends when all that was handed over has been taken, also where something goes
    wrong in it: what came before stays. Behind what goes wrong in a call, nothing is taken.

    Args:
        take: gets what the calls return, one after the other.
        threads: how many do the calls; with none, they are done where they are handed.
    """

    def __init__(self, take: Take, threads: int) -> None:
        self._take = take
        self._threads = threads
        self._to_do: queue.SimpleQueue[Optional[_Job]] = queue.SimpleQueue()
        self._ahead: Deque[_Job] = collections.deque()

    def __enter__(self) -> Crew:
        for _ in range(self._threads):
            threading.Thread(target=self._work, name="crew", daemon=True).start()
        return self

    def hand(self, call: Call) -> None:
        """Have it done, and take what is done; waits where much is not.

        Raises:
            BaseException: what an earlier call raised, or taking its result.
        """
        if not self._threads:
            self._take(call())
            return
        job = _Job(call)
        self._to_do.put(job)
        self._ahead.append(job)
        while self._ahead and (len(self._ahead) > _AHEAD or self._ahead[0].is_done):
            self._take_next()

    def __exit__(self, *_: object) -> None:
        try:
            while self._ahead:
                self._take_next()
        finally:
            for _thread in range(self._threads):
                self._to_do.put(None)

    def _take_next(self) -> None:
        try:
            self._take(self._ahead.popleft().result())
        except BaseException:
            self._ahead.clear()
            raise

    def _work(self) -> None:
        job = self._to_do.get()
        while job is not None:
            job.do()
            job = self._to_do.get()


class _Job:
    """A call that one thread does, and whose result another takes.

    The lock is let go of by the thread that does it. A `threading.Event` is a lock, a condition and
    a deque, made in Python: 3.5 us to make, set and await one, 0.2 us for the lock (CPython 3.7 and
    3.11 on x86-64).
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._result = b""
        self._failure: Optional[BaseException] = None
        self._undone = threading.Lock()
        self._undone.acquire()

    @property
    def is_done(self) -> bool:
        return not self._undone.locked()

    def do(self) -> None:
        """Once only."""
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self._failure = error
        self._undone.release()

    def result(self) -> bytes:
        """What the call returned, or raised, once it is done. Once only."""
        self._undone.acquire()
        if self._failure is not None:
            raise self._failure
        return self._result
