"""TFLite operators that have an integer form in the conversion; all others stay in float.

Data only, so that a forecast needs no toolkit. It is what `backends.litert.detours.has_int8_form`
says, and a test holds the two together.
"""

from __future__ import annotations

from typing import Final

INT8_FORMS: Final = frozenset(
    {"ABS", "ADD", "ARG_MAX", "ARG_MIN", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BATCH_TO_SPACE_ND"}
    | {"BROADCAST_TO", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DIV"}
    | {"DYNAMIC_UPDATE_SLICE", "ELU", "EQUAL", "EXP", "EXPAND_DIMS", "FULLY_CONNECTED", "GATHER"}
    | {"GATHER_ND", "GELU", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "L2_NORMALIZATION"}
    | {"LEAKY_RELU", "LESS", "LESS_EQUAL", "LOG", "LOGISTIC", "LOG_SOFTMAX", "MAXIMUM"}
    | {"MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "NOT_EQUAL", "PACK", "PAD", "PADV2"}
    | {"PRELU", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1"}
    | {"RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "RSQRT", "SELECT"}
    | {"SELECT_V2", "SLICE", "SOFTMAX", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V"}
    | {"SQRT", "SQUARED_DIFFERENCE", "SQUEEZE", "STABLEHLO_COMPOSITE", "STRIDED_SLICE", "SUB"}
    | {"SUM", "TANH", "TILE", "TOPK_V2", "TRANSPOSE", "TRANSPOSE_CONV", "UNPACK"}
)
