"""How far a lowered model is from its source: both run on the same probes. Pure, numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

TOLERANCE = 1e-3
"""Largest `Agreement.max_relative_error` of a faithful lowering.

Two float32 implementations of one network differ by rounding alone, through the order of their
sums: 1e-7 to 1e-5 of the output's range in the networks of tests/toolkits, growing with the root of
the depth. A lowering that is wrong (a layout, a padding, an epsilon, a swapped output) is off by
1e-2 to 1. In between, 1e-3 is a quarter of an INT8 step of the output (1/255), so what it lets
through is invisible after quantization.
"""


SMALLEST_SCALE = 1e-3
"""What an output's differences are divided by at least.

An output that is zero in every probe (a dead branch, a detector's scores for noise) has no scale of
its own, and any rounding on the way there would count as infinitely far. Values inside a network
are around one, where a step of float32 is 1.2e-7, and sums of them that cancel to zero are off by a
few such steps. `TOLERANCE` of this floor is 1e-6, eight steps: rounding passes, and anything that
adds 1e-6 to what should be zero does not. An output that is larger than the floor is not touched by
it; a smaller one is compared to 1e-6 in its own units.
"""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two runs on the same probes are apart.

    Args:
        max_abs_error: largest difference of two elements, in the output's units; infinite where
            one is not a number and the other is.
        max_relative_error: largest over the outputs of that output's largest difference over its
            largest finite magnitude in all probes, at least `SMALLEST_SCALE`; of an output of
            integers or booleans, the share of its elements that are not equal.
        output: index of the output with the largest relative error.
    """

    max_abs_error: float
    max_relative_error: float
    output: int


def compare_outputs(
    lowered: Sequence[Sequence[Array]], source: Sequence[Sequence[Array]]
) -> Agreement:
    """How far the lowered model's outputs are from the source's, over all probes.

    Args:
        lowered: for each probe the outputs in order.
        source: likewise, of the same shapes; at least one probe.
    """
    absolute, relative = zip(
        *(
            _difference([probe[index] for probe in lowered], [probe[index] for probe in source])
            for index in range(len(source[0]))
        ),
        strict=True,
    )
    worst = max(range(len(relative)), key=lambda index: relative[index])
    return Agreement(max(absolute), relative[worst], worst)


def _difference(lowered: Sequence[Array], source: Sequence[Array]) -> tuple[float, float]:
    found, wanted = np.stack(lowered), np.stack(source)
    if wanted.dtype.kind in "iub":
        apart = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
        return float(apart.max(initial=0.0)), float(np.mean(found != wanted))
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(found - wanted))
    largest = float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max(initial=0.0))
    finite = np.abs(wanted[np.isfinite(wanted)])
    return largest, largest / float(finite.max(initial=SMALLEST_SCALE))
