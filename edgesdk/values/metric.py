"""Metrics beyond top-1: what they are measured with, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgesdk.models.types import TensorSpec
from edgesdk.values.verdict import Estimate, Unit

Better = Literal["higher", "lower"]
Outputs = Sequence[tuple[npt.NDArray[Any], ...]]
"""Of one model: the outputs of each sample, in the model's order, batch axes and all."""
Truth = Mapping[str, npt.NDArray[Any]]
"""Array by name, the first axis counting samples: "label", "target", "boxes", "classes", "text"."""
Score = Callable[[npt.NDArray[np.intp]], float]
"""The metric over chosen samples, which may repeat.

Raises `NotDefined` where it is not defined for them; a user's own function may give NaN instead.
"""


class NotDefined(Exception):
    """A metric has no value for these samples; the message is the reason, without a full stop."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that can be measured.

    Args:
        name: as asked for, e.g. "top5".
        title: for a reader.
        unit: "percent" of a share; "own" of anything else.
        resamples: of the bootstrap; fewer where each costs much.
        check: refuses, by a `DataError`, a truth that the metric cannot judge the outputs of a
            model by, from what is known of them before any device has run it.
        prepare: reads one model's outputs once, so that each resample is cheap; raises `NotDefined`
            where the metric is defined for no part of them.
        share: it is the share of samples that are right, each by itself, so that exact intervals
            take the place of drawn ones.
    """

    name: str
    title: str
    better: Better
    unit: Literal["percent", "own"]
    resamples: int
    check: Callable[[Truth, Sequence[TensorSpec]], None]
    prepare: Callable[[Outputs, Truth], Score]
    share: bool = False

    @property
    def drop_unit(self) -> Unit:
        """Of a difference."""
        return drop_unit(self.unit)


def drop_unit(unit: Literal["percent", "own"]) -> Unit:
    """Of a difference of two values."""
    return "points" if unit == "percent" else "own"


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """A metric of both models on the same samples, run on the device.

    Args:
        unit: of `float_value` and `int8_value`; shares are in percent, and their drop in points.
            None where it is not defined for that model's outputs.
        drop: how much worse the converted model is; positive is worse, whatever is better. None
            where it is not defined for both.
        samples: that it was to be measured on.
        resamples: draws of samples behind each interval, paired: both models on the same draw; 0
            where none were made.
        undefined: draws left out because the metric is not defined for them.
        seed: of the draws.
        reason: why it is not defined, or else has no interval, without a full stop; "" where it
            has one.
    """

    name: str
    title: str
    better: Better
    unit: Literal["percent", "own"]
    float_value: Estimate | None
    int8_value: Estimate | None
    drop: Estimate | None
    samples: int
    resamples: int
    undefined: int
    seed: int
    reason: str

    @property
    def drop_unit(self) -> Unit:
        """Of `drop`."""
        return drop_unit(self.unit)
