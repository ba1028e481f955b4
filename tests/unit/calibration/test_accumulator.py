"""Facts about what is kept of a tensor: exact bounds, and a histogram that grows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgesdk.calibration.accumulator import BINS, Accumulator, Array, Histogram, NotANumber

# Not so far apart that the product of the least with the bins a unit underflows.
MAGNITUDES = st.floats(2.0**-40, 2.0**60, width=32)
FLOATS = st.one_of(st.just(0.0), MAGNITUDES, MAGNITUDES.map(lambda value: -value))
TENSORS = arrays.arrays(np.float32, st.integers(1, 40), elements=FLOATS)


def seen(*tensors: Array) -> Accumulator:
    accumulator = Accumulator(Histogram())
    for tensor in tensors:
        accumulator.add(tensor)
    return accumulator


def histogram(*tensors: Array) -> Histogram:
    found = seen(*tensors).histogram
    assert found is not None
    return found


def places(values: Array, found: Histogram) -> Array:
    """Bin of each value, by the definition: in exact arithmetic."""
    steps = values.astype(np.float64) * found.bins_per_unit
    return np.floor(steps.astype(np.float32)).astype(int) + BINS // 2


@given(st.lists(TENSORS, min_size=1, max_size=5))
def test_bounds_are_exact(tensors: list[Array]) -> None:
    every = np.concatenate(tensors)
    assert seen(*tensors).bounds == (every.min(), every.max())


@given(st.lists(TENSORS, min_size=1, max_size=5))
def test_every_value_is_counted_once(tensors: list[Array]) -> None:
    assert histogram(*tensors).counts.sum() == sum(tensor.size for tensor in tensors)


@given(st.lists(TENSORS, min_size=1, max_size=5))
def test_every_value_is_in_its_bin_however_the_histogram_grew(tensors: list[Array]) -> None:
    found = histogram(*tensors)
    if found.bins_per_unit == 0:
        return
    wanted = np.bincount(places(np.concatenate(tensors), found), minlength=BINS)
    assert np.array_equal(found.counts, wanted)


@given(TENSORS, st.lists(TENSORS, min_size=1, max_size=5), st.randoms())
def test_the_histogram_of_a_concatenation_is_that_of_its_parts_in_any_order(
    first: Array, tensors: list[Array], random: object
) -> None:
    first = np.append(first, np.float32(1))  # sets the width
    at_once = histogram(first, np.concatenate(tensors))
    random.shuffle(tensors)  # type: ignore[attr-defined]
    in_parts = histogram(first, *tensors)
    assert np.array_equal(at_once.counts, in_parts.counts)
    assert at_once.bins_per_unit == in_parts.bins_per_unit


@given(TENSORS, FLOATS)
def test_at_least_a_quarter_of_the_bins_is_on_the_larger_side(first: Array, other: float) -> None:
    values = np.append(first, np.float32(other))
    found = histogram(values[:-1], values[-1:])
    largest = float(np.abs(values).max())
    if largest > 0:
        assert BINS / 4 <= largest / found.width <= BINS / 2


def test_growth_merges_neighbours_around_zero() -> None:
    found = histogram(np.array([-1, -0.6, 0, 0.6, 0.999], np.float32))
    before = found.counts.copy()
    found.add(np.array([3.0], np.float32), 3.0)
    assert found.width == 4 * found.first_width
    merged = before.reshape(-1, 4).sum(axis=1)
    middle = found.counts[3 * BINS // 8 : 5 * BINS // 8]
    assert np.array_equal(middle, merged)
    assert found.counts.sum() == before.sum() + 1


def test_zeros_before_the_first_other_value_lie_in_the_bin_above_zero() -> None:
    found = histogram(np.zeros(7, np.float32), np.array([2.0], np.float32))
    assert found.counts[BINS // 2] == 7


def test_more_than_a_chunk_is_counted_in_full() -> None:
    values = np.random.default_rng(0).normal(size=100_001).astype(np.float32)
    found = histogram(values)
    assert np.array_equal(found.counts, np.bincount(places(values, found), minlength=BINS))


def test_half_precision_is_counted_as_float32() -> None:
    values = np.random.default_rng(0).normal(size=999).astype(np.float16)
    assert np.array_equal(histogram(values).counts, histogram(values.astype(np.float32)).counts)


@pytest.mark.parametrize("mask", [-np.inf, np.inf, -3.4e38])
def test_masks_are_left_out(mask: float) -> None:
    found = seen(np.array([[1, mask], [-2, mask]], np.float32))
    assert found.bounds == (-2, 1)
    assert found.histogram is not None and found.histogram.counts.sum() == 2


def test_a_tensor_of_masks_only_or_without_values_has_the_range_zero() -> None:
    found = seen(np.full(3, -np.inf, np.float32), np.empty(0, np.float32))
    assert found.bounds == (0, 0)


def test_not_a_number_is_refused_and_leaves_no_trace() -> None:
    found = seen(np.array([1], np.float32))
    with pytest.raises(NotANumber):
        found.add(np.array([5, np.nan, -np.inf], np.float32))
    assert found.bounds == (1, 1)
    assert found.histogram is not None and found.histogram.counts.sum() == 1


def test_bounds_alone_need_no_histogram() -> None:
    found = Accumulator(None)
    found.add(np.array([-1, 3], np.float32))
    assert found.bounds == (-1, 3)
