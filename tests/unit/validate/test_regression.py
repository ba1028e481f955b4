"""Facts about the test of two latency measurements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.validate.regression import PERMUTATIONS, TwoRuns
from edgesdk.validate.statistics import mcnemar_p, pairs_needed

TURNS, RUNS = 10, 40


def measured(
    random: np.random.Generator, typical_ns: float = 1e6, *, turns: int = TURNS, runs: int = RUNS
) -> list[list[int]]:
    """Turns that differ by 1 %, runs within one that drift along (AR(1), 0.9) by 2 %, hiccups."""
    steps = random.normal(size=(turns, runs))
    wander = np.empty((turns, runs))
    wander[:, 0] = steps[:, 0]
    for i in range(1, runs):
        wander[:, i] = 0.9 * wander[:, i - 1] + np.sqrt(1 - 0.81) * steps[:, i]
    level = np.exp(0.01 * random.normal(size=(turns, 1)) + 0.02 * wander)
    hiccups = 1 + 0.5 * (random.random((turns, runs)) < 0.02)
    return (typical_ns * level * hiccups).astype(int).tolist()  # type: ignore[no-any-return]


def test_two_measurements_of_one_thing_are_told_apart_no_more_often_than_promised() -> None:
    random = np.random.default_rng(5)
    pairs = [TwoRuns(measured(random), measured(random)) for _ in range(60)]
    shifts = [pair.shift(0.5) for pair in pairs]
    found = sum(pair.slower_chance()[1] <= 0.05 for pair in pairs)
    covered = sum(
        shift.ratio.interval.low <= 1 <= shift.ratio.interval.high  # type: ignore[union-attr]
        for shift in shifts
    )
    # Of 60, 3 are expected; 8 or more have a chance below 1 %.
    assert found <= 7
    assert covered >= 60 - 7


def test_a_test_that_takes_every_run_for_independent_would_be_fooled() -> None:
    """Why turns are permuted: the same data, run by run, differ "significantly" most of the time"""
    random = np.random.default_rng(5)
    fooled = 0
    for _ in range(20):
        one, other = measured(random), measured(random)
        each_alone = [[[run] for turn in side for run in turn] for side in (one, other)]
        fooled += TwoRuns(*each_alone).slower_chance()[1] <= 0.05
    assert fooled >= 8


def test_a_slowdown_of_three_percent_is_found_with_its_size() -> None:
    random = np.random.default_rng(6)
    found = 0
    for _ in range(20):
        runs = TwoRuns(measured(random), measured(random, 1.03e6))
        shift = runs.shift(0.5)
        assert shift is not None and shift.ratio.interval is not None
        found += runs.slower_chance()[1] <= 0.05
        assert shift.ratio.value == pytest.approx(1.03, abs=0.03)
    assert found >= 18


def test_a_tail_that_grew_is_found_where_the_median_stayed() -> None:
    random = np.random.default_rng(7)
    before, after = measured(random), measured(random)
    for turn in after:
        for i in range(0, len(turn), 8):
            turn[i] = int(turn[i] * 1.8)
    runs = TwoRuns(before, after)
    median, tail = runs.shift(0.5), runs.shift(0.95)
    assert median is not None and tail is not None
    assert tail.p < 0.01 and tail.ratio.value > 1.5
    assert median.p > 0.05 and median.ratio.value < 1.03


def test_the_chance_of_a_slower_run_is_the_pairs_that_are() -> None:
    before, after = [[1, 2], [3, 4], [5], [6], [7]], [[4, 4], [9], [8], [7], [2]]
    flat = [[run for turn in side for run in turn] for side in (before, after)]
    wins = np.mean([(b > a) + 0.5 * (b == a) for a in flat[0] for b in flat[1]])
    assert TwoRuns(before, after).slower_chance()[0] == pytest.approx(float(wins))


def test_four_turns_are_not_enough_to_tell() -> None:
    random = np.random.default_rng(8)
    runs = TwoRuns(measured(random, turns=4), measured(random))
    assert not runs.enough()
    assert runs.shift(0.5) is None


def test_a_tail_needs_its_runs() -> None:
    random = np.random.default_rng(9)
    runs = TwoRuns(measured(random, runs=7), measured(random))
    assert runs.shift(0.95) is None and runs.shift(0.5) is not None


def test_a_comparison_can_be_repeated() -> None:
    random = np.random.default_rng(10)
    one, other = measured(random), measured(random)
    assert TwoRuns(one, other).shift(0.95) == TwoRuns(one, other).shift(0.95)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 10**9), min_size=2, max_size=6), min_size=5, max_size=8),
    st.lists(st.lists(st.integers(1, 10**9), min_size=2, max_size=6), min_size=5, max_size=8),
)
def test_what_is_slower_one_way_is_faster_the_other(
    one: list[list[int]], other: list[list[int]]
) -> None:
    there, back = TwoRuns(one, other), TwoRuns(other, one)
    assert there.slower_chance()[0] == pytest.approx(1 - back.slower_chance()[0])
    first, second = there.shift(0.5), back.shift(0.5)
    assert first is not None and second is not None and first.ratio.interval is not None
    assert first.ratio.value == pytest.approx(1 / second.ratio.value)
    assert first.ratio.interval.low <= first.ratio.value <= first.ratio.interval.high
    assert 1 / (PERMUTATIONS + 1) <= first.p <= 1


@pytest.mark.parametrize(
    ("points", "discordance", "needed"), [(1.0, 0.05, 3923), (5.0, 0.1, 312), (10.0, 0.3, 234)]
)
def test_the_samples_that_a_gate_needs(points: float, discordance: float, needed: int) -> None:
    assert pairs_needed(points / 100, discordance) == needed


def test_so_many_samples_find_the_difference_four_times_in_five() -> None:
    """Simulated: a model 5 points worse, one sample in ten discordant."""
    n, random = pairs_needed(0.05, 0.10), np.random.default_rng(11)
    draws = random.multinomial(n, [0.075, 0.025, 0.9], size=2000)
    distinct = {(int(b), int(c)) for b, c, _ in draws}
    p = {pair: mcnemar_p(*pair) for pair in distinct}
    power = np.mean([p[int(b), int(c)] <= 0.05 for b, c, _ in draws])
    assert 0.74 <= power <= 0.84  # The exact test is a little conservative.
