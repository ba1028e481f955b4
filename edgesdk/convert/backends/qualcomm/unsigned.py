"""Weights that QNN takes as unsigned integers only: the same values in the other type.

LayerNormalization of QNN has no signed 8-bit scale on the HTP (its compiler says no more than
"Failed to add node"). Stored values and zero point move up by 128, so that nothing is rounded anew.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

UNSIGNED: Mapping[str, tuple[int, ...]] = {"LayerNormalization": (1,)}
"""Operator type to the positions of such inputs."""

_SHIFT = 128


def unsigned_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a QDQ model in which these weights are uint8."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    makers = {name: node for node in copy.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in copy.graph.initializer}
    for node in copy.graph.node:
        for position in UNSIGNED.get(node.op_type, ()):
            if position < len(node.input) and node.input[position] in makers:
                _shift(makers[node.input[position]], constants)
    return copy


def _shift(pair: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> None:
    """Make the constant of a DequantizeLinear unsigned, where it is int8."""
    stored = constants.get(pair.input[0])
    if pair.op_type != "DequantizeLinear" or stored is None or len(pair.input) < 3:
        return
    for name in (pair.input[0], pair.input[2]):
        tensor = constants[name]
        if tensor.data_type == onnx.TensorProto.INT8:
            values = numpy_helper.to_array(tensor).astype(np.int16) + _SHIFT
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.uint8), name))
