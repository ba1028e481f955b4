"""Many devices at once: what runs beside what, what is tried again, what becomes of each."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from edgesdk import interruption
from edgesdk.devices.inventory import Device
from edgesdk.errors import (
    AgentError,
    AuthenticationFailed,
    DeadlineExceeded,
    DeviceError,
    EdgeSDKError,
    HostKeyMismatch,
    TransportError,
)
from edgesdk.flows import many
from edgesdk.flows.many import CrowdHalted, Limits, Retry, Standing, Task, run_on
from edgesdk.interruption import FAREWELL_S
from edgesdk.serial import to_dict
from edgesdk.values.outcome import Outcome, gravest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
AT_ONCE = Retry(pause_s=0.001)
BEFORE_ANOTHER = "interrupted before it was tried again"


def lab(count: int, hosts: int = 100) -> list[Device]:
    return [
        Device(f"d{index}", f"10.0.0.{index % hosts}", 22, "pi", "x", KEY) for index in range(count)
    ]


def run(devices: list[Device], task: Task[Any], **options: Any) -> dict[str, Outcome[Any]]:
    settings = {"limits": Limits(), "retry": AT_ONCE, **options}
    return {each.device: each for each in run_on(devices, task, **settings)}


def unconnected(error: TransportError) -> TransportError:
    error.connected = False
    return error


class Failing:
    """A task that fails on its first so many attempts with each device."""

    def __init__(self, error: Callable[[], Exception], times: int) -> None:
        self.attempts: Counter[str] = Counter()
        self._error = error
        self._times = times

    def __call__(self, name: str) -> str:
        self.attempts[name] += 1
        if self.attempts[name] <= self._times:
            raise self._error()
        return f"{name} is fine"


# ---- together ------------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_devices() -> None:
    devices = lab(9)
    outcomes = run_on(devices, lambda name: name.upper(), limits=Limits(3), retry=AT_ONCE)
    assert [each.value for each in outcomes] == [f"D{index}" for index in range(9)]


def test_one_that_fails_stops_no_other() -> None:
    def task(name: str) -> str:
        if name == "d1":
            raise AgentError("the device is leased by bob", code="busy", hint="wait")
        return name

    ended = run(lab(4), task)
    assert [each.value for each in ended.values()] == ["d0", None, "d2", "d3"]
    problem = ended["d1"].problem
    assert problem is not None
    assert (problem.type, problem.hint, problem.facts) == ("AgentError", "wait", {"code": "busy"})
    assert ended["d1"].exit_code == 4


def test_a_defect_is_no_outcome_and_is_raised_once_those_at_work_have_ended() -> None:
    ended = []

    def task(name: str) -> None:
        if name == "d0":
            raise ZeroDivisionError
        time.sleep(0.05)
        ended.append(name)

    with pytest.raises(ZeroDivisionError):
        run(lab(3), task)
    assert sorted(ended) == ["d1", "d2"]


@pytest.mark.parametrize(
    ("limits", "hosts", "most"),
    [(Limits(3, 8), 100, 3), (Limits(8, 2), 1, 2), (Limits(8, 2), 2, 4)],
)
def test_no_more_work_at_once_than_the_limits_say(limits: Limits, hosts: int, most: int) -> None:
    lock, now, seen = threading.Lock(), 0, 0

    def task(_: str) -> None:
        nonlocal now, seen
        with lock:
            now += 1
            seen = max(seen, now)
        time.sleep(0.02)
        with lock:
            now -= 1

    run(lab(12, hosts), task, limits=limits)
    assert seen == most


def test_a_verdict_is_the_exit_code_of_a_result() -> None:
    ended = run(lab(3), lambda name: int(name[1]), verdict=lambda value: value)
    assert [each.exit_code for each in ended.values()] == [0, 1, 2]


def test_the_gravest_exit_code_is_that_of_many() -> None:
    assert gravest([0, 1, 4, 0]) == 4
    assert gravest([]) == 0


# ---- tried again ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [TransportError, DeadlineExceeded])
def test_a_connection_that_was_never_made_is_tried_again(error: type[TransportError]) -> None:
    task = Failing(lambda: unconnected(error("no answer")), 2)
    ended = run(lab(2), task)
    assert [each.value for each in ended.values()] == ["d0 is fine", "d1 is fine"]
    assert [each.attempts for each in ended.values()] == [3, 3]


def test_but_not_for_ever() -> None:
    task = Failing(lambda: unconnected(TransportError("nothing listens")), 99)
    (ended,) = run(lab(1), task).values()
    assert (ended.attempts, ended.exit_code) == (3, 4)
    assert ended.problem is not None and ended.problem.message == "nothing listens"


@pytest.mark.parametrize(
    "error",
    [
        TransportError("the connection was lost"),
        unconnected(HostKeyMismatch("another key")),
        unconnected(AuthenticationFailed("no key fits")),
        AgentError("full"),
        DeviceError("else"),
        EdgeSDKError("input"),
        OSError(2, "no such file", "x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_have_half_happened_or_cannot_get_better_is_not(error: Exception) -> None:
    task = Failing(lambda: error, 1)
    (ended,) = run(lab(1), task).values()
    assert ended.attempts == 1
    assert ended.problem is not None


def test_a_lost_connection_is_tried_again_where_twice_is_as_good_as_once() -> None:
    task = Failing(lambda: TransportError("the connection was lost"), 1)
    (ended,) = run(lab(1), task, retry=Retry(pause_s=0.001, when_lost=True)).values()
    assert (ended.value, ended.attempts) == ("d0 is fine", 2)


def test_others_go_on_while_one_waits_for_its_next_attempt() -> None:
    order = []

    def task(name: str) -> None:
        order.append(name)
        if name == "d0" and order.count("d0") == 1:
            raise unconnected(TransportError("no answer"))

    run(lab(4), task, limits=Limits(1), retry=Retry(pause_s=0.2))
    assert order == ["d0", "d1", "d2", "d3", "d0"]


def test_pauses_double_and_differ_by_chance() -> None:
    retry = Retry(pause_s=1.0)
    first, second = ([retry.wait_s(tries) for _ in range(200)] for tries in (1, 2))
    assert 0.5 <= min(first) < 0.6 and 1.4 < max(first) <= 1.5
    assert 1.0 <= min(second) < 1.2 and 2.8 < max(second) <= 3.0


def test_waiting_costs_no_processor_time() -> None:
    task = Failing(lambda: unconnected(TransportError("no answer")), 1)
    began_s = time.process_time()
    run(lab(1), task, retry=Retry(pause_s=0.5))
    assert time.process_time() - began_s < 0.1


# ---- told, and where it runs ---------------------------------------------------------------------


def test_the_watcher_hears_of_every_step_in_the_callers_thread() -> None:
    heard: list[tuple[Standing, threading.Thread]] = []
    task = Failing(lambda: unconnected(TransportError("no answer")), 1)
    run(lab(1), task, watch=lambda each: heard.append((each, threading.current_thread())))
    assert [each.state for each, _ in heard] == ["running", "waiting", "running", "done"]
    assert heard[1][0].note.startswith("no answer; again in ")
    assert {thread for _, thread in heard} == {threading.current_thread()}


def _refused(name: str) -> int:
    if name == "d1":
        raise AgentError("leased", code="busy")
    return len(name)


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_does(kind: Callable[..., Any]) -> None:
    with kind(2) as executor:
        ended = run(lab(3), _refused, executor=executor)
    assert [each.value for each in ended.values()] == [2, None, 2]
    assert ended["d1"].problem is not None and ended["d1"].problem.facts == {"code": "busy"}


def test_an_outcome_has_a_json_form() -> None:
    ended = run(lab(2), _refused)
    document = json.loads(json.dumps(to_dict(tuple(ended.values()))))
    assert [each["device"] for each in document] == ["d0", "d1"]
    assert document[0]["value"] == 2 and document[0]["problem"] is None
    assert document[1]["problem"]["facts"] == {"code": "busy"}


# ---- interrupted ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def as_pythons_own() -> Iterator[None]:
    """Ctrl-C means what it means to Python, whatever a test before this one has left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _press_ctrl_c(after: threading.Event, times: int = 1) -> None:
    """Once the event has come; a second time a moment later."""

    def press() -> None:
        assert after.wait(10)
        for _ in range(times):
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()


