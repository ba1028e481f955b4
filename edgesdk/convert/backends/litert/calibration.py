"""Ranges of activations over the calibration samples, one sample in memory at a time.

Plain minimum and maximum: the quantizer's own calibration averages them over time, which cuts off
what only the first samples show, and reads its samples twice, which an iterator does not survive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesdk.convert.backends.litert import flatbuffer as tflite
from edgesdk.convert.backends.litert.fixups import open_interpreter
from edgesdk.convert.toolchains import Array, Sample
from edgesdk.errors import ConversionError

_LARGEST = 3e38
"""Beyond it lie the infinities that stand for "minus infinity" in masks and padding."""


@dataclass(frozen=True, slots=True)
class Range:
    """Smallest and largest value of a tensor."""

    low: float
    high: float

    def union(self, other: Range) -> Range:
        """The range that covers both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


def activation_ranges(
    content: bytes, samples: Iterable[Sample], advance: Callable[[int], None]
) -> dict[str, Range]:
    """The range of every float32 activation of a prepared model, by tensor name.

    Raises:
        ConversionError: there are no samples, or an activation is not a number.
    """
    interpreter = open_interpreter(content, preserve_all=True)
    interpreter.allocate_tensors()
    activations = _float_activations(content)
    ranges: dict[str, Range] = {}
    count = 0
    for count, sample in enumerate(samples, start=1):
        run_sample(interpreter, sample)
        for index, name in activations.items():
            found = _range(interpreter.get_tensor(index), name, count)
            if found is not None:
                ranges[name] = found.union(ranges.get(name, found))
        advance(1)
    if count == 0:
        raise ConversionError("found no calibration samples, expected at least one")
    return ranges


def run_sample(interpreter: Any, sample: Sample) -> None:
    """Run a float model on one sample."""
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], sample[details["name"]])
    interpreter.invoke()


def _float_activations(content: bytes) -> dict[int, str]:
    model = tflite.read_model(content)
    return {
        index: tflite.tensor_name(tensor)
        for index, tensor in enumerate(model.subgraphs[0].tensors)
        if tflite.dtype(tensor) == "float32" and not tflite.is_constant(model, tensor)
    }


def _range(values: Array, name: str, sample: int) -> Range | None:
    if values.size == 0:
        return None
    low, high = float(values.min()), float(values.max())
    if np.isnan(low):
        raise ConversionError(
            f"activation {name!r} of the float model is not a number on calibration sample "
            f"{sample}",
            hint="check the calibration data, and that the float model is right on them",
        )
    if low > -_LARGEST and high < _LARGEST:
        return Range(low, high)
    inside = values[np.abs(values) < _LARGEST]
    return Range(float(inside.min()), float(inside.max())) if inside.size else None
