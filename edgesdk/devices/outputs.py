"""Outputs of models as they come over the wire, checked: they are from another machine."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from device_agent.output_messages import Inferred, ModelOutputs
from device_agent.protocol import ErrorCode
from edgesdk.errors import AgentError

Arrays = tuple[npt.NDArray[Any], ...]


def unpack_outputs(
    inferred: Inferred, payload: bytes, keys: Sequence[str], count: int
) -> Iterator[Mapping[str, Arrays]]:
    """Sample by sample, the outputs of each model.

    Args:
        keys: the models that were asked for.
        count: samples that were sent.

    Raises:
        AgentError: it is not what was asked for.
    """
    if [each.key for each in inferred.outputs] != list(keys):
        raise _wrong(f"outputs of {[each.key for each in inferred.outputs]}, expected {keys}")
    offsets = itertools.accumulate((each.size_bytes for each in inferred.outputs), initial=0)
    by_model = [
        _samples(each, payload[offset : offset + each.size_bytes], count)
        for each, offset in zip(inferred.outputs, offsets, strict=False)
    ]
    for outputs in zip(*by_model, strict=True):
        yield dict(zip(keys, outputs, strict=True))


def _samples(told: ModelOutputs, payload: bytes, count: int) -> list[Arrays]:
    tensors = list(_tensors(told, payload))
    each = len(tensors) // count
    if each == 0 or each * count != len(tensors):
        raise _wrong(f"{len(tensors)} tensors of {told.key} for {count} samples")
    return [tuple(tensors[i * each : (i + 1) * each]) for i in range(count)]


def _tensors(told: ModelOutputs, payload: bytes) -> Iterator[npt.NDArray[Any]]:
    if len(told.dtypes) != len(told.shapes):
        raise _wrong(f"{len(told.dtypes)} dtypes for {len(told.shapes)} tensors of {told.key}")
    offset = 0
    for name, shape in zip(told.dtypes, told.shapes, strict=True):
        dtype = _dtype(name)
        size = math.prod(shape)
        if min(shape, default=0) < 0 or offset + size * dtype.itemsize > len(payload):
            raise _wrong(f"{len(payload)} bytes of {told.key}, expected more for {name} {shape}")
        array = np.frombuffer(payload, dtype, size, offset).reshape(shape)
        offset += array.nbytes
        yield array.astype(dtype.newbyteorder("="))
    if offset != len(payload):
        raise _wrong(f"{len(payload)} bytes of {told.key}, expected {offset}")


def _dtype(name: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise _wrong(f"dtype {name!r}") from error
    if dtype.kind not in "fiub":
        raise _wrong(f"dtype {name!r}, expected numbers")
    return dtype.newbyteorder("<")


def _wrong(found: str) -> AgentError:
    return AgentError(f"the agent sent {found}", code=ErrorCode.PROTOCOL)
