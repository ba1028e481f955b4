"""Metrics that are a line of arithmetic: top-k, root mean square error, mean absolute error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesdk.data.samples import class_count
from edgesdk.errors import DataError
from edgesdk.metrics.shapes import (
    class_scores,
    labels,
    require_numbers,
    required,
)
from edgesdk.models.types import TensorSpec
from edgesdk.values.metric import Outputs, Score, Truth


def check_top_k(k: int) -> Callable[[Truth, Sequence[TensorSpec]], None]:
    """As `Metric.check`, for `top_k`."""

    def check(truth: Truth, outputs: Sequence[TensorSpec]) -> None:
        classes = class_count(outputs)
        _require_classes(k, classes)
        labels(truth, classes)

    return check


def _require_classes(k: int, classes: int) -> None:
    if k > classes or classes < 2:
        raise DataError(f"found {classes} classes, expected {max(k, 2)} or more for top-{k}")


def top_k(k: int) -> Callable[[Outputs, Truth], Score]:
    """Share of samples whose true class is among the `k` highest scores.

    A class that ties with the true one counts as ranked above it where its index is lower, as
    `argmax` has it, so that top-1 is the accuracy that is measured elsewhere.
    """

    def prepare(outputs: Outputs, truth: Truth) -> Score:
        scores = class_scores(outputs)
        _require_classes(k, scores.shape[1])
        true = labels(truth, scores.shape[1])
        own = scores[np.arange(len(true)), true][:, np.newaxis]
        earlier = np.arange(scores.shape[1]) < true[:, np.newaxis]
        above = (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)
        hits = (above < k).astype(np.float64)
        return lambda chosen: float(hits[chosen].mean())

    return prepare


def check_numbers(truth: Truth, outputs: Sequence[TensorSpec]) -> None:
    """As `Metric.check`, for the two below."""
    values = math.prod(outputs[0].shape)
    for index, row in enumerate(_target(truth)):
        if row.size != values:
            raise DataError(
                f"target {index} has {row.size} values, expected {values} as the output"
                f" {outputs[0]} has"
            )


def root_mean_square_error(outputs: Outputs, truth: Truth) -> Score:
    """Over all elements of the first output."""
    squares = np.array([float(np.mean(error**2)) for error in _errors(outputs, truth)])
    return lambda chosen: float(np.sqrt(squares[chosen].mean()))


def mean_absolute_error(outputs: Outputs, truth: Truth) -> Score:
    """Over all elements of the first output."""
    sizes = np.array([float(np.mean(np.abs(error))) for error in _errors(outputs, truth)])
    return lambda chosen: float(sizes[chosen].mean())


def _errors(outputs: Outputs, truth: Truth) -> list[npt.NDArray[np.float64]]:
    target = _target(truth)
    found = [np.asarray(sample[0], np.float64).reshape(-1) for sample in outputs]
    wanted = [np.asarray(row, np.float64).reshape(-1) for row in target]
    for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
        if one.size != other.size:
            raise DataError(
                f"target {index} has {other.size} values, expected {one.size} as the output has"
            )
    require_numbers(np.array([not np.isfinite(one).all() for one in found]), "NaN or infinity")
    return [one - other for one, other in zip(found, wanted, strict=True)]


def _target(truth: Truth) -> npt.NDArray[Any]:
    found = required(truth, "target", "what the first output ought to be, one row a sample")
    if found.dtype.kind not in "iufb":
        raise DataError(f"found target {found.dtype}{list(found.shape)}, expected numbers")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise DataError("found NaN or infinity in target, expected finite numbers")
    return found
