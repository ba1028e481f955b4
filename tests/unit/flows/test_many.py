"""Many devices at once: what runs beside what, what is tried again, what becomes of each."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

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
from edgesdk.flows.many import Limits, Retry, Standing, Task, run_on
from edgesdk.serial import to_dict
from edgesdk.values.outcome import Outcome, gravest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
AT_ONCE = Retry(pause_s=0.001)


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
