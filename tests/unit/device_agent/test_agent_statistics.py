"""Statistics of inputs: their formulas, and what is in a band and what is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from device_agent.manifest import Band, InputStatistics
from device_agent.runtimes import statistics
from device_agent.runtimes.statistics import measure, oddity

ANYTHING = Band(-1e9, 1e9)
FREE = InputStatistics("x", 9, ANYTHING, ANYTHING, ANYTHING, ANYTHING)


def test_the_formulas_by_hand() -> None:
    found = measure(np.array([[1, 3], [-2, 6]], np.float32))
    assert found[:3] == (-2.0, 6.0, 2.0)
    assert found.deviation == pytest.approx(((1 + 1 + 16 + 16) / 4) ** 0.5)
    assert found.roughness == pytest.approx((2 + 5 + 8) / 3)


def test_a_single_value_has_neither_deviation_nor_roughness() -> None:
    assert measure(np.array(7.0)) == (7.0, 7.0, 7.0, 0.0, 0.0)


@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32)))
def test_looking_at_pieces_changes_nothing(values: np.ndarray) -> None:
    whole = measure(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_PIECE", 3)
        assert measure(values) == pytest.approx(whole, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float64", "bool"])
def test_any_numbers_can_be_measured(dtype: str) -> None:
    assert measure(np.ones((2, 3), dtype)).mean == 1.0


def test_a_share_of_the_values_may_lie_beyond_the_range() -> None:
    values = np.zeros(200)
    values[:2] = 5.0
    allowed = InputStatistics("x", 9, Band(0, 1), ANYTHING, ANYTHING, ANYTHING, 1.0)
    assert oddity(values, allowed) is None
    values[2] = -5.0
    assert oddity(values, allowed) == (
        "x: found 1.5 percent of its values outside of 0 to 1, expected at most 1"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_odd_whatever_the_bands(value: float) -> None:
    assert oddity(np.array([1.0, value]), FREE) is not None
    assert oddity(np.array([1.0, 2.0]), FREE) is None
