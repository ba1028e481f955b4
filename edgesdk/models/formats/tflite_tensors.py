"""The tensors of a TFLite file, with constants looked at where they lie."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgesdk.models.entropy import int8_entropy_bits
from edgesdk.models.graph import SMALL_CONSTANT, GraphTensor

Array = npt.NDArray[Any]

DTYPES: Final[dict[int, str]] = {
    code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)
}
"""Code in the file to the name that numpy has for it, where it has one."""
_ITEM_BITS = {"int4": 4, "uint4": 4, "int2": 2, "bfloat16": 16}
_NUMBERS = frozenset(
    {"float64", "float32", "float16", "bool"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


def read_tensor(content: bytes, model: Any, entry: Any) -> GraphTensor:
    """One entry of a subgraph's tensors.

    Raises:
        ValueError, KeyError, IndexError, struct.error: it is broken.
    """
    dtype = DTYPES[entry.Type()]
    shape = _shape(entry)
    data = _data(content, model, entry.Buffer())
    quantization = entry.Quantization()
    numbers = _numbers(data, dtype, shape)
    small = numbers is not None and numbers.size <= SMALL_CONSTANT
    return GraphTensor(
        name=text(entry.Name()),
        shape=shape,
        dtype=dtype,
        constant=data is not None,
        quantized=quantization is not None and quantization.ScaleLength() > 0,
        size_bytes=_size_bytes(shape, dtype) if data is None else data.size,
        values=tuple(numbers.ravel().tolist()) if numbers is not None and small else (),
        entropy_bits=None if numbers is None or small else _entropy_bits(numbers),
    )


def _shape(entry: Any) -> tuple[int, ...]:
    shape, signature = vector(entry.ShapeAsNumpy()), vector(entry.ShapeSignatureAsNumpy())
    if len(signature) != len(shape):
        return shape
    return tuple(
        -1 if wanted < 0 and (position > 0 or size < 1) else size
        for position, (size, wanted) in enumerate(zip(shape, signature, strict=True))
    )


def _data(content: bytes, model: Any, index: int) -> Array | None:
    """The bytes of a buffer where they lie in the file; None of an empty one."""
    if not 0 <= index < model.BuffersLength():
        raise ValueError(f"buffer {index} of {model.BuffersLength()}")
    buffer = model.Buffers(index)
    # Files beyond 2 GB have their data behind the flatbuffer; 0 and 1 stand for "not there".
    outside = buffer.Offset() > 1
    count = int(buffer.Size()) if outside else int(buffer.DataLength())
    if not 0 <= count <= len(content):
        raise ValueError(f"a buffer of {count} bytes")
    if count == 0:
        return None
    if outside:
        return np.frombuffer(content, np.uint8, count, int(buffer.Offset()))
    return np.asarray(buffer.DataAsNumpy())


def _numbers(data: Array | None, dtype: str, shape: tuple[int, ...]) -> Array | None:
    """The values of a constant, None where numpy has no such dtype or the sizes do not agree."""
    if data is None or dtype not in _NUMBERS:
        return None
    if data.size != math.prod(shape) * np.dtype(dtype).itemsize:
        return None
    return np.frombuffer(data, np.dtype(dtype)).reshape(shape)


def _entropy_bits(weights: Array) -> float | None:
    """Of float weights: one scale for each entry of the axis that their operator scales."""
    if weights.dtype.kind != "f" or weights.ndim < 2:
        return None
    return int8_entropy_bits(weights, weights.ndim - 1 if weights.shape[0] == 1 else 0)


def _size_bytes(shape: tuple[int, ...], dtype: str) -> int:
    bits = 8 * np.dtype(dtype).itemsize if dtype in _NUMBERS else _ITEM_BITS.get(dtype, 0)
    return 0 if min(shape, default=1) < 0 else -(-math.prod(shape) * bits // 8)


def vector(array: Any) -> tuple[int, ...]:
    """A vector of integers; generated code returns 0 for one that is not there."""
    return () if isinstance(array, int) else tuple(int(item) for item in array)


def text(raw: bytes | None) -> str:
    """A string; "" for one that is not there."""
    return (raw or b"").decode(errors="replace")
