"""Outputs and truth in the shapes that metrics want, or a clear word on why they are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesdk.data.samples import class_count
from edgesdk.errors import DataError
from edgesdk.models.types import TensorSpec
from edgesdk.values.metric import NotDefined, Outputs, Truth


def class_scores(outputs: Outputs) -> npt.NDArray[np.float64]:
    """The first output of every sample, shape (n, classes).

    Raises:
        DataError: it is no single row of scores.
        NotDefined: some of them are no numbers, which have no order.
    """
    first = [np.asarray(sample[0], np.float64) for sample in outputs]
    shapes = {array.shape for array in first}
    shape = first[0].shape
    if len(shapes) > 1 or not shape or first[0].size != max(shape):
        raise DataError(
            f"found outputs of shape {sorted(shapes)}, expected one row of class scores"
        )
    scores = np.array([array.reshape(-1) for array in first])
    require_numbers(np.isnan(scores).any(axis=1), "NaN")
    return scores


def require_numbers(wrong: npt.NDArray[np.bool_], what: str) -> None:
    """Refuse outputs that hold what no metric can be made of.

    Args:
        wrong: by sample.

    Raises:
        NotDefined: there are such samples.
    """
    if count := int(wrong.sum()):
        raise NotDefined(f"the outputs of {count} of {len(wrong)} samples hold {what}")


def check_labels(truth: Truth, outputs: Sequence[TensorSpec]) -> None:
    """That labels are classes of the model's first output.

    Raises:
        DataError: they are none, or it holds no class scores.
    """
    labels(truth, class_count(outputs))


def labels(truth: Truth, classes: int) -> npt.NDArray[np.int64]:
    """Class indices, shape (n,).

    Raises:
        DataError: there are none, or some that are no class.
    """
    found = required(truth, "label", "one class index a sample")
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise DataError(f"found labels {found.dtype}{list(found.shape)}, expected integers [n]")
    if found.size and not (found.min() >= 0 and found.max() < max(classes, 2)):
        raise DataError(
            f"found labels from {found.min()} to {found.max()}, expected 0 to {max(classes, 2) - 1}"
        )
    return found.astype(np.int64)


def required(truth: Truth, name: str, what: str) -> npt.NDArray[Any]:
    """An array of the truth.

    Raises:
        DataError: it is not there.
    """
    if name not in truth:
        have = ", ".join(sorted(truth)) or "nothing"
        raise DataError(
            f"the truth has no {name!r}, only {have}",
            hint=f"save {name!r} ({what}) beside the inputs, or in a file for --truth",
        )
    return truth[name]
