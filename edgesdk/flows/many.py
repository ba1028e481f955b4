"""One task on many devices at once: bounded, each for itself, none stopping the others.

The task is a function of a device's name, run by any `concurrent.futures` executor; with one of
processes or machines, the task and its result must be picklable, and the inventory the same there.

What is tried again is stated by `Retry`: a connection that was never made, since nothing can have
happened then; one that was lost on the way only where the task says that doing it twice is as good
as doing it once. A device that refuses, a package that is unhealthy, a wrong key: never.

Ctrl-C, or a polite kill, begins nothing more and breaks the connections of those at work, which a
device takes as the end of its session: what was on trial is over, a session's lease is free. What
became of each is in the `CrowdHalted` that is raised then. Devices that another executor than our
own is at work with are out of reach; what has not begun there is called off.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar, cast

from edgesdk.devices import inventory
from edgesdk.devices.conversation.exchange import AGENT_DIED
from edgesdk.devices.inventory import Device
from edgesdk.devices.selection import is_selection as is_selection
from edgesdk.devices.selection import select
from edgesdk.errors import (
    AgentError,
    AuthenticationFailed,
    EdgeSDKError,
    HostKeyMismatch,
    Interrupted,
    TransportError,
)
from edgesdk.interruption import FAREWELL_S, Halted, Interruption, Signalled, signal_of
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


State = Literal["running", "waiting", "done", "failed", "interrupted", "not begun"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a device is.

    Args:
        note: a sentence about it; "" where there is nothing to say.
    """

    device: str
    state: State
    note: str = ""


Watch = Callable[[Standing], None]


class CrowdHalted(Halted):
    """Ctrl-C while devices were at work.

    Args:
        outcomes: what became of each, in the order of the inventory; of an `Interrupted` where its
            turn had not come (no attempts), or where it was at work.
    """

    def __init__(self, outcomes: tuple[Outcome[Any], ...], signal_number: int) -> None:
        super().__init__(signal_number)
        self.outcomes = outcomes


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
        CrowdHalted: it was interrupted, and says what became of each.
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
    interruption = Interruption() if executor is None else None
    chosen = executor or _Threads()
    return _Crowd(devices, task, limits, retry, chosen, interruption, verdict, watch).run()


