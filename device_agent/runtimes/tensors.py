"""Arithmetic on tensors: quantize, compare, and the bytes of samples on the wire. Needs numpy."""

from __future__ import annotations

from typing import Any, Iterator, List, Sequence

import numpy as np

from device_agent.manifest import Port
from device_agent.runtimes.base import BadTensor

STEPS_OF_FULL_RANGE = 255
"""A float output has this many steps over its golden range, as if it were 8 bits wide."""

STEPS_MAX = 1e9
"""Stands for "no number at all": the difference to a NaN or an infinity."""


def dtype_name(dtype: Any) -> str:
    """The name used in `Port.dtype` and on the wire, such as "int8"."""
    return str(np.dtype(dtype).name)


def quantize(array: np.ndarray, port: Port) -> np.ndarray:
    """The values a port stores, in its shape and dtype.

    Floats for a quantized port are rounded half to even and saturate at the ends of its dtype;
    what has its dtype already is taken to be stored values. A port without scale takes floats of
    any width where it is a float, and integers that fit where it is an integer.

    Raises:
        BadTensor: another number of elements, or values that cannot be brought to the port.
    """
    dtype = np.dtype(port.dtype)
    if array.size != _elements(port):
        raise BadTensor(f"{port.name}: found shape {array.shape}, expected {port.shape}")
    if array.dtype.kind == "f" and port.scale is not None and port.zero_point is not None:
        stored = _to_stored(array, port.scale, port.zero_point, dtype)
    elif array.dtype == dtype or (port.scale is None and _fits(array, dtype)):
        stored = array
    else:
        raise BadTensor(f"{port.name}: found {array.dtype.name} values, expected {port.dtype}")
    return np.ascontiguousarray(stored.reshape(port.shape), dtype=dtype)


def _fits(array: np.ndarray, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return array.dtype.kind == "f"
    if dtype.kind not in "iu" or array.dtype.kind not in "iu":
        return False
    limits = np.iinfo(dtype)
    return array.size == 0 or bool(limits.min <= array.min() and array.max() <= limits.max)


def _to_stored(
    array: np.ndarray, scale: float, zero_point: int, dtype: np.dtype[Any]
) -> np.ndarray:
    if np.isnan(array).any():
        raise BadTensor("found NaN, expected numbers that can be quantized")
    limits = np.iinfo(dtype)
    stored = np.rint(array.astype(np.float32) / np.float32(scale)) + np.float32(zero_point)
    clipped: np.ndarray = np.clip(stored, limits.min, limits.max)
    return clipped.astype(dtype)


def dequantize(array: np.ndarray, port: Port) -> np.ndarray:
    """The real numbers (float32) of stored values: scale * (stored - zero_point).

    A port without scale stores real numbers already.
    """
    if port.scale is None or port.zero_point is None:
        return array.astype(np.float32)
    return (array.astype(np.float32) - np.float32(port.zero_point)) * np.float32(port.scale)


def stored_as(array: np.ndarray, made_for: Port, port: Port) -> np.ndarray:
    """What a port stores for values that were made for the same port of another form of the model.

    A float model takes the real numbers that an INT8 model's stored inputs stand for.

    Raises:
        BadTensor: as `quantize`.
    """
    if made_for.scale is not None and array.dtype.kind in "iu" and made_for != port:
        array = dequantize(array, made_for)
    return quantize(array, port)


def top1(array: np.ndarray) -> int:
    """Index of the largest element of one sample's output; the first one of equals."""
    return int(np.argmax(array))


def step_size(golden: np.ndarray) -> float:
    """What one step is, in units of the golden output's elements.

    1 for integer outputs; for float outputs 1/255 of their range over all golden vectors.
    """
    if golden.dtype.kind != "f":
        return 1.0
    spread = float(golden.max() - golden.min()) or float(np.abs(golden).max()) or 1.0
    return spread / STEPS_OF_FULL_RANGE


def step_differences(actual: np.ndarray, golden: np.ndarray, step: float) -> np.ndarray:
    """By how many steps each value is off (float64); `STEPS_MAX` where just one is no number.

    Raises:
        BadTensor: the two have another number of elements.
    """
    if actual.size != golden.size:
        raise BadTensor(f"found an output of shape {actual.shape}, expected {golden.shape}")
    found, wanted = actual.astype(np.float64).ravel(), golden.astype(np.float64).ravel()
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):
        difference = np.abs(found - wanted) / step
    difference = np.where(np.isfinite(difference), difference, STEPS_MAX)
    return np.where(same, 0.0, np.minimum(difference, STEPS_MAX))


def sample_bytes(ports: Sequence[Port], dtypes: Sequence[str]) -> int:
    """Size of one sample on the wire.

    Raises:
        BadTensor: not one dtype an input, or no dtype at all.
    """
    if len(ports) != len(dtypes):
        raise BadTensor(f"found {len(dtypes)} dtypes, expected {len(ports)}")
    return sum(_elements(port) * _wire(name).itemsize for port, name in zip(ports, dtypes))


def unpack_samples(
    payload: bytes, ports: Sequence[Port], dtypes: Sequence[str], count: int
) -> Iterator[List[np.ndarray]]:
    """The samples of a `Predict` payload, one after the other, quantized as the ports want them.

    Raises:
        BadTensor: the payload has another size, or cannot be brought to the ports' dtypes.
    """
    expected = sample_bytes(ports, dtypes) * count
    if len(payload) != expected:
        raise BadTensor(f"found {len(payload)} bytes of samples, expected {expected}")
    offset = 0
    for _ in range(count):
        arrays = []
        for port, name in zip(ports, dtypes):
            array = np.frombuffer(payload, _wire(name), _elements(port), offset)
            offset += array.nbytes
            arrays.append(quantize(array.astype(array.dtype.newbyteorder("=")), port))
        yield arrays


def pack_arrays(arrays: Sequence[np.ndarray]) -> bytes:
    """Arrays as bytes on the wire: one after the other, C contiguous, little endian."""
    return b"".join(
        np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes() for array in arrays
    )


def unpack_arrays(
    payload: bytes, dtypes: Sequence[str], shapes: Sequence[Sequence[int]]
) -> List[np.ndarray]:
    """What `pack_arrays` packed, as arrays of their own.

    Raises:
        BadTensor: the payload has another size, or the dtypes and shapes do not count alike.
    """
    if len(dtypes) != len(shapes):
        raise BadTensor(f"found {len(dtypes)} dtypes, expected {len(shapes)}")
    arrays, offset = [], 0
    for name, shape in zip(dtypes, shapes):
        dtype, count = _wire(name), _count(shape)
        if offset + count * dtype.itemsize > len(payload):
            raise BadTensor(f"found {len(payload)} bytes, expected more for {name} {shape}")
        array = np.frombuffer(payload, dtype, count, offset).reshape(shape)
        offset += array.nbytes
        arrays.append(array.astype(dtype.newbyteorder("=")))
    if offset != len(payload):
        raise BadTensor(f"found {len(payload)} bytes of arrays, expected {offset}")
    return arrays


def _wire(name: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise BadTensor(f"found dtype {name!r}") from error
    if dtype.kind not in "fiub":
        raise BadTensor(f"found dtype {name!r}, expected numbers")
    return dtype.newbyteorder("<")


def _elements(port: Port) -> int:
    return _count(port.shape)


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
