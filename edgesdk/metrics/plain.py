"""Metrics that are a line of arithmetic: top-k, root mean square error, mean absolute error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgesdk.errors import DataError
from edgesdk.metrics.shapes import class_scores, labels, required
from edgesdk.values.metric import Outputs, Score, Truth


def top_k(k: int) -> Callable[[Outputs, Truth], Score]:
    """Share of samples whose true class is among the `k` highest scores.

    A class that ties with the true one counts as ranked above it where its index is lower, as
    `argmax` has it, so that top-1 is the accuracy that is measured elsewhere.
    """

    def prepare(outputs: Outputs, truth: Truth) -> Score:
        scores = class_scores(outputs)
        if k > scores.shape[1] or scores.shape[1] < 2:
            raise DataError(
                f"found {scores.shape[1]} classes, expected {max(k, 2)} or more for top-{k}"
            )
        true = labels(truth, scores.shape[1])
        own = scores[np.arange(len(true)), true][:, np.newaxis]
        earlier = np.arange(scores.shape[1]) < true[:, np.newaxis]
        above = (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)
        hits = (above < k).astype(np.float64)
        return lambda chosen: float(hits[chosen].mean())

    return prepare


def root_mean_square_error(outputs: Outputs, truth: Truth) -> Score:
    """Over all elements of the first output."""
    squares = np.array([float(np.mean(error**2)) for error in _errors(outputs, truth)])
    return lambda chosen: float(np.sqrt(squares[chosen].mean()))


def mean_absolute_error(outputs: Outputs, truth: Truth) -> Score:
    """Over all elements of the first output."""
    sizes = np.array([float(np.mean(np.abs(error))) for error in _errors(outputs, truth)])
    return lambda chosen: float(sizes[chosen].mean())


def _errors(outputs: Outputs, truth: Truth) -> list[npt.NDArray[np.float64]]:
    target = required(truth, "target", "what the first output ought to be, one row a sample")
    found = [np.asarray(sample[0], np.float64).reshape(-1) for sample in outputs]
    wanted = [np.asarray(row, np.float64).reshape(-1) for row in target]
    for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
        if one.size != other.size:
            raise DataError(
                f"target {index} has {other.size} values, expected {one.size} as the output has"
            )
    return [one - other for one, other in zip(found, wanted, strict=True)]
