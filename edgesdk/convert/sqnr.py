"""How far a converted tensor is from the float one, summed over samples in one pass."""

from __future__ import annotations

import math

import numpy as np

from edgesdk.convert.toolchains import Array
from edgesdk.values.artifact import TensorError

NO_NOISE_DB = 200.0
"""Stands for an infinite ratio: the tensors are equal."""


class ErrorMeter:
    """Accumulates signal, noise and the largest difference of one tensor."""

    def __init__(self) -> None:
        self._signal = 0.0
        self._noise = 0.0
        self._max_abs_error = 0.0

    def add(self, expected: Array, actual: Array) -> None:
        """Take in one sample; both arrays have the same number of elements, in real units."""
        reference = np.asarray(expected, np.float64).ravel()
        difference = reference - np.asarray(actual, np.float64).ravel()
        self._signal += float(reference @ reference)
        self._noise += float(difference @ difference)
        self._max_abs_error = max(self._max_abs_error, float(np.abs(difference).max(initial=0.0)))

    def result(self, name: str) -> TensorError:
        """SQNR in dB: 10 log10(sum x^2 / sum (x - q)^2)."""
        return TensorError(name, self._sqnr_db(), self._max_abs_error)

    def _sqnr_db(self) -> float | None:
        if self._noise == 0.0:
            return None if self._signal == 0.0 else NO_NOISE_DB
        if self._signal == 0.0:
            return -NO_NOISE_DB
        return 10.0 * math.log10(self._signal / self._noise)
