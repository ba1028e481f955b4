"""Threads for what lets go of the interpreter's lock: hashing and unpacking whole chunks."""

from __future__ import annotations

import collections
import os
import queue
import threading
from typing import Callable, Deque, Iterable, Iterator, List, Optional

Call = Callable[[], bytes]

_CALLS_A_JOB = 4
"""Handing a chunk of 64 KiB over takes about as long as hashing it; four at once cost less."""


def spare_cores() -> int:
    """How many processors this process may use beside the one it runs on."""
    return len(os.sched_getaffinity(0)) - 1


class Crew:
    """Threads that do calls ahead of whoever takes what they return. Ends with its `with` block.

    Args:
        threads: how many; with one, the calls are done one after the other. With none, each is
            done when its result is taken.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._jobs: queue.Queue[Optional[_Job]] = queue.Queue()

    def __enter__(self) -> Crew:
        for _ in range(self._threads):
            threading.Thread(target=self._work, name="crew", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in range(self._threads):
            self._jobs.put(None)

    def in_order(self, calls: Iterable[Call]) -> Iterator[bytes]:
        """What the calls return, in their order.

        Raises:
            Exception: what a call raised, or getting the next one, once all before it were given.
        """
        if not self._threads:
            for call in calls:
                yield call()
            return
        ahead: Deque[_Job] = collections.deque()
        for job in _jobs_of(calls):
            self._jobs.put(job)
            ahead.append(job)
            if len(ahead) > self._threads:
                yield from ahead.popleft().results()
        for job in ahead:
            yield from job.results()

    def _work(self) -> None:
        job = self._jobs.get()
        while job is not None:
            job.do()
            job = self._jobs.get()


def _jobs_of(calls: Iterable[Call]) -> Iterator[_Job]:
    """The last one tells what went wrong with getting more calls, if something did."""
    some: List[Call] = []
    failure: Optional[BaseException] = None
    try:
        for call in calls:
            some.append(call)
            if len(some) == _CALLS_A_JOB:
                yield _Job(some, None)
                some = []
    except Exception as error:  # noqa: BLE001 - raised again once the results before it are taken
        failure = error
    yield _Job(some, failure)


class _Job:
    """Some calls, which one thread does, and another takes their results."""

    def __init__(self, calls: List[Call], failure: Optional[BaseException]) -> None:
        self._calls = calls
        self._failure = failure
        self._results: List[bytes] = []
        self._undone = threading.Lock()
        self._undone.acquire()

    def do(self) -> None:
        try:
            for call in self._calls:
                self._results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever takes the results
            self._failure = error
        self._undone.release()

    def results(self) -> Iterator[bytes]:
        self._undone.acquire()
        yield from self._results
        if self._failure is not None:
            raise self._failure
