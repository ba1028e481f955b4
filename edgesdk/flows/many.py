"""One task on many devices at once: bounded, each for itself, none stopping the others.

The task is a function of a device's name, run by any `concurrent.futures` executor; with one of
processes or machines, the task and its result must be picklable, and the inventory the same there.

What is tried again is stated by `Retry`: a connection that was never made, since nothing can have
happened then; one that was lost on the way only where the task says that doing it twice is as good
as doing it once. A device that refuses, a package that is unhealthy, a wrong key: never.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar, cast

from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device
from edgesdk.devices.selection import is_selection as is_selection
from edgesdk.devices.selection import select
from edgesdk.errors import AuthenticationFailed, EdgeSDKError, HostKeyMismatch, TransportError
from edgesdk.values.outcome import Outcome, Problem, problem_of

T = TypeVar("T")
Task = Callable[[str], T]
"""What is done with the device of that name."""

_NEVER_AGAIN = (HostKeyMismatch, AuthenticationFailed)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many devices are at work.

    Args:
        jobs: at most, over all.
        per_host: at most, of those at one address: OpenSSH's server drops connections beyond ten
            that are being made (MaxStartups), and devices behind one host share its processor.
    """

    jobs: int = 8
    per_host: int = 8


@dataclass(frozen=True, slots=True)
class Retry:
    """What is tried again, and when.

    Args:
        attempts: in all, at most.
        pause_s: before the second, twice that before the third and so on, each by chance half as
            much or half as much again, so that devices do not come back in step.
        when_lost: also after a connection that was lost on the way; for what may be done twice.
    """

    attempts: int = 3
    pause_s: float = 1.0
    when_lost: bool = False

    def wait_s(self, attempts: int) -> float:
        """How long to wait after so many."""
        return float(self.pause_s * 2 ** (attempts - 1) * random.uniform(0.5, 1.5))


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a device is.

    Args:
        note: a sentence about it; "" where there is nothing to say.
    """

    device: str
    state: Literal["running", "waiting", "done", "failed"]
    note: str = ""


Watch = Callable[[Standing], None]


def on_devices(
    selection: str,
    task: Task[T],
    *,
    limits: Limits | None = None,
    retry: Retry | None = None,
    executor: Executor | None = None,
    verdict: Callable[[T], int] = lambda _: 0,
    watch: Watch = lambda _: None,
) -> tuple[Outcome[T], ...]:
    """Do something with every device that is selected.

    Args:
        selection: "all", "tag:NAME", "pi-*", names, or several of these with commas.
        executor: runs the tasks; as many threads as there are jobs unless given.
        verdict: the exit code that a result earns.
        watch: told, in this thread, how far each device is.

    Returns:
        What became of each, in the order of the inventory.

    Raises:
        UnknownDevice: the selection means none.
    """
    devices = select(inventory.load(inventory.default_path()), selection)
    return run_on(
        devices,
        task,
        limits=limits or Limits(),
        retry=retry or Retry(),
        executor=executor,
        verdict=verdict,
        watch=watch,
    )


def run_on(
    devices: Sequence[Device],
    task: Task[T],
    *,
    limits: Limits,
    retry: Retry,
    executor: Executor | None = None,
    verdict: Callable[[T], int] = lambda _: 0,
    watch: Watch = lambda _: None,
) -> tuple[Outcome[T], ...]:
    """`on_devices` for devices that were looked up."""
    with ExitStack() as own:
        if executor is None:
            executor = own.enter_context(ThreadPoolExecutor(limits.jobs, "device"))
        return _Crowd(devices, task, limits, retry, executor, verdict, watch).run()


@dataclass(frozen=True, slots=True)
class _Tried(Generic[T]):
    """One attempt: its value or its problem, and whether another one makes sense."""

    value: T | None
    problem: Problem | None
    again: Literal["never", "when lost", "yes"] = "never"


def _try(task: Task[T], device: str) -> _Tried[T]:
    """Runs where the executor has it: nothing of ours but values comes back."""
    try:
        return _Tried(task(device), None)
    except (EdgeSDKError, OSError) as error:
        return _Tried(None, problem_of(error), _again(error))


def _again(error: EdgeSDKError | OSError) -> Literal["never", "when lost", "yes"]:
    if not isinstance(error, TransportError) or isinstance(error, _NEVER_AGAIN):
        return "never"
    return "when lost" if error.connected else "yes"


@dataclass(frozen=True, slots=True)
class _Turn:
    """A device whose turn comes."""

    device: Device
    began_s: float = 0.0
    attempts: int = 0
    not_before_s: float = 0.0


class _Crowd(Generic[T]):
    """The devices that wait, those at work, and what became of the others."""

    def __init__(
        self,
        devices: Sequence[Device],
        task: Task[T],
        limits: Limits,
        retry: Retry,
        executor: Executor,
        verdict: Callable[[T], int],
        watch: Watch,
    ) -> None:
        self._devices = devices
        self._task = task
        self._limits = limits
        self._retry = retry
        self._executor = executor
        self._verdict = verdict
        self._watch = watch
        self._waiting = [_Turn(device) for device in devices]
        self._running: dict[Future[_Tried[T]], _Turn] = {}
        self._ended: dict[str, Outcome[T]] = {}
        self._defect: BaseException | None = None

    def run(self) -> tuple[Outcome[T], ...]:
        """Until all have ended.

        Raises:
            BaseException: what a task raised that is none of our errors, once the others are done.
        """
        while self._waiting or self._running:
            for turn in tuple(self._startable()):
                self._start(turn)
            self._await_one()
        if self._defect is not None:
            raise self._defect
        return tuple(self._ended[device.name] for device in self._devices)

    def _startable(self) -> Iterator[_Turn]:
        room = self._limits.jobs - len(self._running)
        at_host = Counter(turn.device.host for turn in self._running.values())
        for turn in self._waiting:
            is_due = turn.not_before_s <= time.monotonic()
            if room and is_due and at_host[turn.device.host] < self._limits.per_host:
                room -= 1
                at_host[turn.device.host] += 1
                yield turn

    def _start(self, turn: _Turn) -> None:
        self._waiting.remove(turn)
        began_s = turn.began_s if turn.attempts else time.monotonic()
        started = replace(turn, began_s=began_s, attempts=turn.attempts + 1)
        self._watch(Standing(turn.device.name, "running"))
        self._running[self._executor.submit(_try, self._task, turn.device.name)] = started

    def _await_one(self) -> None:
        now_s = time.monotonic()
        pauses = [turn.not_before_s - now_s for turn in self._waiting if turn.not_before_s > now_s]
        if not self._running:
            time.sleep(min(pauses, default=0.0))
            return
        until_s = min(pauses, default=None)
        done, _ = wait(self._running, until_s, FIRST_COMPLETED)
        for future in done:
            self._take(self._running.pop(future), future)

    def _take(self, turn: _Turn, future: Future[_Tried[T]]) -> None:
        defect = future.exception()
        if defect is not None:
            self._defect = self._defect or defect
            self._waiting.clear()  # What is at work ends; nothing else is begun with a defect.
            return
        tried = future.result()
        if tried.problem is not None and self._is_tried_again(turn, tried):
            pause_s = self._retry.wait_s(turn.attempts)
            self._waiting.append(replace(turn, not_before_s=time.monotonic() + pause_s))
            note = f"{tried.problem.message}; again in {pause_s:.1f} s"
            self._watch(Standing(turn.device.name, "waiting", note))
            return
        self._end(turn, tried)

    def _is_tried_again(self, turn: _Turn, tried: _Tried[T]) -> bool:
        allowed = ("yes", "when lost") if self._retry.when_lost else ("yes",)
        return tried.again in allowed and turn.attempts < self._retry.attempts

    def _end(self, turn: _Turn, tried: _Tried[T]) -> None:
        name, problem = turn.device.name, tried.problem
        exit_code = self._verdict(cast(T, tried.value)) if problem is None else problem.exit_code
        elapsed_s = time.monotonic() - turn.began_s
        self._ended[name] = Outcome(name, tried.value, problem, exit_code, turn.attempts, elapsed_s)
        state: Literal["done", "failed"] = "failed" if exit_code else "done"
        self._watch(Standing(name, state, "" if problem is None else problem.message))
