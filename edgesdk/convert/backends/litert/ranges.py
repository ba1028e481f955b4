"""The ranges that quantization parameters are made from, where the calibrated ones do not do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesdk.calibration.types import Range
from edgesdk.convert.backends.litert import flatbuffer as tflite
from edgesdk.convert.toolchains import Array
from edgesdk.targets.types import Scheme

_LARGEST_BIAS = 2**29
"""A quarter of what int32 holds: an input's final scale may still be a little below ours."""

_LOG_SOFTMAX = Range(-255 / 16, 0.0)
"""Gives scale 1/16 and zero point 127, the only ones its kernel has."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where an operator has its input, weights and bias; the axis of the weights that is output."""

    values: int
    weights: int
    bias: int
    channel_axis: int


_BIASED = {
    "CONV_2D": _Layout(0, 1, 2, channel_axis=0),
    "DEPTHWISE_CONV_2D": _Layout(0, 1, 2, channel_axis=3),
    "FULLY_CONNECTED": _Layout(0, 1, 2, channel_axis=0),
    "TRANSPOSE_CONV": _Layout(2, 1, 3, channel_axis=0),
}


def statistics(model: Any, ranges: Mapping[str, Range], scheme: Scheme) -> dict[str, Any]:
    """Ranges in the quantizer's form: arrays of as many dimensions as the tensor has."""
    ranges = {**ranges, **dict.fromkeys(_log_softmax_outputs(model), _LOG_SOFTMAX)}
    tensors = {tflite.tensor_name(tensor): tensor for tensor in model.subgraphs[0].tensors}
    found_ranges = {
        name: _bounds(np.full(rank, found.low), np.full(rank, found.high))
        for name, found in ranges.items()
        for rank in [(1,) * len(tflite.shape(tensors[name]))]
    }
    return found_ranges | _widened_weights(model, ranges, scheme)


def _log_softmax_outputs(model: Any) -> list[str]:
    graph = model.subgraphs[0]
    return [
        tflite.operator_name(graph, operator)
        for operator in graph.operators
        if tflite.operator_type(model, operator) == "LOG_SOFTMAX"
    ]


def _bounds(low: Array, high: Array) -> dict[str, Array]:
    return {"min": low.astype(np.float32), "max": high.astype(np.float32)}


def _widened_weights(
    model: Any, ranges: Mapping[str, Range], scheme: Scheme
) -> dict[str, dict[str, Array]]:
    """Ranges for weights so small that their bias would not fit.

    A bias is stored in steps of (input scale * weight scale). Where a channel's weights are all but
    zero, as batch normalization often leaves them, those steps are so fine that the bias overflows
    int32 and even changes its sign.
    """
    per_channel = scheme.weights.granularity == "per-channel"
    widened = {}
    for axis, values, weights, bias in _biased(model):
        found = ranges.get(tflite.tensor_name(values))
        stored, offsets = tflite.constant(model, weights), tflite.constant(model, bias)
        if found is not None and stored is not None and offsets is not None:
            bound = _weight_bound(stored, axis if per_channel else None)
            needed = _bound_for_bias(offsets, found, scheme, bound.shape)
            if np.any(needed > bound):
                bound = np.maximum(bound, needed)
                widened[tflite.tensor_name(weights)] = _bounds(-bound, bound)
    return widened


def _biased(model: Any) -> Iterator[tuple[int, Any, Any, Any]]:
    """Channel axis of the weights, input, weights and bias of every operator that has a bias."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        layout = _BIASED.get(tflite.operator_type(model, operator))
        if layout is not None and len(operator.inputs) > layout.bias:
            places = (layout.values, layout.weights, layout.bias)
            values, weights, bias = (operator.inputs[place] for place in places)
            if bias >= 0:
                tensors = graph.tensors
                yield layout.channel_axis, tensors[values], tensors[weights], tensors[bias]


def _weight_bound(weights: Array, axis: int | None) -> Array:
    others = tuple(index for index in range(weights.ndim) if index != axis)
    return np.asarray(np.abs(weights).max(axis=others, keepdims=True), np.float64)


def _bound_for_bias(bias: Array, found: Range, scheme: Scheme, shape: tuple[int, ...]) -> Array:
    """The largest weight that gives a scale coarse enough for the bias, in the bounds' shape."""
    if scheme.activations.symmetric:
        input_scale = max(abs(found.low), abs(found.high)) / 127
    else:
        input_scale = (max(found.high, 0.0) - min(found.low, 0.0)) / 255
    offsets = np.abs(bias.astype(np.float64))
    if offsets.size != int(np.prod(shape)):
        offsets = np.full(1, offsets.max(initial=0.0))
    return np.asarray(127 * offsets.reshape(shape) / (max(input_scale, 1e-11) * _LARGEST_BIAS))
