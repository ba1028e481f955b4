"""Padding for MAX_POOL_2D, which converters write as PADV2 of the lowest number there is.

Where nothing below zero is padded, zeros do the same: a window that touches the padding also
touches a value. PAD has kernels, and accelerators, that PADV2 has not. Elsewhere PADV2 stays, and
the constant is stored as the lowest number that INT8 has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgesdk.convert.backends.litert import flatbuffer as tflite
from edgesdk.convert.toolchains import Array

_OPS = schema.BuiltinOperator
_ACTIVATIONS = schema.ActivationFunctionType
_FUSED = (_ACTIVATIONS.RELU, _ACTIVATIONS.RELU6)

_NEVER_NEGATIVE = frozenset({"RELU", "RELU6", "RELU_0_TO_1", "LOGISTIC", "SOFTMAX", "ABS", "EXP"})
_KEEPS_SIGN = frozenset({"MAX_POOL_2D", "AVERAGE_POOL_2D", "TRANSPOSE", "RESHAPE", "CONCATENATION"})
"""Operators that make no negative number where they read none."""

_BROADCAST = {"PADV2": (2,), "MINIMUM": (0, 1), "MAXIMUM": (0, 1)}
"""Operators whose constants are stored with the scale of their result, and where those are."""

_LOWEST = -1e30
"""Below it lies what stands for minus infinity."""


def mend_constants(model: Any) -> None:
    """Bring padding and broadcast constants into a form that is quantized correctly.

    The network stays the same.
    """
    for operator in model.subgraphs[0].operators:
        kind = tflite.operator_type(model, operator)
        if kind == "PADV2" and _pools_no_negatives(model, operator):
            _pad_with_zeros(model, operator)
        elif kind in _BROADCAST:
            _match_ranks(model, operator)


def _pools_no_negatives(model: Any, operator: Any) -> bool:
    return _only_pools_values(model, operator) and _is_never_negative(model, operator.inputs[0])


def _only_pools_values(model: Any, operator: Any) -> bool:
    """Only MAX_POOL_2D reads the result, and none of its windows lies in the padding alone."""
    graph = model.subgraphs[0]
    paddings, value = (
        tflite.constant(model, graph.tensors[index]) for index in operator.inputs[1:3]
    )
    (result,) = operator.outputs
    if paddings is None or value is None or result in graph.outputs:
        return False
    readers = [other for other in graph.operators if result in other.inputs]
    return float(value.reshape(-1)[0]) < _LOWEST and all(
        tflite.operator_type(model, reader) == "MAX_POOL_2D"
        and _window_exceeds(reader.builtinOptions, paddings)
        for reader in readers
    )


def _window_exceeds(options: Any, paddings: Array) -> bool:
    window = np.array([1, options.filterHeight, options.filterWidth, 1])
    return (
        options.padding == schema.Padding.VALID
        and paddings.shape == (4, 2)
        and bool(np.all(paddings < window[:, np.newaxis]))
    )


def _is_never_negative(model: Any, index: int) -> bool:
    graph = model.subgraphs[0]
    producers = [operator for operator in graph.operators if index in operator.outputs]
    if len(producers) != 1:
        return False
    (producer,) = producers
    kind = tflite.operator_type(model, producer)
    fused = getattr(producer.builtinOptions, "fusedActivationFunction", _ACTIVATIONS.NONE)
    if fused in _FUSED or kind in _NEVER_NEGATIVE:
        return True
    values = producer.inputs if kind == "CONCATENATION" else producer.inputs[:1]
    return kind in _KEEPS_SIGN and all(_is_never_negative(model, value) for value in values)


def _pad_with_zeros(model: Any, operator: Any) -> None:
    model.operatorCodes.append(schema.OperatorCodeT(version=1))
    tflite.set_operator(model.operatorCodes[-1], _OPS.PAD)
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs = list(operator.inputs[:2])
    operator.builtinOptionsType = schema.BuiltinOptions.PadOptions
    operator.builtinOptions = schema.PadOptionsT()


def _match_ranks(model: Any, operator: Any) -> None:
    """Give constants as many dimensions as the result: the quantizer cannot do with fewer."""
    graph = model.subgraphs[0]
    rank = len(tflite.shape(graph.tensors[operator.outputs[0]]))
    positions = _BROADCAST[tflite.operator_type(model, operator)]
    inputs = list(operator.inputs)
    for position in positions:
        tensor = graph.tensors[inputs[position]]
        value = tflite.constant(model, tensor)
        if value is not None and value.ndim < rank:
            # One of its own: shared, it would be stored with the scale of one of its readers.
            copy = schema.TensorT(
                shape=[1] * (rank - value.ndim) + list(value.shape),
                type=tensor.type,
                buffer=tflite.add_constant(model, value),
                name=tensor.name,
            )
            graph.tensors.append(copy)
            inputs[position] = len(graph.tensors) - 1
    operator.inputs = inputs
