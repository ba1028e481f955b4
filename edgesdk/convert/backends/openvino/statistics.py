"""NNCF's statistics of activations in memory that does not grow with the samples.

NNCF keeps each sample's channel means for its bias correction until the last sample has been seen,
90 KB a sample of MobileNetV2. Its ranges do not tell NaN from the largest number, and its methods
differ from ours, which are the same with every toolchain. It runs the model with as many threads as
the machine has, and what they sum up could differ with their number. No public parameter changes
any of it, so while it quantizes, the names under which it looks these classes up stand for ours.
"""

from __future__ import annotations

import edgesdk.convert.backends.openvino.telemetry  # noqa: F401 - before nncf

# isort: split
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from nncf.common.tensor_statistics.collectors import HistogramAggregator, MeanAggregator
from nncf.openvino import engine
from nncf.openvino.graph.model_utils import model_has_state
from nncf.openvino.statistics import builders
from nncf.quantization.algorithms.min_max import algorithm
from nncf.tensor import Tensor

from edgesdk.calibration.accumulator import Accumulator, Histogram, NotANumber
from edgesdk.calibration.estimators import estimate, needs_histogram
from edgesdk.choices import Method
from edgesdk.convert.backends.openvino.toolkit import compiled
from edgesdk.errors import ConversionError

_BITS = 8


@contextmanager
def bounded_statistics(method: Method, symmetric: bool) -> Iterator[None]:
    """NNCF runs the model and collects with the classes of this module; one conversion at a time.

    Ranges are ours where NNCF is asked for those of a histogram and the tensor has but one range.

    Args:
        method: how a range is made.
        symmetric: the quantized activations have their zero point in the middle.
    """
    ours = partial(_Range, method=method, symmetric=symmetric)
    theirs = (builders.MeanAggregator, algorithm.HistogramAggregator, engine.OVNativeEngine)
    builders.MeanAggregator, algorithm.HistogramAggregator = _RunningMean, ours
    engine.OVNativeEngine = _OneThread
    try:
        yield
    finally:
        builders.MeanAggregator, algorithm.HistogramAggregator, engine.OVNativeEngine = theirs


class _OneThread(engine.OVCompiledModelEngine):  # type: ignore[misc]
    """The model in float32, one thread."""

    def __init__(self, model: Any, use_fp32_precision: bool = True) -> None:
        del use_fp32_precision  # always
        super().__init__(compiled(model), model_has_state(model))


class _RunningMean(MeanAggregator):  # type: ignore[misc]
    """The mean over the samples from their sum."""

    _total: Any = 0.0

    def _register_reduced_input_impl(self, x: Any) -> None:
        self._total = self._total + np.asarray(x.data, np.float64)

    def _aggregate_impl(self) -> Any:
        return Tensor(np.asarray(self._total / self._collected_samples, np.float32))

    def reset(self) -> None:
        super().reset()
        self._total = 0.0


class _Range(HistogramAggregator):  # type: ignore[misc]
    """A tensor's range by one of our methods."""

    def __init__(self, num_samples: int | None, method: Method, symmetric: bool) -> None:
        super().__init__(num_samples=num_samples)
        self._method: Method = method
        self._symmetric = symmetric
        self._seen = Accumulator(Histogram() if needs_histogram(method) else None)

    def _register_reduced_input_impl(self, x: Any) -> None:
        try:
            self._seen.add(np.asarray(x.data))
        except NotANumber as error:
            raise not_a_number() from error

    def _aggregate_impl(self) -> dict[str, Any]:
        found = estimate(self._seen, self._method, _BITS, self._symmetric)
        ends = {"min_values": found.low, "max_values": found.high}
        return {name: Tensor(np.array(end, np.float32)) for name, end in ends.items()}


def not_a_number() -> ConversionError:
    """The error for a float model that gives NaN."""
    return ConversionError(
        "an activation of the float model is not a number on a calibration sample",
        hint="check the calibration data, and that the float model is right on them",
    )
