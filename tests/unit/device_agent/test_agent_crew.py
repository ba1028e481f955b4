"""Facts about the threads that hash and unpack what comes."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import crew
from device_agent.crew import Crew

THREADS = (0, 1, 2, 4)
Call = Callable[[], bytes]


class Bad(Exception):
    pass


def fail() -> bytes:
    raise Bad


def calls(count: int) -> list[Call]:
    return [functools.partial(bytes, number) for number in range(count)]


def taken(threads: int, handed: list[Call], take: Callable[[int], None] | None = None) -> list[int]:
    """The sizes of what was taken of it, in order."""
    found: list[int] = []

    def note(result: bytes) -> None:
        if take is not None:
            take(len(result))
        found.append(len(result))

    try:
        with Crew(note, threads) as workers:
            for call in handed:
                workers.hand(call)
    except Bad:
        found.append(-1)
    return found


@given(st.sampled_from(THREADS), st.integers(0, 40))
def test_results_are_taken_in_the_order_of_the_calls(threads: int, count: int) -> None:
    assert taken(threads, calls(count)) == list(range(count))


@pytest.mark.parametrize("threads", THREADS)
def test_slow_calls_do_not_change_the_order(threads: int) -> None:
    def slow(number: int) -> bytes:
        time.sleep(0.01 * (number % 3))
        return bytes(number)

    slowly: list[Call] = [functools.partial(slow, number) for number in range(20)]
    assert taken(threads, slowly) == list(range(20))


@given(st.sampled_from(THREADS), st.integers(0, 20), st.integers(0, 20))
def test_all_before_a_call_that_fails_is_taken_and_nothing_behind(
    threads: int, before: int, after: int
) -> None:
    assert taken(threads, [*calls(before), fail, *calls(after)]) == [*range(before), -1]


@given(st.sampled_from(THREADS), st.integers(1, 20), st.data())
def test_what_cannot_be_taken_ends_it(threads: int, count: int, data: st.DataObject) -> None:
    full = data.draw(st.integers(0, count - 1))

    def take(size: int) -> None:
        if size == full:
            raise Bad

    assert taken(threads, calls(count), take) == [*range(full), -1]


@given(st.sampled_from(THREADS), st.integers(0, 20))
def test_all_that_was_handed_over_is_taken_when_no_more_comes(threads: int, before: int) -> None:
    found: list[int] = []
    with pytest.raises(Bad), Crew(lambda result: found.append(len(result)), threads) as workers:
        for call in calls(before):
            workers.hand(call)
        raise Bad
    assert found == list(range(before))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_what_is_done_is_taken_when_the_next_is_handed_over(threads: int) -> None:
    """What comes slowly is not kept back until many have come: an agent that is killed loses it."""
    found: list[bytes] = []
    with Crew(found.append, threads) as workers:
        handed = 0
        while not found and handed < crew._AHEAD:
            workers.hand(bytes)
            handed += 1
            time.sleep(0.1)
        assert handed < crew._AHEAD


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_what_is_ahead_is_bounded(threads: int) -> None:
    handed, goes_on = 0, threading.Event()

    def wait() -> bytes:
        goes_on.wait(10)
        return b""

    def hand_all() -> None:
        nonlocal handed
        with Crew(lambda _: None, threads) as workers:
            for _ in range(100):
                workers.hand(wait)
                handed += 1

    hands = threading.Thread(target=hand_all)
    hands.start()
    deadline = time.monotonic() + 10
    while handed < crew._AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert handed == crew._AHEAD
    goes_on.set()
    hands.join(10)
    assert handed == 100


def test_calls_are_done_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10)

    def meet() -> bytes:
        both.wait()  # In one thread, the first would wait for ever.
        return b""

    assert taken(2, [meet, meet]) == [0, 0]


@pytest.mark.usefixtures("no_thread_outlives_its_test")
def test_the_threads_end_with_the_block() -> None:
    taken(3, calls(10))
    taken(3, [fail, *calls(10)])
