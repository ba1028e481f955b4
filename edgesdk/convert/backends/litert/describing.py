"""What is in a TFLite file: the real precision of each operator, sizes, memory.

Everything is read from the dtypes of the tensors in the file, nothing from what was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgesdk.convert.backends.litert import flatbuffer as tflite
from edgesdk.convert.backends.litert.detours import has_int8_form
from edgesdk.convert.backends.litert.quantizing import KEPT_FLOAT
from edgesdk.convert.footprint import Step, alive_at_peak
from edgesdk.convert.keeping import KEPT
from edgesdk.values.artifact import OperatorPrecision, TensorSize

CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})

_MOVES_DATA = frozenset(
    {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CONCATENATION", "PACK", "UNPACK", "SPLIT"}
    | {"SPLIT_V", "SLICE", "STRIDED_SLICE", "GATHER", "GATHER_ND", "PAD", "PADV2", "MIRROR_PAD"}
    | {"TILE", "BROADCAST_TO", "REVERSE_V2", "REVERSE_SEQUENCE", "SPACE_TO_DEPTH", "CAST", "SHAPE"}
    | {"DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "EMBEDDING_LOOKUP", "FILL"}
    | {"DYNAMIC_UPDATE_SLICE", "SELECT", "SELECT_V2", "RANK", "BROADCAST_ARGS"}
)
_PRECISIONS = ("float64", "float32", "float16", "bfloat16", "int16", "uint8", "int8")
"""The first of these among an operator's tensors is what it computes in."""


def operators(model: Any) -> tuple[OperatorPrecision, ...]:
    """Every operator with its real precision, in graph order."""
    return tuple(
        _described(model, index, operator)
        for index, operator in enumerate(model.subgraphs[0].operators)
    )


def _described(model: Any, index: int, operator: Any) -> OperatorPrecision:
    operator_type = tflite.operator_type(model, operator)
    name = tflite.operator_name(model.subgraphs[0], operator)
    if operator_type in CONVERSIONS | _MOVES_DATA:
        return OperatorPrecision(index, operator_type, name, "-")
    precision = _precision(model, operator)
    reduced = precision == "int8" or (precision == "int16" and _is_quantized(model, operator))
    reason = "" if reduced else _reason(model, operator, name, precision)
    return OperatorPrecision(index, operator_type, name, precision, reason)


def _precision(model: Any, operator: Any) -> str:
    tensors = model.subgraphs[0].tensors
    dtypes = [tflite.dtype(tensors[i]) for i in (*operator.inputs, *operator.outputs) if i >= 0]
    first = dtypes[-len(operator.outputs)] if len(operator.outputs) else "-"
    return next((precision for precision in _PRECISIONS if precision in dtypes), first)


def _reason(model: Any, operator: Any, name: str, precision: str) -> str:
    kept = (tflite.metadata(model, KEPT_FLOAT) or b"").decode().split("\n")
    if name in kept:
        return KEPT
    if not precision.startswith("float"):
        return f"it computes on {precision}, which is not quantized"
    if any(tflite.operator_type(model, each) == "DEQUANTIZE" for each in _makers(model, operator)):
        return "its weights are stored in float16 and widened"
    if not has_int8_form(tflite.operator_code(model, operator)):
        return f"{tflite.operator_type(model, operator)} has no INT8 form in this toolchain"
    return "the quantizer left it in float"


def _is_quantized(model: Any, operator: Any) -> bool:
    tensors = model.subgraphs[0].tensors
    return any(tflite.scales(tensors[index]) for index in operator.outputs)


def _makers(model: Any, operator: Any) -> Iterator[Any]:
    """The operators that make its float inputs out of stored float16."""
    graph = model.subgraphs[0]
    for maker in graph.operators:
        stored = [graph.tensors[index] for index in maker.inputs if index >= 0]
        widens = any(tflite.dtype(tensor) == "float16" for tensor in stored)
        if widens and set(maker.outputs) & set(operator.inputs):
            yield maker


def tensor_sizes(model: Any) -> tuple[TensorSize, ...]:
    """Constants and activations, largest first. A constant that several tensors share counts once.

    Activations are those between operators; without the runtime's own scratch memory.
    """
    sizes = (*_constants(model), *_activations(model))
    return tuple(sorted(sizes, key=lambda size: (-size.size_bytes, size.name)))


def _constants(model: Any) -> Iterator[TensorSize]:
    counted: set[int] = set()
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None and tensor.buffer not in counted:
            counted.add(tensor.buffer)
            yield _size(tensor, "constant", len(data))


def _activations(model: Any) -> Iterator[TensorSize]:
    tensors = model.subgraphs[0].tensors
    sizes_bytes = {
        str(index): math.prod(tflite.shape(tensor)) * np.dtype(tflite.dtype(tensor)).itemsize
        for index, tensor in enumerate(tensors)
        if not tflite.is_constant(model, tensor)
    }
    alive = _alive_at_peak(model, sizes_bytes)
    for index, size_bytes in sizes_bytes.items():
        size = _size(tensors[int(index)], "activation", size_bytes)
        yield replace(size, at_peak=index in alive)


def _size(tensor: Any, kind: Any, size_bytes: int) -> TensorSize:
    return TensorSize(
        name=tflite.tensor_name(tensor),
        kind=kind,
        dtype=tflite.dtype(tensor),
        shape=tflite.shape(tensor),
        size_bytes=size_bytes,
    )


def _alive_at_peak(model: Any, sizes_bytes: Mapping[str, int]) -> frozenset[str]:
    """Tensors by their index; names are not always distinct."""
    graph = model.subgraphs[0]

    def named(indices: Any) -> tuple[str, ...]:
        return tuple(str(index) for index in indices if index >= 0)

    return alive_at_peak(
        [Step(named(operator.inputs), named(operator.outputs)) for operator in graph.operators],
        sizes_bytes,
        named(graph.inputs),
        named(graph.outputs),
    )
