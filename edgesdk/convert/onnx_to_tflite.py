"""What ONNX operators become in TFLite, as far as one operator becomes one. Pure, a forecast only.

Versions are the converter's to choose and layouts turn from NCHW to NHWC: what depends on either is
known only after the conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from edgesdk.models.graph import Graph, GraphOperator

VANISHES: Final = frozenset(
    {"Identity", "Dropout", "Constant", "QuantizeLinear", "DequantizeLinear", "BatchNormalization"}
)
"""No operator is left of these: scales of tensors, and factors folded into a convolution."""

_TYPES: Final[Mapping[str, str]] = {
    "Abs": "ABS",
    "Add": "ADD",
    "ArgMax": "ARG_MAX",
    "ArgMin": "ARG_MIN",
    "AveragePool": "AVERAGE_POOL_2D",
    "Cast": "CAST",
    "Concat": "CONCATENATION",
    "ConvTranspose": "TRANSPOSE_CONV",
    "DepthToSpace": "DEPTH_TO_SPACE",
    "Div": "DIV",
    "Elu": "ELU",
    "Exp": "EXP",
    "Flatten": "RESHAPE",
    "Gather": "GATHER",
    "Gemm": "FULLY_CONNECTED",
    "GlobalAveragePool": "MEAN",
    "GlobalMaxPool": "REDUCE_MAX",
    "HardSwish": "HARD_SWISH",
    "LeakyRelu": "LEAKY_RELU",
    "Log": "LOG",
    "LogSoftmax": "LOG_SOFTMAX",
    "LpNormalization": "L2_NORMALIZATION",
    "MatMul": "FULLY_CONNECTED",
    "Max": "MAXIMUM",
    "MaxPool": "MAX_POOL_2D",
    "Min": "MINIMUM",
    "Mul": "MUL",
    "Neg": "NEG",
    "NonMaxSuppression": "NON_MAX_SUPPRESSION_V4",
    "PRelu": "PRELU",
    "Pad": "PAD",
    "Pow": "POW",
    "ReduceMax": "REDUCE_MAX",
    "ReduceMean": "MEAN",
    "ReduceMin": "REDUCE_MIN",
    "ReduceSum": "SUM",
    "Relu": "RELU",
    "Reshape": "RESHAPE",
    "Shape": "SHAPE",
    "Sigmoid": "LOGISTIC",
    "Slice": "STRIDED_SLICE",
    "Softmax": "SOFTMAX",
    "SpaceToDepth": "SPACE_TO_DEPTH",
    "Split": "SPLIT",
    "Sqrt": "SQRT",
    "Squeeze": "SQUEEZE",
    "Sub": "SUB",
    "Tanh": "TANH",
    "Tile": "TILE",
    "TopK": "TOPK_V2",
    "Transpose": "TRANSPOSE",
    "Unsqueeze": "EXPAND_DIMS",
}
_RESIZES: Final = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "linear": "RESIZE_BILINEAR"}
_CLIPS: Final = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, None): "RELU"}
_IMAGE_RANK = 4


def as_tflite(operator: GraphOperator, graph: Graph) -> GraphOperator | None:
    """The operator under its TFLite type, version 0; None where there is no single counterpart."""
    kind = None if operator.domain else _kind(operator, graph)
    return None if kind is None else replace(operator, type=kind, version=0)


def _kind(operator: GraphOperator, graph: Graph) -> str | None:
    if operator.type == "Conv":
        return _convolution(operator, graph)
    if operator.type in ("Resize", "Upsample"):
        return _RESIZES.get(str(operator.attributes.get("mode", "nearest")))
    if operator.type == "Clip":
        low, high = _bound(operator, graph, 1, "min"), _bound(operator, graph, 2, "max")
        return None if low is None else _CLIPS.get((low, high))
    if operator.type == "MatMul" and not _is_constant(operator, graph, 1):
        return "BATCH_MATMUL"
    return _TYPES.get(operator.type)


def _convolution(operator: GraphOperator, graph: Graph) -> str | None:
    shapes = [graph.tensors[index].shape for index in operator.inputs[:2] if index >= 0]
    if any(shape is not None and len(shape) != _IMAGE_RANK for shape in shapes):
        return None
    groups = operator.attributes.get("group", 1)
    if groups == 1:
        return "CONV_2D"
    source = shapes[0] if shapes else None
    return "DEPTHWISE_CONV_2D" if source is not None and source[1] == groups else None


def _bound(operator: GraphOperator, graph: Graph, position: int, name: str) -> float | None:
    if position < len(operator.inputs) and operator.inputs[position] >= 0:
        values = graph.tensors[operator.inputs[position]].values
        return values[0] if values else None
    value = operator.attributes.get(name)
    return float(value) if isinstance(value, int | float) else None


def _is_constant(operator: GraphOperator, graph: Graph, position: int) -> bool:
    given = position < len(operator.inputs) and operator.inputs[position] >= 0
    return given and graph.tensors[operator.inputs[position]].constant
