"""Facts about the threads that hash and unpack what comes."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import crew
from device_agent.crew import Crew

THREADS = (0, 1, 2, 4)


class Bad(Exception):
    pass


def fail() -> bytes:
    raise Bad


def calls(count: int) -> list[Callable[[], bytes]]:
    return [functools.partial(bytes, number) for number in range(count)]


def taken(given: Iterator[bytes]) -> tuple[list[int], bool]:
    """The sizes of what came, and whether it ended badly."""
    found: list[int] = []
    try:
        found.extend(len(each) for each in given)
    except Bad:
        return found, True
    return found, False


@given(st.sampled_from(THREADS), st.integers(0, 40))
def test_results_come_in_the_order_of_the_calls(threads: int, count: int) -> None:
    with Crew(threads) as workers:
        assert taken(workers.in_order(calls(count))) == (list(range(count)), False)


@pytest.mark.parametrize("threads", THREADS)
def test_slow_calls_do_not_change_the_order(threads: int) -> None:
    def slow(number: int) -> bytes:
        time.sleep(0.01 * (number % 3))
        return bytes(number)

    with Crew(threads) as workers:
        slowly = [functools.partial(slow, number) for number in range(20)]
        assert taken(workers.in_order(slowly)) == (list(range(20)), False)


@given(st.sampled_from(THREADS), st.integers(0, 20), st.integers(0, 20))
def test_all_before_a_call_that_fails_comes(threads: int, before: int, after: int) -> None:
    with Crew(threads) as workers:
        given = workers.in_order([*calls(before), fail, *calls(after)])
        assert taken(given) == (list(range(before)), True)


@given(st.sampled_from(THREADS), st.integers(0, 20))
def test_all_before_the_end_of_a_line_that_breaks_comes(threads: int, before: int) -> None:
    def breaking() -> Iterator[Callable[[], bytes]]:
        yield from calls(before)
        raise Bad

    with Crew(threads) as workers:
        assert taken(workers.in_order(breaking())) == (list(range(before)), True)


@given(st.integers(0, 40))
def test_one_thread_does_one_call_after_the_other(count: int) -> None:
    done: list[int] = []

    def note(number: int) -> bytes:
        done.append(number)
        return b""

    with Crew(1) as workers:
        for _ in workers.in_order([functools.partial(note, number) for number in range(count)]):
            pass
    assert done == list(range(count))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_what_is_ahead_is_bounded(threads: int) -> None:
    asked = 0

    def counting() -> Iterator[Callable[[], bytes]]:
        nonlocal asked
        for call in calls(1000):
            asked += 1
            yield call

    with Crew(threads) as workers:
        given = workers.in_order(counting())
        next(given)
        assert asked <= (threads + 2) * crew._CALLS_A_JOB


def test_calls_are_done_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10)

    def meet() -> bytes:
        both.wait()
        return b""

    with Crew(2) as workers:  # In one thread, the first would wait for ever.
        waits: list[Callable[[], bytes]] = [lambda: b""] * (crew._CALLS_A_JOB - 1)
        assert taken(workers.in_order([*waits, meet, meet]))[1] is False


@pytest.mark.usefixtures("no_thread_outlives_its_test")
def test_the_threads_end_with_the_block_even_if_results_are_left() -> None:
    with Crew(3) as workers:
        next(workers.in_order(calls(100)))
