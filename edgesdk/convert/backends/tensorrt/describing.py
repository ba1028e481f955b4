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

import onnx

from edgesdk.convert.backends.onnx_facts import CONVERSIONS, MOVES_DATA, dtypes
from edgesdk.convert.backends.onnx_toolkit import inferred
from edgesdk.convert.backends.tensorrt.wiring import (
    FUSED_ACTIVATIONS,
    POOLS,
    WEIGHTED,
    Wiring,
    wiring,
)
from edgesdk.convert.keeping import KEPT
from edgesdk.values.artifact import OperatorPrecision

NOT_BETWEEN_PAIRS = "it is not fused with Q/DQ operators, so TensorRT computes it in float"
IN_HALF = "the recipe asks for half precision"


def operators(model: onnx.ModelProto) -> tuple[OperatorPrecision, ...]:
    """Every operator of the file, in graph order."""
    view, known = wiring(model), dtypes(inferred(model))
    fused: set[str] = set()
    found = []
    for index, node in enumerate(model.graph.node):
        in_int8 = _in_int8(node, view, fused)
        if in_int8 and len(view.readers.get(node.output[0], ())) == 1:
            fused.add(node.output[0])
        precision, reason = ("int8", "") if in_int8 else _in_float(node, known)
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


def _in_float(node: onnx.NodeProto, known: Mapping[str, str]) -> tuple[str, str]:
    if node.op_type in (*MOVES_DATA, *CONVERSIONS):
        return "-", ""
    found = [known[name] for name in (*node.output, *node.input) if name in known]
    floats = [dtype for dtype in found if dtype.startswith("float")]
    if not floats and found:
        return found[-1], f"it computes on {found[-1]}, which is not quantized"
    dtype = floats[0] if floats else "float32"
    if dtype == "float16":
        return dtype, IN_HALF
    return dtype, KEPT if node.doc_string == KEPT else NOT_BETWEEN_PAIRS
