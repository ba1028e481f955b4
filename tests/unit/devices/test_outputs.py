"""Facts about outputs that come over the wire."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from device_agent.output_messages import Inferred, ModelOutputs
from edgesdk.devices.outputs import unpack_outputs
from edgesdk.errors import AgentError

ARRAYS = (np.float32([[1, 2]]), np.int64([7]))


def packed(*samples: tuple[Any, ...], key: str = "int8") -> tuple[ModelOutputs, bytes]:
    tensors = [array for sample in samples for array in sample]
    payload = b"".join(array.tobytes() for array in tensors)
    dtypes = tuple(array.dtype.name for array in tensors)
    shapes = tuple(array.shape for array in tensors)
    return ModelOutputs(key, dtypes, shapes, len(payload)), payload


def unpacked(told: ModelOutputs, payload: bytes, count: int = 2) -> Any:
    return list(unpack_outputs(Inferred((told,), len(payload)), payload, ["int8"], count))


def test_each_sample_gets_its_own_outputs_of_each_model() -> None:
    one, first = packed(ARRAYS, (ARRAYS[0] + 1, ARRAYS[1] + 1), key="float")
    other, second = packed(ARRAYS, ARRAYS)
    inferred = Inferred((one, other), len(first + second))
    samples = list(unpack_outputs(inferred, first + second, ("float", "int8"), 2))
    assert [sample["float"][1].tolist() for sample in samples] == [[7], [8]]
    assert samples[1]["float"][0].tolist() == [[2, 3]]
    assert samples[1]["int8"][0].dtype == np.float32


def test_outputs_may_differ_in_shape_from_sample_to_sample() -> None:
    told, payload = packed((np.float32([1]),), (np.float32([1, 2, 3]),))
    assert [sample["int8"][0].size for sample in unpacked(told, payload)] == [1, 3]


TOLD, PAYLOAD = packed(ARRAYS, ARRAYS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": "other"}, "outputs of"),
        ({"dtypes": TOLD.dtypes[:-1]}, "3 dtypes for 4 tensors"),
        ({"shapes": ((1, 9), *TOLD.shapes[1:])}, "expected more for"),
        ({"shapes": ((1, 1), *TOLD.shapes[1:])}, "expected "),
        ({"shapes": ((-1, -2), *TOLD.shapes[1:])}, "expected more for"),
        ({"dtypes": ("object", *TOLD.dtypes[1:])}, "expected numbers"),
        ({"dtypes": ("nothing", *TOLD.dtypes[1:])}, "dtype 'nothing'"),
    ],
)
def test_what_was_not_asked_for_is_refused(changes: Any, said: str) -> None:
    with pytest.raises(AgentError, match=said):
        unpacked(dataclasses.replace(TOLD, **changes), PAYLOAD)


def test_a_count_that_does_not_divide_is_refused() -> None:
    with pytest.raises(AgentError, match="4 tensors of int8 for 3 samples"):
        unpacked(TOLD, PAYLOAD, 3)
