"""Facts about the ratio of signal to quantization noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgesdk.convert.sqnr import NO_NOISE_DB, ErrorMeter
from edgesdk.values.artifact import TensorError


def measured(*pairs: tuple[Any, Any]) -> TensorError:
    meter = ErrorMeter()
    for expected, actual in pairs:
        meter.add(np.asarray(expected), np.asarray(actual))
    return meter.result("t")


@pytest.mark.parametrize(
    ("expected", "actual", "sqnr_db"),
    [
        ([1.0, 0.0], [0.9, 0.0], 20.0),
        ([10.0], [9.0], 20.0),
        ([3.0, 4.0], [3.0, 4.0], NO_NOISE_DB),
        ([0.0], [0.0], None),
        ([0.0], [1.0], -NO_NOISE_DB),
        ([1.0], [0.0], 0.0),
        ([], [], None),
    ],
)
def test_the_ratio(expected: Any, actual: Any, sqnr_db: float | None) -> None:
    found = measured((expected, actual)).sqnr_db
    assert found == (None if sqnr_db is None else pytest.approx(sqnr_db))


ARRAYS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    elements=st.floats(-1000, 1000, width=32),
)


@given(ARRAYS, st.integers(0, 2**32 - 1))
def test_samples_add_up_to_the_formula_over_all_of_them(signal: Any, seed: int) -> None:
    found = signal + np.random.default_rng(seed).normal(size=signal.shape).astype(np.float32)
    wide, noise = signal.astype(np.float64), signal.astype(np.float64) - found
    assume((wide**2).sum() > 1e-6 and (noise**2).sum() > 1e-6)
    result = measured(*zip(signal, found, strict=True))
    assert result.sqnr_db == pytest.approx(10 * np.log10((wide**2).sum() / (noise**2).sum()))
    assert result.max_abs_error == pytest.approx(np.abs(noise).max())


def test_large_float16_values_do_not_overflow() -> None:
    values = np.full(1000, 60_000, np.float16)
    assert measured((values, values * np.float16(0.5))).sqnr_db == pytest.approx(6.02, abs=0.01)


def test_the_worst_comes_first_and_what_is_always_zero_last() -> None:
    errors = [TensorError("zero", None, 0), TensorError("good", 40, 0), TensorError("bad", -5, 1)]
    assert [e.name for e in sorted(errors, key=TensorError.badness)] == ["bad", "good", "zero"]
