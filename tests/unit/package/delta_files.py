"""Small quantized networks as files, before and after an update, for the tests of deltas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import helper, numpy_helper

from tests.unit.convert.litert_networks import Network

Array = npt.NDArray[Any]
Weights = tuple[npt.NDArray[np.float64], ...]

SHAPES = ((32, 27), (96, 16), (96, 9), (24, 96), (144, 24), (144, 9), (160, 240), (10, 160))
"""Rows, one for each output channel, of the layers of a small mobile network."""


def weights(seed: int = 0, shapes: Sequence[tuple[int, int]] = SHAPES) -> Weights:
    """Random weights whose channels differ in size, as trained ones do."""
    random = np.random.default_rng(seed)
    return tuple(
        random.normal(size=shape) * np.exp(random.normal(0, 0.3, (shape[0], 1))) for shape in shapes
    )


def noisy(before: Weights, part: float, seed: int = 1) -> Weights:
    """A fine-tuned network: noise on every weight, as part of its channel's standard deviation."""
    random = np.random.default_rng(seed)
    return tuple(
        w + random.normal(size=w.shape) * w.std(axis=1, keepdims=True) * part for w in before
    )


def quantized(w: Array, clip: float = 1.0) -> tuple[Array, Array]:
    """INT8 rows and their scales, symmetric, one a row."""
    scales = (np.abs(w).max(axis=1) * clip / 127).astype(np.float32)
    return np.clip(np.rint(w / scales[:, None]), -127, 127).astype(np.int8), scales


@dataclass(frozen=True)
class Layer:
    """What one layer of a file holds.

    Args:
        q: (channels, columns) int8.
        bias: int32, quantized by the weights' scales times `input_scale`.
    """

    name: str
    q: Array
    scales: Array
    bias: Array
    input_scale: np.float32


def layers(net: Weights, *, clip: float = 1.0, seed: int = 0) -> tuple[Layer, ...]:
    """The quantized layers of a network; `seed` is the activations'."""
    random = np.random.default_rng(seed)
    found = []
    for place, w in enumerate(net):
        q, scales = quantized(w, clip)
        scale = np.float32(random.uniform(0.01, 0.1))
        bias = np.rint(w.sum(axis=1) / (scales * scale)).astype(np.int32)
        found.append(Layer(f"layer{place}", q, scales, bias, scale))
    return tuple(found)


def onnx_qdq(net: Sequence[Layer]) -> bytes:
    """Every layer's weights and biases behind DequantizeLinear."""
    nodes, constants = [], []
    for layer in net:
        constants += [
            numpy_helper.from_array(np.asarray(values), f"{layer.name}/{part}")
            for part, values in {
                "weight": layer.q.reshape(*layer.q.shape, 1, 1),
                "scale": layer.scales,
                "zero": np.zeros(len(layer.q), np.int8),
                "in_scale": layer.input_scale,
                "in_zero": np.int8(3),
                "bias": layer.bias,
                "bias_scale": layer.scales * layer.input_scale,
                "bias_zero": np.zeros(len(layer.q), np.int32),
            }.items()
        ]
        for what, scale in (("weight", "scale"), ("bias", "bias_scale")):
            zero = "zero" if what == "weight" else "bias_zero"
            inputs = [f"{layer.name}/{part}" for part in (what, scale, zero)]
            outputs = [f"{layer.name}/{what}_float"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, outputs, axis=0))
    return _onnx(nodes, constants)


def onnx_qoperator(net: Sequence[Layer]) -> bytes:
    """Every layer as a QLinearConv, whose bias has no scale of its own in the file."""
    nodes, constants = [], []
    for layer in net:
        parts = {
            "in_scale": layer.input_scale,
            "in_zero": np.uint8(7),
            "weight": layer.q.reshape(*layer.q.shape, 1, 1),
            "scale": layer.scales,
            "zero": np.zeros(len(layer.q), np.int8),
            "bias": layer.bias,
        }
        for part, values in parts.items():
            constants.append(numpy_helper.from_array(np.asarray(values), f"{layer.name}/{part}"))
        names = [f"{layer.name}/{part}" for part in parts]
        inputs = ["x", *names[:2], *names[2:5], *names[:2], names[5]]
        nodes.append(helper.make_node("QLinearConv", inputs, [f"{layer.name}/y"], layer.name))
    return _onnx(nodes, constants)


def onnx_float_biases(net: Sequence[Layer], biases: Sequence[Array]) -> bytes:
    """Weights and inputs behind DequantizeLinear, biases in float, as TensorRT wants them."""
    nodes, constants = [], []
    for layer, bias in zip(net, biases, strict=True):
        parts = {
            "weight": layer.q.reshape(*layer.q.shape, 1, 1),
            "scale": layer.scales,
            "zero": np.zeros(len(layer.q), np.int8),
            "in_scale": layer.input_scale,
            "in_zero": np.int8(0),
            "bias": bias.astype(np.float32),
        }
        for part, values in parts.items():
            constants.append(numpy_helper.from_array(np.asarray(values), f"{layer.name}/{part}"))
        inputs = [f"{layer.name}/{part}" for part in ("weight", "scale", "zero")]
        outputs = [f"{layer.name}/weight_float"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, outputs, axis=0))
    return _onnx(nodes, constants)


def _onnx(nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto]) -> bytes:
    out = helper.make_tensor_value_info(nodes[0].output[0], onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", [], [out], constants)
    return helper.make_model(graph).SerializeToString(deterministic=True)


def tflite(path: Path, net: Sequence[Layer], depthwise: bool = False) -> bytes:
    """Every layer as a CONV_2D, or with its channels last as a DEPTHWISE_CONV_2D."""
    file = Network()
    x = file.input("x", (1, 4, 4, 4), "int8")
    for layer in net:
        q = layer.q.T[None, :, None] if depthwise else layer.q[:, None, None]
        weight = file.constant(f"{layer.name}/weight", np.ascontiguousarray(q))
        bias = file.constant(f"{layer.name}/bias", layer.bias)
        zeros = [0] * len(layer.q)
        for index, scales, axis in (
            (weight, layer.scales, 3 if depthwise else 0),
            (bias, layer.scales * layer.input_scale, 0),
        ):
            file.graph.tensors[index].quantization = schema.QuantizationParametersT(
                scale=scales, zeroPoint=zeros, quantizedDimension=axis
            )
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        y = file.operator(kind, [x, weight, bias], f"{layer.name}/y", (1, 4, 4, len(layer.q)))
        file.graph.tensors[y].quantization = schema.QuantizationParametersT(
            scale=[float(layer.input_scale)], zeroPoint=[-3]
        )
    return file.write(path, y).read_bytes()


def renamed(net: Sequence[Layer], name: Callable[[int], str]) -> tuple[Layer, ...]:
    """The same layers under other names."""
    return tuple(replace(layer, name=name(place)) for place, layer in enumerate(net))
