"""What TensorRT computes in INT8 and in float, read from the pairs in the file.

The rule is that of explicit quantization (TensorRT developer guide, "Working with Quantized Types",
"Explicit Quantization"): an operator is computed in INT8 exactly where it is fused with the
DequantizeLinear of its inputs. Weighted operators are, with Relu, Clip and a residual Add after
them; averages, maxima and Adds where a QuantizeLinear follows, too. Everything else is computed in
the float type that the file gives it. No engine was looked at: what the builder really fuses is
known on the device only.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from edgesdk.convert.backends.tensorrt.wiring import (
    CONVERSIONS,
    FUSED_ACTIVATIONS,
    POOLS,
    WEIGHTED,
    Wiring,
    wiring,
)
from edgesdk.convert.keeping import KEPT
from edgesdk.models.formats.onnx import graph_inputs
from edgesdk.values.artifact import OperatorPrecision

NOT_BETWEEN_PAIRS = "it is not fused with Q/DQ operators, so TensorRT computes it in float"
IN_HALF = "the recipe asks for half precision"

_MOVES_DATA = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice"}
    | {"Gather", "Identity", "Expand", "Tile", "Pad", "DepthToSpace", "SpaceToDepth", "Shape"}
    | {"Constant", "ConstantOfShape", "Cast", "Dropout", *CONVERSIONS}
)


def operators(model: onnx.ModelProto) -> tuple[OperatorPrecision, ...]:
    """Every operator of the file, in graph order."""
    view, dtypes = wiring(model), _dtypes(model)
    fused: set[str] = set()
    found = []
    for index, node in enumerate(model.graph.node):
        in_int8 = _in_int8(node, view, fused)
        if in_int8 and len(view.readers.get(node.output[0], ())) == 1:
            fused.add(node.output[0])
        precision, reason = ("int8", "") if in_int8 else _in_float(node, dtypes)
        found.append(OperatorPrecision(index, node.op_type, node.name, precision, reason))
    return tuple(found)


def _in_int8(node: onnx.NodeProto, view: Wiring, fused: set[str]) -> bool:
    """`fused`: results of INT8 operators that one operator reads."""
    if node.op_type in WEIGHTED:
        return all(view.is_dequantized(name) for name in node.input[:2])
    if node.op_type in FUSED_ACTIVATIONS:
        return node.input[0] in fused
    if node.op_type == "Add" and any(name in fused for name in node.input):
        return all(name in fused or view.is_dequantized(name) for name in node.input)
    if node.op_type in (*POOLS, "MaxPool", "Add"):
        quantized = view.feeds_only(node.output[0], ("QuantizeLinear",))
        dequantized = all(map(view.is_dequantized, node.input))
        return quantized and (dequantized or (node.op_type == "MaxPool" and node.input[0] in fused))
    return False


def _in_float(node: onnx.NodeProto, dtypes: Mapping[str, str]) -> tuple[str, str]:
    if node.op_type in _MOVES_DATA:
        return "-", ""
    known = [dtypes[name] for name in (*node.output, *node.input) if name in dtypes]
    floats = [dtype for dtype in known if dtype.startswith("float")]
    if not floats and known:
        return known[-1], f"it computes on {known[-1]}, which is not quantized"
    dtype = floats[0] if floats else "float32"
    if dtype == "float16":
        return dtype, IN_HALF
    return dtype, KEPT if node.doc_string == KEPT else NOT_BETWEEN_PAIRS


def _dtypes(model: onnx.ModelProto) -> dict[str, str]:
    typed = onnx.shape_inference.infer_shapes(model)
    values = (*graph_inputs(typed), *typed.graph.value_info, *typed.graph.output)
    codes = {value.name: value.type.tensor_type.elem_type for value in values}
    codes |= {tensor.name: tensor.data_type for tensor in typed.graph.initializer}
    return {
        name: np.dtype(helper.tensor_dtype_to_np_dtype(code)).name
        for name, code in codes.items()
        if code
    }