class _Threads(Executor):
    """A thread for each task; the crowd itself bounds how many.

    Not `ThreadPoolExecutor`: Python waits for its threads before it ends, however long they take.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        threading.Thread(
            target=_fulfil, args=(future, fn, args, kwargs), name="device", daemon=True
        ).start()
        return future


def _fulfil(future: Future[Any], fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
    try:
        value = fn(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001  As every executor does.
        future.set_exception(error)
    else:
        future.set_result(value)


@dataclass(frozen=True, slots=True)
class _Tried(Generic[T]):
    """One attempt: its value or its problem, and whether another one makes sense.

    Args:
        again: "cut" where it was interrupted, with neither.
    """

    value: T | None
    problem: Problem | None
    again: Literal["never", "when lost", "yes", "cut"] = "never"


def _try(task: Task[T], device: str, interruption: Interruption | None) -> _Tried[T]:
    """Runs where the executor has it: nothing of ours but values comes back."""
    try:
        with nullcontext() if interruption is None else interruption.reached_by():
            return _Tried(task(device), None)
    except Signalled:
        return _Tried(None, None, "cut")
    except (EdgeSDKError, OSError) as error:
        if interruption is not None and interruption.has_come() and _is_ours(error):
            return _Tried(None, None, "cut")
        return _Tried(None, problem_of(error), _again(error))


def not_begun(device: str, signal_number: int) -> Outcome[Any]:
    """What became of a device whose turn had not come when it was interrupted."""
    problem = problem_of(Interrupted(signal_number, "interrupted before its turn came"))
    return Outcome(device, None, problem, problem.exit_code, 0, 0.0)


def _is_ours(error: EdgeSDKError | OSError) -> bool:
    """Whether it is how a broken connection looks: lost, or an agent that ended."""
    is_death = isinstance(error, AgentError) and error.code in ("", AGENT_DIED)
    return isinstance(error, TransportError) or is_death


def _again(error: EdgeSDKError | OSError) -> Literal["never", "when lost", "yes"]:
    if not isinstance(error, TransportError) or isinstance(error, _NEVER_AGAIN):
        return "never"
    return "when lost" if error.connected else "yes"


@dataclass(frozen=True, slots=True)
class _Turn:
    """A device whose turn comes.

    Args:
        failed: what the attempt before came to; "" before the first.
    """

    device: Device
    began_s: float = 0.0
    attempts: int = 0
    not_before_s: float = 0.0
    failed: str = ""


class _Crowd(Generic[T]):
    """The devices that wait, those at work, and what became of the others."""

    def __init__(
        self,
        devices: Sequence[Device],
        task: Task[T],
        limits: Limits,
        retry: Retry,
        executor: Executor,
        interruption: Interruption | None,
        verdict: Callable[[T], int],
        watch: Watch,
    ) -> None:
        self._devices = devices
        self._task = task
        self._limits = limits
        self._retry = retry
        self._executor = executor
        self._interruption = interruption
        self._verdict = verdict
        self._watch = watch
        self._waiting = [_Turn(device) for device in devices]
        self._begun: dict[str, _Turn] = {}
        self._running: dict[Future[_Tried[T]], _Turn] = {}
        self._ended: dict[str, Outcome[T]] = {}
        self._defect: BaseException | None = None

    def run(self) -> tuple[Outcome[T], ...]:
        """Until all have ended.

        Raises:
            BaseException: what a task raised that is none of our errors, once the others are done.
            CrowdHalted: a signal came.
        """
        try:
            while self._waiting or self._running:
                for turn in tuple(self._startable()):
                    self._start(turn)
                self._await_one()
        except (KeyboardInterrupt, Signalled) as error:
            raise self._halted(signal_of(error)) from None
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
        began_s = turn.began_s if turn.attempts else time.monotonic()
        started = replace(turn, began_s=began_s, attempts=turn.attempts + 1)
        name = turn.device.name
        self._watch(Standing(name, "running"))
        self._waiting.remove(turn)
        self._begun[name] = started
        future = self._executor.submit(_try, self._task, name, self._interruption)
        self._running[future] = started

    def _await_one(self) -> None:
        now_s = time.monotonic()
        pauses = [turn.not_before_s - now_s for turn in self._waiting if turn.not_before_s > now_s]
        if not self._running:
            time.sleep(min(pauses, default=0.0))
            return
        until_s = min(pauses, default=None)
        done, _ = wait(self._running, until_s, FIRST_COMPLETED)
        for future in done:
            self._take(self._running[future], future)
            del self._running[future]  # An interruption in between finds it in its place.

    def _take(self, turn: _Turn, future: Future[_Tried[T]]) -> None:
        defect = future.exception()
        if defect is not None:
            self._defect = self._defect or defect
            self._waiting.clear()  # What is at work ends; nothing else is begun with a defect.
            return
        tried = future.result()
        if tried.problem is not None and self._is_tried_again(turn, tried):
            pause_s = self._retry.wait_s(turn.attempts)
            failed = tried.problem.message
            until_s = time.monotonic() + pause_s
            self._waiting.append(replace(turn, not_before_s=until_s, failed=failed))
            note = f"{failed}; again in {pause_s:.1f} s"
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

    def _halted(self, signal_number: int) -> CrowdHalted:
        """End those at work, and say what became of all."""
        if self._interruption is not None:
            self._interruption.come()
        for future in [future for future in self._running if future.cancel()]:
            self._call_off(self._running.pop(future))
        done, _ = wait(self._running, FAREWELL_S)
        for future in done:
            self._take_last(self._running[future], future)
        for device in self._devices:
            if device.name not in self._ended:
                self._end_early(device.name, signal_number)
        outcomes = tuple(self._ended[device.name] for device in self._devices)
        return CrowdHalted(outcomes, signal_number)

    def _call_off(self, turn: _Turn) -> None:
        """Its executor had not come to this attempt: the device is where it was before."""
        before = replace(turn, attempts=turn.attempts - 1)
        del self._begun[turn.device.name]
        if before.attempts:
            self._begun[turn.device.name] = before
            self._waiting.append(before)

    def _take_last(self, turn: _Turn, future: Future[_Tried[T]]) -> None:
        """Of one that ended by itself, what it says; a defect is not told beside a signal."""
        if future.exception() is None and turn.device.name not in self._ended:
            tried = future.result()
            if tried.again != "cut":
                self._end(turn, tried)

    def _end_early(self, name: str, signal_number: int) -> None:
        turn = self._begun.get(name)
        if turn is None:
            outcome = not_begun(name, signal_number)
        else:
            pausing = next((each for each in self._waiting if each.device.name == name), None)
            what = "at work: its session is over"
            if pausing is not None:
                what = f"before it was tried again: {pausing.failed}"
            problem = problem_of(Interrupted(signal_number, f"interrupted {what}"))
            elapsed_s = time.monotonic() - turn.began_s
            outcome = Outcome(name, None, problem, problem.exit_code, turn.attempts, elapsed_s)
        self._ended[name] = outcome
        self._watch(Standing(name, "not begun" if turn is None else "interrupted"))
