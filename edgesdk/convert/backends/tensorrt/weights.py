"""Weights as the INT8 values that QuantizeLinear makes of them: a quarter of their bytes.

TensorRT 10 takes them so: "You can specify weights of Q/DQ models using a high-precision data type
or a low-precision quantized type" (developer guide, "Explicit Quantization"); before, a pair over
float weights is what its fusions look for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper


def store_in_int8(model: onnx.ModelProto) -> None:
    """Replace every QuantizeLinear of a constant by its result, bit by bit the same."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in constants:
            values, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
            axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
            stored = numpy_helper.from_array(_quantized(values, scale, axis), node.output[0])
            model.graph.initializer.append(stored)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _quantized(
    values: npt.NDArray[np.float32], scale: npt.NDArray[np.float32], axis: int
) -> npt.NDArray[np.int8]:
    if scale.size > 1:
        shape = [1] * values.ndim
        shape[axis] = scale.size
        scale = scale.reshape(shape)
    return np.clip(np.rint(values / scale.astype(values.dtype)), -128, 127).astype(np.int8)
