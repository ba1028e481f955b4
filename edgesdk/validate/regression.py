"""Whether two latency measurements differ: tests and intervals that hold for runs taken in turns.

Runs within a turn resemble one another, so that thousands of runs are worth a few dozen, and tests
for independent samples find a difference between any two measurements. What is permuted and drawn
here is therefore whole turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesdk.validate.statistics import (
    CONFIDENCE,
    MIN_TURNS,
    RESAMPLES,
    expanded_tail,
    quantile,
    samples_needed,
)
from edgesdk.values.verdict import Estimate, Interval

PERMUTATIONS = 4999
_CELLS = 1024

Turns = Sequence[Sequence[int]]
_Floats = npt.NDArray[np.float64]
_Distance = Callable[[npt.NDArray[np.bool_]], _Floats]
"""Of each arrangement of turns, shape (m, turns), how far apart its sides are, shape (m,)."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How a quantile moved: each run's, the later over the earlier, and the test's p-value."""

    before: Estimate
    after: Estimate
    ratio: Estimate
    p: float


class TwoRuns:
    """Two measurements of latency, each in turns of any sizes.

    Assumes turns that are independent of one another, as they are where models took turns and the
    device was in one state throughout. Within a turn runs may depend on one another in any way.

    Args:
        before, after: samples of each turn; turns without samples are left out.
        seed: of the permutations and draws, so that a comparison can be repeated.
    """

    def __init__(self, before: Turns, after: Turns, *, seed: int = 0) -> None:
        self._before = [np.asarray(turn, np.float64) for turn in before if len(turn)]
        self._after = [np.asarray(turn, np.float64) for turn in after if len(turn)]
        self._seed = seed

    @property
    def turns(self) -> tuple[int, int]:
        """How many turns each has."""
        return len(self._before), len(self._after)

    def enough(self) -> bool:
        """Whether there are turns enough to tell a difference from chance at all."""
        return min(self.turns) >= MIN_TURNS

    def slower_chance(self) -> tuple[float, float]:
        """Chance that a later run is slower than an earlier one, and the p-value of 1/2.

        The Wilcoxon-Mann-Whitney statistic over all runs, its distribution under "no difference"
        by permuting turns between the measurements: B. Rosner, R. J. Glynn and M.-L. T. Lee,
        Biometrics 59 (2003) 1089-1098. The p-value counts the observed arrangement as one of the
        permutations: B. Phipson and G. K. Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.
        """
        cells = _Cells(self._before + self._after)
        rank_sums = cells.counts @ cells.middle_ranks()
        sizes = cells.counts.sum(axis=1)

        def distance(later: npt.NDArray[np.bool_]) -> _Floats:
            of_later = (later @ rank_sums) / (later @ sizes)
            of_earlier = (~later @ rank_sums) / (~later @ sizes)
            return np.asarray(np.abs(of_later - of_earlier), np.float64)

        later = self._observed()
        count = float(sizes[later[0]].sum())
        mean_rank = float(rank_sums[later[0]].sum()) / count
        chance = (mean_rank - (count + 1) / 2) / float(sizes[~later[0]].sum())
        return chance, self._p(distance)

    def shift(self, probability: float) -> Shift | None:
        """How a quantile moved, with a permutation test and a bootstrap interval over turns.

        The test permutes turns between the measurements, its statistic being the logarithm of the
        ratio of the pooled quantiles. The interval draws turns of each measurement by themselves
        and is widened for their small number as `statistics.median_ratio` is.

        Returns:
            None where either has too few runs for that quantile, or too few turns.
        """
        before, after = _pooled(self._before, probability), _pooled(self._after, probability)
        if before is None or after is None or not self.enough():
            return None
        cells = _Cells(self._before + self._after)

        def distance(later: npt.NDArray[np.bool_]) -> _Floats:
            of_later = cells.quantiles(later.astype(np.float64), probability)
            of_earlier = cells.quantiles((~later).astype(np.float64), probability)
            return np.asarray(np.abs(np.log(of_later / of_earlier)), np.float64)

        ratio = self._ratio(after.value / before.value, probability)
        return Shift(before, after, ratio, self._p(distance))

    def _ratio(self, value: float, probability: float) -> Estimate:
        random = np.random.default_rng(self._seed)
        drawn = [
            _Cells(turns).quantiles(_draws(random, len(turns)), probability)
            for turns in (self._before, self._after)
        ]
        tail = expanded_tail(min(self.turns))
        low, high = (float(end) for end in np.quantile(drawn[1] / drawn[0], [tail, 1 - tail]))
        interval = Interval(min(low, value), max(high, value), CONFIDENCE, "block bootstrap")
        return Estimate(value, sum(self.turns), interval)

    def _observed(self) -> npt.NDArray[np.bool_]:
        """Which turns are of the later measurement, shape (1, turns)."""
        return np.repeat([False, True], self.turns)[np.newaxis]

    def _p(self, distance: _Distance) -> float:
        random = np.random.default_rng(self._seed)
        observed = self._observed()
        arrangements = random.permuted(np.repeat(observed, PERMUTATIONS, axis=0), axis=1)
        least = float(distance(observed)[0]) * (1 - 1e-9)  # Rounding must not break ties.
        return (1 + int(np.count_nonzero(distance(arrangements) >= least))) / (PERMUTATIONS + 1)


class _Cells:
    """Turns as counts of runs in cells of equal value, so that any pooling of them is a product.

    Up to 1,024 different values nothing is rounded; beyond, cells hold equal shares of all runs,
    and a quantile is exact to 1/1,024 in probability.
    """

    def __init__(self, turns: Sequence[_Floats]) -> None:
        pooled = np.concatenate(turns)
        self._values = np.unique(pooled)
        if len(self._values) > _CELLS:
            places = np.linspace(0, 1, _CELLS + 1)[1:]
            self._values = np.unique(np.quantile(pooled, places, method="higher"))
        found = [np.searchsorted(self._values, turn) for turn in turns]
        counts = [np.bincount(cells, minlength=len(self._values)) for cells in found]
        self.counts: _Floats = np.array(counts, np.float64)
        self._up_to = np.cumsum(self.counts, axis=1)

    def middle_ranks(self) -> _Floats:
        """The mean rank, from 1, of each cell's runs among all."""
        total = self.counts.sum(axis=0)
        return np.asarray(np.cumsum(total) - total + (total + 1) / 2, np.float64)

    def quantiles(self, weights: _Floats, probability: float) -> _Floats:
        """The quantile of each pooling of turns.

        Args:
            weights: how often each turn counts, shape (m, turns).
        """
        below = weights @ self._up_to
        wanted = probability * (below[:, -1:] - 1)
        return np.asarray(self._values[np.argmax(below > wanted, axis=1)], np.float64)


def _draws(random: np.random.Generator, turns: int) -> _Floats:
    """How often each turn is drawn, draw by draw; shape (draws, turns)."""
    return random.multinomial(turns, np.full(turns, 1 / turns), size=RESAMPLES).astype(np.float64)


def _pooled(turns: Sequence[_Floats], probability: float) -> Estimate | None:
    if sum(map(len, turns)) < samples_needed(probability):
        return None
    samples = [int(value) for turn in turns for value in turn]
    return quantile(samples, probability, turns=[len(turn) for turn in turns])
