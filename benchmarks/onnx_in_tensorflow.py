"""A plain convolutional ONNX network as TensorFlow sees it, so that TFLiteConverter can have it.

For `quality.py`, and for the operators of its networks only: whatever else there is, is refused.
Pictures are NHWC here and NCHW there; the numbers are the same otherwise.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import onnx
import tensorflow as tf
from onnx import helper, numpy_helper

Array = Any


class Untranslated(Exception):
    """The network has an operator, or a form of one, that is not translated here."""


def to_tflite(path: Path, samples: Iterable[Array] | None) -> bytes:
    """The network as TFLiteConverter writes it, with float inputs and outputs.

    Args:
        samples: NCHW inputs to calibrate on; None for the float model.
    """
    model = onnx.load(str(path))
    (source,) = model.graph.input
    shape = [dim.dim_value for dim in source.type.tensor_type.shape.dim]
    if len(shape) != 4:
        raise Untranslated(f"an input of shape {shape}")
    signature = [tf.TensorSpec(_moved(shape), tf.float32, name=source.name)]
    module = tf.Module()
    module.run = tf.function(lambda x: _run(model.graph, x), input_signature=signature)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=module.run.get_concrete_function())
        return _converted(tf.lite.TFLiteConverter.from_saved_model(folder), samples)


def _converted(converter: Any, samples: Iterable[Array] | None) -> bytes:
    if samples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([to_nhwc(each)] for each in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def to_nhwc(array: Array) -> Array:
    """A picture with its channels last."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def _moved(shape: list[int]) -> list[int]:
    return [shape[0], *shape[2:], shape[1]]


def _run(graph: onnx.GraphProto, source: Any) -> Any:
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    tensors: dict[str, Any] = {graph.input[0].name: source}
    for node in graph.node:
        if node.op_type not in _OPERATORS:
            raise Untranslated(f"the operator {node.op_type}")
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        inputs = [tensors.get(name, values.get(name)) for name in node.input]
        tensors[node.output[0]] = _OPERATORS[node.op_type](inputs, attributes)
    return tensors[graph.output[0].name]


def _conv(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    x, weights, bias = inputs
    group, pads = attributes.get("group", 1), attributes.get("pads", [0] * 4)
    x = tf.pad(x, [[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]]) if any(pads) else x
    strides = attributes.get("strides", [1, 1])
    if group == 1:
        y = tf.nn.conv2d(x, weights.transpose(2, 3, 1, 0), strides, "VALID")
    elif group == weights.shape[0]:
        y = tf.nn.depthwise_conv2d(x, weights.transpose(2, 3, 0, 1), [1, *strides, 1], "VALID")
    else:
        raise Untranslated(f"a convolution in {group} groups")
    return y + bias


def _max_pool(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    if any(attributes.get("pads", [0])):
        raise Untranslated("max pooling with padding")
    return tf.nn.max_pool2d(
        inputs[0], attributes["kernel_shape"], attributes.get("strides", [1, 1]), "VALID"
    )


def _clip(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    x, low, high = inputs
    if (float(low), float(high)) != (0.0, 6.0):
        raise Untranslated(f"clipping to {low} and {high}")
    return tf.nn.relu6(x)


def _mean(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    axes = sorted(int(axis) for axis in (inputs[1] if len(inputs) > 1 else (2, 3)))
    if axes not in ([2, 3], [-2, -1]):
        raise Untranslated(f"a mean over {axes}")
    return tf.reduce_mean(inputs[0], [1, 2])


def _flatten(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    x = inputs[0]
    if len(x.shape) == 4:
        raise Untranslated("flattening of a picture")
    return x


def _gemm(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    x, weights, bias = inputs
    return tf.matmul(x, weights, transpose_b=bool(attributes.get("transB"))) + bias


_OPERATORS: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {
    "Conv": _conv,
    "Relu": lambda inputs, _: tf.nn.relu(inputs[0]),
    "Clip": _clip,
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "MaxPool": _max_pool,
    "ReduceMean": _mean,
    "GlobalAveragePool": _mean,
    "Flatten": _flatten,
    "Reshape": _flatten,
    "Gemm": _gemm,
}
