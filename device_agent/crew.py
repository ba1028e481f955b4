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
    """Does what it is handed, and has the results taken in that order, each as soon as it can be.

    The `with` block ends when all that was handed over has been taken, also where something goes
    wrong in it: what came before stays. Behind what goes wrong in a call, nothing is taken.

    Args:
        take: gets what the calls return, one after the other, in a thread of its own.
        threads: how many do the calls; with none, calls and `take` are done where they are handed.
    """

    def __init__(self, take: Take, threads: int) -> None:
        self._take = take
        self._threads = threads
        self._to_do: queue.SimpleQueue[Optional[_Job]] = queue.SimpleQueue()
        self._to_take: queue.SimpleQueue[Optional[_Job]] = queue.SimpleQueue()
        self._ahead: Deque[_Job] = collections.deque()
        self._taker = threading.Thread(target=self._take_in_order, name="taker", daemon=True)
        self._failure: Optional[BaseException] = None

    def __enter__(self) -> Crew:
        for _ in range(self._threads):
            threading.Thread(target=self._work, name="crew", daemon=True).start()
        if self._threads:
            self._taker.start()
        return self

    def hand(self, call: Call) -> None:
        """Have it done; waits where much is.

        Raises:
            BaseException: what an earlier call raised, or taking its result.
        """
        if not self._threads:
            self._take(call())
            return
        if self._failure is not None:
            raise self._failure
        job = _Job(call)
        self._to_do.put(job)
        self._to_take.put(job)
        self._ahead.append(job)
        if len(self._ahead) > _AHEAD:
            self._ahead.popleft().untaken.acquire()

    def __exit__(self, _: object, error: Optional[BaseException], __: object) -> None:
        if not self._threads:
            return
        for _thread in range(self._threads):
            self._to_do.put(None)
        self._to_take.put(None)
        self._taker.join()
        if self._failure is not None and self._failure is not error:
            raise self._failure

    def _work(self) -> None:
        job = self._to_do.get()
        while job is not None:
            job.do()
            job = self._to_do.get()

    def _take_in_order(self) -> None:
        job = self._to_take.get()
        while job is not None:
            if self._failure is None:
                try:
                    self._take(job.result())
                except BaseException as error:  # noqa: BLE001 - raised where calls are handed over
                    self._failure = error
            job.untaken.release()
            job = self._to_take.get()


class _Job:
    """A call that one thread does, and whose result another takes."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._result = b""
        self._failure: Optional[BaseException] = None
        self._undone = _held()
        self.untaken = _held()

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


def _held() -> threading.Lock:
    """To be let go of by another thread.

    Not a `threading.Event`, which is a lock, a condition and a deque, made in Python: 3.5 us to
    make, set and await one, 0.2 us to make, let go of and take a lock (CPython 3.7 and 3.11 on
    x86-64). Each chunk has two.
    """
    lock = threading.Lock()
    lock.acquire()
    return lock
