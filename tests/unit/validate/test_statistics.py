"""Facts about the intervals: where they exist, what they hold, how often they are right."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.validate.statistics import (
    design_effect,
    mcnemar_p,
    median_ratio,
    order_statistic_ranks,
    paired_difference,
    proportion,
    quantile,
    samples_needed,
)
from edgesdk.values.verdict import Estimate, Interval

PROBABILITIES = st.sampled_from([0.05, 0.5, 0.95, 0.99])
LATENCIES = st.lists(st.integers(1, 10**10), min_size=1, max_size=600)


def interval(estimate: Estimate | None) -> Interval:
    assert estimate is not None and estimate.interval is not None
    return estimate.interval


def width(estimate: Estimate | None) -> float:
    return interval(estimate).high - interval(estimate).low


def binomial_tail(n: int, p: float, below: int) -> float:
    """P(B < below), term by term."""
    return math.fsum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(below))


@pytest.mark.parametrize(("probability", "needed"), [(0.5, 6), (0.95, 72), (0.99, 368)])
def test_a_quantile_needs_so_many_runs(probability: float, needed: int) -> None:
    assert samples_needed(probability) == needed
    assert quantile(range(1, needed), probability) is None
    assert quantile(range(1, needed + 1), probability) is not None


def test_the_fewest_runs_span_the_quantile_from_first_to_last() -> None:
    assert order_statistic_ranks(6, 0.5) == (1, 6)
    assert order_statistic_ranks(72, 0.95) == (64, 72)


@pytest.mark.parametrize(
    ("probability", "n"),
    [(0.5, 6), (0.5, 7), (0.5, 25), (0.5, 500), (0.95, 72), (0.95, 367), (0.99, 368), (0.99, 500)],
)
def test_each_tail_of_the_ranks_holds_at_most_a_fortieth(probability: float, n: int) -> None:
    ranks = order_statistic_ranks(n, probability)
    assert ranks is not None
    low, high = ranks
    assert binomial_tail(n, probability, low) <= 0.025 + 1e-12
    assert 1 - binomial_tail(n, probability, high) <= 0.025 + 1e-12
    assert binomial_tail(n, probability, low + 1) > 0.025
    assert 1 - binomial_tail(n, probability, high - 1) > 0.025


@given(LATENCIES, PROBABILITIES)
def test_a_quantile_lies_in_its_interval(samples: list[int], probability: float) -> None:
    found = quantile(samples, probability)
    if found is None:
        assert len(samples) < samples_needed(probability)
    else:
        assert min(samples) <= interval(found).low <= found.value <= interval(found).high
        assert found.n == len(samples)


@given(LATENCIES, st.integers(2, 20), PROBABILITIES)
def test_a_quantile_of_runs_in_turns_lies_in_its_interval(
    samples: list[int], turns: int, probability: float
) -> None:
    sizes = [len(part) for part in np.array_split(samples, turns)]
    found = quantile(samples, probability, turns=sizes)
    if found is not None:
        assert interval(found).low <= found.value <= interval(found).high


@given(LATENCIES)
def test_a_later_quantile_is_no_smaller(samples: list[int]) -> None:
    found = [quantile(samples, p) for p in (0.5, 0.95, 0.99)]
    known = [q for q in found if q is not None]
    for earlier, later in pairwise(known):
        assert earlier.value <= later.value
        assert interval(earlier).low <= interval(later).low
        assert interval(earlier).high <= interval(later).high


@given(LATENCIES, PROBABILITIES, st.integers(1, 1000))
def test_latency_in_other_units_scales_the_quantile(
    samples: list[int], probability: float, factor: int
) -> None:
    found = quantile(samples, probability)
    scaled = quantile([sample * factor for sample in samples], probability)
    if found is not None and scaled is not None:
        assert scaled.value == pytest.approx(found.value * factor)
        assert interval(scaled).high == pytest.approx(interval(found).high * factor)


@pytest.mark.parametrize("probability", [0.5, 0.95])
def test_more_runs_narrow_a_quantile(probability: float) -> None:
    widths = [width(quantile(range(1, 10**6, 10**6 // n), probability)) for n in (80, 800, 8000)]
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize("probability", [0.5, 0.95])
@pytest.mark.parametrize("between_turns", [0.0, 0.02])
def test_a_quantile_holds_the_truth_19_times_in_20_even_if_turns_differ(
    probability: float, between_turns: float
) -> None:
    random = np.random.default_rng(11)
    turns, runs = 20, 30

    def session(count: int) -> np.ndarray:
        level = np.repeat(random.normal(0, between_turns, count), runs)
        noise = random.normal(0, 0.02, count * runs)
        return (1e6 * np.exp(level + noise)).astype(int)

    truth = float(np.quantile(session(20_000), probability))
    held = 0
    for _ in range(300):
        found = interval(quantile(session(turns).tolist(), probability, turns=[runs] * turns))
        held += found.low <= truth <= found.high
    assert held >= 0.92 * 300


def test_runs_that_differ_only_between_turns_are_worth_one_run_a_turn() -> None:
    hits = np.repeat([True, False, True, False], 50)
    assert design_effect(hits, [50] * 4) == pytest.approx(50 * 4 / 3)


@pytest.mark.parametrize("turns", [[], [100]])
def test_without_turns_runs_count_in_full(turns: list[int]) -> None:
    assert design_effect(np.arange(100) < 30, turns) == 1.0


def test_runs_that_all_fall_on_one_side_count_in_full() -> None:
    assert design_effect(np.ones(100, dtype=bool), [50, 50]) == 1.0


@given(st.integers(1, 5000), st.data())
def test_a_share_lies_in_its_interval_within_0_and_1(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    found = proportion(successes, n)
    assert 0 <= interval(found).low <= found.value <= interval(found).high <= 1


@given(st.integers(1, 400), st.data())
def test_more_samples_narrow_a_share(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    assert width(proportion(4 * successes, 4 * n)) < width(proportion(successes, n))


def test_wilson_as_published() -> None:
    """Newcombe, Statistics in Medicine 17 (1998) 857-872, table I: 81 of 263."""
    found = interval(proportion(81, 263))
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


def test_tango_as_published() -> None:
    """Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850-2875: 1 and 7 of 21."""
    found = paired_difference(1, 7, 21)
    assert found.value == pytest.approx(-0.286, abs=5e-4)
    assert (round(interval(found).low, 3), round(interval(found).high, 3)) == (-0.517, -0.026)


@st.composite
def paired_counts(draw: st.DrawFn, most: int = 3000) -> tuple[int, int, int]:
    n = draw(st.integers(1, most))
    first = draw(st.integers(0, n))
    return first, draw(st.integers(0, n - first)), n


@given(paired_counts())
def test_a_difference_lies_in_its_interval(counts: tuple[int, int, int]) -> None:
    found = paired_difference(*counts)
    assert -1 <= interval(found).low <= found.value <= interval(found).high <= 1


@given(paired_counts())
def test_swapping_the_models_mirrors_the_difference(counts: tuple[int, int, int]) -> None:
    first, second, n = counts
    here, there = paired_difference(first, second, n), paired_difference(second, first, n)
    assert here.value == -there.value
    assert interval(here).low == pytest.approx(-interval(there).high, abs=1e-9)


@given(paired_counts(most=500))
def test_more_samples_narrow_a_difference(counts: tuple[int, int, int]) -> None:
    first, second, n = counts
    assert width(paired_difference(4 * first, 4 * second, 4 * n)) < width(
        paired_difference(first, second, n)
    )


def test_models_that_never_differed_still_leave_room() -> None:
    found = interval(paired_difference(0, 0, 1000))
    assert found.high == pytest.approx(3.84 / 1003.84, rel=1e-3)
    assert found.low == -found.high


@pytest.mark.parametrize(
    ("first_only", "second_only"), [(0.01, 0.005), (0.05, 0.01), (0.1, 0.1), (0.3, 0.05)]
)
def test_a_difference_holds_the_truth_19_times_in_20(first_only: float, second_only: float) -> None:
    """Exact coverage: every outcome of 60 samples, weighted by its chance."""
    n, truth, held = 60, first_only - second_only, 0.0
    for b, c in product(range(n + 1), repeat=2):
        if b + c > n:
            continue
        chance = (
            math.comb(n, b)
            * math.comb(n - b, c)
            * first_only**b
            * second_only**c
            * (1 - first_only - second_only) ** (n - b - c)
        )
        if chance > 1e-9:
            found = interval(paired_difference(b, c, n))
            held += chance * (found.low <= truth <= found.high)
    assert held >= 0.94


@pytest.mark.parametrize(
    ("first_only", "second_only", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (1, 7, 0.0703125), (7, 1, 0.0703125), (0, 10, 2 * 0.5**10)],
)
def test_mcnemar_is_exact(first_only: int, second_only: int, p: float) -> None:
    assert mcnemar_p(first_only, second_only) == pytest.approx(p)


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_mcnemar_is_a_probability(first_only: int, second_only: int) -> None:
    assert 0 <= mcnemar_p(first_only, second_only) <= 1


@given(paired_counts())
def test_tango_excludes_zero_just_where_mcnemars_score_does(counts: tuple[int, int, int]) -> None:
    first, second, n = counts
    found = interval(paired_difference(first, second, n))
    chi_squared = (first - second) ** 2 / max(1, first + second)
    assert (found.low > 0 or found.high < 0) == (chi_squared > 1.959964**2)


TURNS = st.lists(st.lists(st.integers(1, 10**9), min_size=1, max_size=8), min_size=5, max_size=8)


@settings(max_examples=25)
@given(TURNS, TURNS)
def test_a_ratio_lies_in_its_interval(slow: list[list[int]], fast: list[list[int]]) -> None:
    found = median_ratio(slow, fast)
    assert found is not None and found.n == min(len(slow), len(fast))
    assert interval(found).low <= found.value <= interval(found).high


def test_a_ratio_of_constant_latencies_is_exact() -> None:
    found = median_ratio([[600, 600]] * 6, [[200]] * 6)
    assert found is not None and found.value == 3.0
    assert (interval(found).low, interval(found).high) == (3.0, 3.0)


def test_few_turns_give_a_ratio_without_interval() -> None:
    assert median_ratio([[6]] * 4, [[2]] * 4) == Estimate(3.0, 4, None)


def test_turns_without_a_partner_give_no_ratio() -> None:
    assert median_ratio([[6], []], [[], [2]]) is None


def test_the_same_turns_give_the_same_interval() -> None:
    slow, fast = [[9, 8, 7], [9, 9], [8], [7, 9], [8, 8]], [[3, 2], [2], [3, 3], [2], [3]]
    assert median_ratio(slow, fast) == median_ratio(slow, fast)


@pytest.mark.parametrize("turns", [5, 10])
def test_a_ratio_holds_the_truth_19_times_in_20(turns: int) -> None:
    random = np.random.default_rng(5)
    held = 0
    for _ in range(60):
        weather = np.exp(random.normal(0, 0.05, turns))
        slow, fast = (
            [
                (level * w * np.exp(random.normal(0, 0.02) + random.normal(0, 0.03, 20)))
                .astype(int)
                .tolist()
                for w in weather
            ]
            for level in (1_000_000, 400_000)
        )
        found = interval(median_ratio(slow, fast))
        held += found.low <= 2.5 <= found.high
    assert held >= 0.9 * 60
