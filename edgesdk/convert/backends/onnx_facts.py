"""What operators of ONNX do, and what is written in a model about its tensors."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edgesdk.models.formats.onnx import graph_inputs

CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")

MOVES_DATA = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice"}
    | {"Gather", "Identity", "Expand", "Tile", "Pad", "DepthToSpace", "SpaceToDepth"}
    | {"Shape", "Constant", "ConstantOfShape", "Cast", "Dropout"}
)
"""Operators that compute nothing."""


def dtypes(model: onnx.ModelProto) -> dict[str, str]:
    """Tensor to dtype, as numpy spells it, where the model says it."""
    values = (*graph_inputs(model), *model.graph.value_info, *model.graph.output)
    codes = {value.name: value.type.tensor_type.elem_type for value in values}
    codes |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {
        name: np.dtype(helper.tensor_dtype_to_np_dtype(code)).name
        for name, code in codes.items()
        if code
    }