class Endless:
    """A task that only an interruption ends, but for the devices that are done at once."""

    def __init__(self, done: Sequence[str] = (), wait: Callable[[], object] | None = None) -> None:
        self.at_work = threading.Event()
        self.begun: list[str] = []
        self._done = done
        self._wait = wait or (lambda: interruption.pause(60))

    def __call__(self, name: str) -> str:
        self.begun.append(name)
        if name not in self._done:
            self.at_work.set()
            self._wait()
        return name


def halted(devices: list[Device], task: Endless, times: int = 1, **options: Any) -> CrowdHalted:
    _press_ctrl_c(task.at_work, times)
    with pytest.raises(CrowdHalted) as raised:
        run(devices, task, **options)
    return raised.value


def test_ctrl_c_begins_nothing_more_and_says_what_became_of_each() -> None:
    task = Endless(done=["d0"])
    ended = halted(lab(4), task, limits=Limits(1)).outcomes
    assert task.begun == ["d0", "d1"]
    assert [each.value for each in ended] == ["d0", None, None, None]
    assert [each.attempts for each in ended] == [1, 1, 0, 0]
    assert [each.exit_code for each in ended] == [0, 130, 130, 130]
    told = [each.problem.message for each in ended if each.problem is not None]
    assert told == [
        "interrupted at work: its session is over",
        *["interrupted before its turn came"] * 2,
    ]


