"""Facts about ranges made of a histogram, by definition and by brute force."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.calibration.accumulator import Accumulator, Array, Histogram
from edgesdk.calibration.estimators import estimate, needs_histogram, percentile
from edgesdk.calibration.types import Range
from edgesdk.choices import Method


def seen(*tensors: Array) -> Accumulator:
    accumulator = Accumulator(Histogram())
    for tensor in tensors:
        accumulator.add(tensor)
    return accumulator


def normal(count: int = 200_000, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=count).astype(np.float32)


def rounded(values: Array, found: Range, bits: int, symmetric: bool) -> Array:
    """What ONNX Runtime makes of the values: its scale, zero point and saturation."""
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    if symmetric:
        largest, reach = max(-low, high), 2 ** (bits - 1) - 1
        step = largest / reach
        return np.clip(np.round(values / step), -reach, reach) * step
    levels = 2**bits - 1
    step = (high - low) / levels
    zero = np.round(-low / step)
    return (np.clip(np.round(values / step) + zero, 0, levels) - zero) * step


def squared_error(values: Array, found: Range, bits: int, symmetric: bool) -> float:
    return float(np.square(values - rounded(values, found, bits, symmetric)).mean())


def test_min_max_is_all_that_was_seen() -> None:
    values = normal()
    assert estimate(seen(values), "minmax", 8, False) == Range(values.min(), values.max())


def test_bounds_do_for_min_max_only() -> None:
    found = Accumulator(None)
    found.add(normal(10))
    for method in get_args(Method):
        if needs_histogram(method):
            with pytest.raises(ValueError, match="needs a histogram, found bounds only"):
                estimate(found, method, 8, False)
    assert not needs_histogram("minmax")


@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_percentiles_are_those_of_the_values_within_a_bin(percent: float, shift: float) -> None:
    values = normal(200_003) + np.float32(shift)  # so that no share is a whole number of values
    histogram = seen(values).histogram
    assert histogram is not None
    cut = (100 - percent) / 2
    wanted = np.percentile(values, [cut, 100 - cut], method="inverted_cdf")
    assert percentile(histogram, percent, False) == pytest.approx(
        wanted, abs=1.01 * histogram.width
    )
    end = np.percentile(np.abs(values), percent, method="inverted_cdf")
    assert percentile(histogram, percent, True) == pytest.approx(
        (-end, end), abs=1.01 * histogram.width
    )


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_mse_is_as_good_as_the_best_of_a_brute_force_search(symmetric: bool, relu: bool) -> None:
    values = np.random.default_rng(2).laplace(size=20_000).astype(np.float32)
    values = np.maximum(values, 0) if relu else values
    found = squared_error(values, estimate(seen(values), "mse", 8, symmetric), 8, symmetric)
    ends = np.linspace(0.2, 1, 60)
    lows = [0.0] if relu else ends * min(values.min(), 0)
    tried = (
        squared_error(values, Range(low, high), 8, symmetric)
        for low in lows
        for high in ends * values.max()
        if not symmetric or relu or abs(low + high) < 0.3
    )
    assert found < 1.02 * min(tried)


def test_mse_cuts_off_a_lone_outlier_in_8_bits_and_not_in_16() -> None:
    values = np.append(normal(2_000_000), np.float32(40))
    accumulated = seen(values)
    assert estimate(accumulated, "mse", 8, False).high < 15
    assert estimate(accumulated, "mse", 16, False).high > 35


def test_entropy_with_16_bits_is_all_that_was_seen() -> None:
    values = normal()
    assert estimate(seen(values), "entropy", 16, False) == Range(values.min(), values.max())


@given(st.sampled_from(get_args(Method)), st.sampled_from([8, 16]), st.booleans(),
       st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20))  # fmt: skip
def test_no_range_reaches_beyond_what_was_seen(
    method: Method, bits: Literal[8, 16], symmetric: bool, values: list[float]
) -> None:
    tensor = np.array(values, np.float32)
    found = estimate(seen(tensor), method, bits, symmetric)
    assert min(tensor.min(), 0) <= found.low <= found.high <= max(tensor.max(), 0)


@pytest.mark.parametrize("method", get_args(Method))
def test_a_tensor_of_zeros_has_the_range_zero(method: Method) -> None:
    assert estimate(seen(np.zeros(9, np.float32)), method, 8, False) == Range(0, 0)


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.0, np.inf), (np.nan, 1.0)])
def test_a_range_is_finite_and_the_right_way_round(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="is not a finite range"):
        Range(*bounds)
