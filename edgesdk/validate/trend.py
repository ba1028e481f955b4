"""A trend in a short series, such as the medians of a measurement's turns. Pure.

Mann and Kendall's test: no distribution is assumed, only that without a trend all orders of the
values are equally likely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

MIN_VALUES = 5
"""The fewest values whose order can be called a trend: of four, even the most orderly comes about
by chance once in 12 times."""
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series changed.

    Args:
        change: median of its last third over that of its first, minus 1.
        p: chance of an order this marked without a trend.
    """

    change: float
    p: float

    @property
    def is_sure(self) -> bool:
        """The order is hardly chance."""
        return self.p < ALPHA


def find_trend(values: Sequence[float]) -> Trend | None:
    """The trend of a series of positive values; None of one too short to have any.

    H. B. Mann, Econometrica 13 (1945) 245-259; M. G. Kendall, Rank Correlation Methods (1975), with
    its correction for ties. Exact for up to 10 values without ties, else by the normal
    approximation with its continuity correction.
    """
    n = len(values)
    if n < MIN_VALUES:
        return None
    third = max(1, n // 3)
    change = median(values[-third:]) / median(values[:third]) - 1
    score = sum(
        (later > earlier) - (later < earlier)
        for i, earlier in enumerate(values)
        for later in values[i + 1 :]
    )
    ties = [values.count(value) for value in set(values)]
    exact = n <= _EXACT_MAX and max(ties) == 1
    return Trend(change, _exact_p(score, n) if exact else _normal_p(score, n, ties))


_EXACT_MAX = 10


def _exact_p(score: int, n: int) -> float:
    """Share of all n! orders whose score is at least as far from zero.

    A score is the pairs less twice the inversions; orders by inversions are Mahonian numbers.
    """
    counts = [1]
    for size in range(2, n + 1):
        longer = [0] * (len(counts) + size - 1)
        for inversions, count in enumerate(counts):
            for more in range(size):
                longer[inversions + more] += count
        counts = longer
    pairs = n * (n - 1) // 2
    far = sum(
        count
        for inversions, count in enumerate(counts)
        if abs(pairs - 2 * inversions) >= abs(score)
    )
    return far / math.factorial(n)


def _normal_p(score: int, n: int, ties: Sequence[int]) -> float:
    variance = (
        n * (n - 1) * (2 * n + 5) - sum(tie * (tie - 1) * (2 * tie + 5) for tie in ties)
    ) / 18
    if variance == 0:
        return 1.0
    z = max(0, abs(score) - 1) / math.sqrt(variance)
    return 2 * NormalDist().cdf(-z)
