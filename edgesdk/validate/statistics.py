"""Estimates with 95 % confidence intervals, from raw samples. Pure: NumPy and the standard library.

Each function says what it assumes. None of them repairs data that break the assumption: whoever
shows the figures also says how they were taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgesdk.values.verdict import Estimate, Interval

CONFIDENCE = 0.95
RESAMPLES = 2000
MIN_TURNS = 5

_ALPHA = 1 - CONFIDENCE
_Z = NormalDist().inv_cdf(1 - _ALPHA / 2)

Samples = npt.NDArray[np.float64]
B = TypeVar("B")


def quantile(
    samples: Sequence[int], probability: float, *, turns: Sequence[int] = ()
) -> Estimate | None:
    """A quantile with a distribution-free interval between two order statistics.

    The value interpolates linearly between order statistics (Hyndman and Fan's type 7). For
    independent runs the interval is that of `order_statistic_ranks`. Runs of one turn resemble each
    other more than runs of two, so with `turns` the ranks are those of as many independent runs as
    the samples are worth, n / `design_effect`: R. S. Woodruff, J. Amer. Statist. Assoc. 47 (1952)
    635-646, with Kish's effective sample size. Where those are too few the interval runs to the
    fastest or slowest run.

    Assumes turns independent of each other, from one distribution of any shape.

    Args:
        samples: shape (n,), in run order, any unit; the estimate is in the same.
        probability: 0.95 for p95.
        turns: how many samples each turn gave, summing to n; empty if runs are independent.

    Returns:
        None when n is below `samples_needed(probability)`.
    """
    n = len(samples)
    if n < samples_needed(probability):
        return None
    in_order = np.asarray(samples, dtype=np.float64)
    value = float(np.quantile(in_order, probability))
    worth = max(1, math.floor(n / design_effect(in_order <= value, turns)))
    low, high = (rank / worth * n for rank in _equal_tail_ranks(worth, probability))
    ordered = np.sort(in_order)
    interval = Interval(
        min(value, float(ordered[max(1, math.floor(low)) - 1])),
        max(value, float(ordered[min(n, math.ceil(high)) - 1])),
        CONFIDENCE,
        "order statistics" if worth == n else f"order statistics, {n} runs worth {worth}",
    )
    return Estimate(value, n, interval)


def order_statistic_ranks(n: int, probability: float) -> tuple[int, int] | None:
    """Ranks l < u (from 1) such that the quantile lies in [x_(l), x_(u)] with 95 % confidence.

    Equal tails: with B ~ Binomial(n, probability), l is the largest rank with P(B < l) <= 2.5 % and
    u the smallest with P(B >= u) <= 2.5 %. Hahn and Meeker, Statistical Intervals (1991), section
    5.2; the confidence is at least 95 %.

    Returns:
        None when n is too small for such ranks to exist.
    """
    return None if n < samples_needed(probability) else _equal_tail_ranks(n, probability)


def _equal_tail_ranks(n: int, probability: float) -> tuple[int, int]:
    """As `order_statistic_ranks`, with rank 0 or n + 1 where there is none."""
    below = _binomial_cdf(n, probability)
    low = int(np.searchsorted(below, _ALPHA / 2, side="right"))
    high = int(np.searchsorted(below, 1 - _ALPHA / 2, side="left")) + 1
    return low, high


def design_effect(hits: npt.NDArray[np.bool_], turns: Sequence[int]) -> float:
    """How many times more a share varies because its samples come in turns; at least 1.

    The variance of the share estimated from the turns' totals, over the binomial one. L. Kish,
    Survey Sampling (1965), section 5.4.

    Args:
        hits: shape (n,), in run order.
        turns: how many samples each turn gave, summing to n.
    """
    totals = np.array([part.sum() for part in np.split(hits, np.cumsum(turns[:-1], dtype=int))])
    share, count = hits.mean(), len(turns)
    binomial = hits.size * share * (1 - share)
    if count < 2 or binomial == 0:
        return 1.0
    between = count / (count - 1) * np.sum((totals - share * np.asarray(turns)) ** 2)
    return max(1.0, float(between / binomial))


def samples_needed(probability: float) -> int:
    """The fewest runs for which `quantile` has an interval: 6 for p50, 72 for p95, 368 for p99.

    All n samples fall on one side of the quantile with chance max(p, 1 - p)**n, which must not
    exceed 2.5 %.
    """
    return math.ceil(math.log(_ALPHA / 2) / math.log(max(probability, 1 - probability)))


def _binomial_cdf(n: int, probability: float) -> Samples:
    """P(B <= k) for k = 0..n, shape (n + 1,)."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    log_choose = log_factorial[n] - log_factorial - log_factorial[::-1]
    log_pmf = log_choose + k * math.log(probability) + (n - k) * math.log1p(-probability)
    return np.cumsum(np.exp(log_pmf))


def proportion(successes: int, n: int) -> Estimate:
    """A share of n independent samples, with Wilson's score interval.

    E. B. Wilson, J. Amer. Statist. Assoc. 22 (1927) 209-212; recommended by Brown, Cai and
    DasGupta, Statist. Sci. 16 (2001) 101-133. Never leaves [0, 1], nor collapses at 0 or n.
    """
    share = successes / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    low, high = min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
    return Estimate(share, n, Interval(low, high, CONFIDENCE, "Wilson score"))


def paired_difference(first_only: int, second_only: int, n: int) -> Estimate:
    """Difference of two shares over the same n samples, with Tango's score interval.

    T. Tango, Statistics in Medicine 17 (1998) 891-908: the interval holds every difference that the
    score test does not reject, so it agrees with McNemar's test and keeps its coverage when the
    models hardly ever differ, where a Wald interval collapses.

    Assumes samples drawn independently from what the device will meet.

    Args:
        first_only: samples that only the first model got right.
        second_only: samples that only the second got right.
        n: all samples.

    Returns:
        first minus second, as a share in [-1, 1].
    """
    value = (first_only - second_only) / n

    def excess(difference: float) -> float:
        return _tango_score(first_only, second_only, n, difference)

    low = _bisect(lambda x: excess(x) - _Z, -1.0, value)
    high = _bisect(lambda x: excess(x) + _Z, value, 1.0)
    return Estimate(value, n, Interval(low, high, CONFIDENCE, "Tango score, paired"))


def _tango_score(b: int, c: int, n: int, difference: float) -> float:
    """Standardized distance of b - c from n * difference; falls as `difference` grows.

    `q` is the maximum-likelihood share of second-only samples under that difference.
    """
    linear = (2 * n - b + c) * difference - b - c
    constant = -c * difference * (1 - difference)
    q = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * q + difference * (1 - difference))
    distance = b - c - n * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _bisect(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero in [low, high], or the end it does not reach."""
    if falling(high) >= 0:
        return high
    if falling(low) <= 0:
        return low
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def mcnemar_p(first_only: int, second_only: int) -> float:
    """Two-sided exact p-value of "both models are right equally often".

    Q. McNemar, Psychometrika 12 (1947) 153-157, with the binomial in place of chi-squared: of the
    samples only one of them got right, each has half of them.
    """
    discordant = first_only + second_only
    if discordant == 0:
        return 1.0
    tail = float(_binomial_cdf(discordant, 0.5)[min(first_only, second_only)])
    return min(1.0, 2 * tail)


def pairs_needed(
    difference: float, discordance: float, *, power: float = 0.8, confidence: float = CONFIDENCE
) -> int:
    """Samples both models must run on for McNemar's test to see a difference in accuracy.

    R. J. Connor, Biometrics 43 (1987) 207-211, equation for the unconditional test, two-sided.

    Args:
        difference: of the two shares of samples right, in (0, 1].
        discordance: share of samples that only one of them gets right; one below `difference`
            cannot be, and counts as `difference`.
        power: chance that a difference of that size is found.
    """
    share = max(discordance, difference)
    for_error = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(share)
    for_power = NormalDist().inv_cdf(power) * math.sqrt(max(0.0, share - difference**2))
    return math.ceil((for_error + for_power) ** 2 / difference**2)


def median_ratio(
    numerator: Sequence[Sequence[int]], denominator: Sequence[Sequence[int]], *, seed: int = 0
) -> Estimate | None:
    """Ratio of two medians, with a block bootstrap interval over pairs of turns.

    Turn i of both models ran back to back, so they are drawn together; within a turn runs may
    depend on one another in any way. Turns are assumed independent. With few of them the percentile
    interval is too narrow and is widened as in T. Hesterberg, The American Statistician 69 (2015)
    371-386, section 3.2 (the "expanded percentile interval").

    Args:
        numerator: samples of each turn; turns without a partner or without samples are left out.
        denominator: likewise.
        seed: of the resampling, so that a report can be repeated.

    Returns:
        The ratio, its `n` the pairs of turns; no interval below 5 pairs; None without a pair.
    """
    turns = [
        (np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64))
        for top, bottom in zip(numerator, denominator, strict=False)
        if len(top) and len(bottom)
    ]
    if not turns:
        return None
    return block_bootstrap(turns, _ratio, seed=seed)


def block_bootstrap(
    blocks: Sequence[B], statistic: Callable[[Sequence[B]], float], *, seed: int = 0
) -> Estimate:
    """A statistic of blocks of samples, with an interval from drawing whole blocks again.

    Within a block samples may depend on one another in any way; blocks are assumed independent.
    With few of them the interval is widened, as in `median_ratio`.

    Args:
        blocks: at least one.
        statistic: of any number of blocks.

    Returns:
        The statistic, its `n` the blocks; no interval below `MIN_TURNS` of them.
    """
    value = statistic(blocks)
    if len(blocks) < MIN_TURNS:
        return Estimate(value, len(blocks), None)
    draws = np.random.default_rng(seed).integers(len(blocks), size=(RESAMPLES, len(blocks)))
    found = np.array([statistic([blocks[i] for i in draw]) for draw in draws])
    tail = expanded_tail(len(blocks))
    low, high = (float(end) for end in np.quantile(found, [tail, 1 - tail]))
    interval = Interval(min(low, value), max(high, value), CONFIDENCE, "block bootstrap")
    return Estimate(value, len(blocks), interval)


def _ratio(turns: Sequence[tuple[Samples, Samples]]) -> float:
    tops, bottoms = zip(*turns, strict=True)
    return float(np.median(np.concatenate(tops)) / np.median(np.concatenate(bottoms)))


def expanded_tail(n: int) -> float:
    """Tail probability that makes a percentile interval as wide as Student's t would.

    Student's quantile by Abramowitz and Stegun 26.7.5, good to 1 % from 4 degrees of freedom.
    """
    z, v = _Z, n - 1
    t = (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )
    return NormalDist().cdf(-math.sqrt(n / v) * t)