def test_ctrl_c_is_a_keyboard_interrupt_to_whoever_catches_none_of_ours() -> None:
    assert isinstance(halted(lab(1), Endless()), KeyboardInterrupt)


def test_a_device_that_waits_for_its_next_attempt_is_interrupted_as_well() -> None:
    ready = threading.Event()
    task = Failing(lambda: unconnected(TransportError("no answer")), 99)
    _press_ctrl_c(ready)
    with pytest.raises(CrowdHalted) as raised:
        run(lab(1), task, retry=Retry(pause_s=60), watch=lambda each: _set(ready, each))
    (ended,) = raised.value.outcomes
    assert ended.problem is not None
    assert (ended.attempts, ended.problem.message) == (1, f"{BEFORE_ANOTHER}: no answer")


def test_a_second_attempt_that_an_executor_has_not_come_to_leaves_the_first_to_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(many, "FAREWELL_S", 0.1)
    handed_on, free = threading.Event(), threading.Event()
    begun: Counter[str] = Counter()

    def task(name: str) -> None:
        if name == "d0":
            raise unconnected(TransportError("no answer"))
        free.wait(10)

    def watch(each: Standing) -> None:
        begun[each.device] += each.state == "running"
        if begun["d0"] == 2:
            handed_on.set()

    _press_ctrl_c(handed_on)
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(CrowdHalted) as raised:
            run(lab(2), task, executor=executor, watch=watch)
        free.set()
    assert [
        (each.attempts, each.problem.message) for each in raised.value.outcomes if each.problem
    ] == [(1, f"{BEFORE_ANOTHER}: no answer"), (1, "interrupted at work: its session is over")]


def _set(event: threading.Event, standing: Standing) -> None:
    if standing.state == "waiting":
        event.set()


def test_what_is_cut_looks_lost_and_counts_as_interrupted() -> None:
    hung_up = threading.Event()

    def wait() -> None:
        interruption.cut_by(hung_up.set)
        assert hung_up.wait(10)
        raise TransportError("the connection was lost")

    (ended,) = halted(lab(1), Endless(wait=wait)).outcomes
    assert ended.problem is not None and ended.problem.type == "Interrupted"


def test_what_ends_by_itself_meanwhile_is_told_as_it_ended() -> None:
    def wait() -> None:
        time.sleep(0.3)
        raise AgentError("not well", code="unhealthy")

    (ended,) = halted(lab(1), Endless(wait=wait)).outcomes
    assert ended.problem is not None and ended.problem.message == "not well"


def test_one_that_nothing_ends_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "FAREWELL_S", 0.1)
    free = threading.Event()
    (ended,) = halted(lab(1), Endless(wait=lambda: free.wait(60))).outcomes
    assert ended.problem is not None and ended.problem.type == "Interrupted"
    free.set()


def test_a_second_ctrl_c_leaves_at_once() -> None:
    free, began_s = threading.Event(), time.monotonic()
    task = Endless(wait=lambda: free.wait(60))
    _press_ctrl_c(task.at_work, times=2)
    with pytest.raises(KeyboardInterrupt) as raised:
        run(lab(1), task)
    assert not isinstance(raised.value, CrowdHalted)
    assert time.monotonic() - began_s < FAREWELL_S
    free.set()


def test_the_watcher_hears_who_was_interrupted_and_who_never_began() -> None:
    heard: list[tuple[str, str]] = []
    halted(
        lab(2),
        Endless(),
        limits=Limits(1),
        watch=lambda each: heard.append((each.device, each.state)),
    )
    assert heard == [("d0", "running"), ("d0", "interrupted"), ("d1", "not begun")]
