"""Word error rate, by jiwer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt

from edgesdk.errors import DataError
from edgesdk.metrics.shapes import required
from edgesdk.models.types import TensorSpec
from edgesdk.values.metric import Outputs, Score, Truth

Decode = Callable[[tuple[npt.NDArray[Any], ...]], object]


def check_text(truth: Truth, outputs: Sequence[TensorSpec]) -> None:
    """As `Metric.check`; what the outputs say is the decoder's to know."""
    _text(truth)


def _text(truth: Truth) -> list[str]:
    found = required(truth, "text", "what is said, one text a sample")
    if found.ndim != 1 or found.dtype.kind != "U":
        raise DataError(f"found text {found.dtype}{list(found.shape)}, expected strings [n]")
    text = [str(line) for line in found]
    if not all(line.split() for line in text):
        raise DataError("found a text without words, expected one or more in every sample")
    return text


def word_error_rate(decode: Decode) -> Callable[[Outputs, Truth], Score]:
    """Words that were substituted, deleted or inserted, over the words of the truth.

    Args:
        decode: one sample's outputs to text.
    """

    def prepare(outputs: Outputs, truth: Truth) -> Score:
        text = _text(truth)
        wrong, words = [], []
        for sample, line in zip(outputs, text, strict=True):
            told = decode(sample)
            if not isinstance(told, str):
                raise DataError(f"decoding gave {type(told).__name__}, expected text")
            measured = jiwer.process_words(line, told)
            errors = measured.substitutions + measured.deletions + measured.insertions
            wrong.append(errors)
            words.append(measured.hits + measured.substitutions + measured.deletions)
        of_samples, in_all = np.array(wrong, np.float64), np.array(words, np.float64)
        return lambda chosen: float(of_samples[chosen].sum() / in_all[chosen].sum())

    return prepare
