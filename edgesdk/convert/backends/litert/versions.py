"""Which version of each TFLite operator a graph uses, and the oldest runtime that knows it.

Facts, not code, from TensorFlow's versioning tables as of TensorFlow 2.23 (Apache-2.0,
<https://github.com/tensorflow/tensorflow>, tensorflow/compiler/mlir/lite/tools/versioning/):
`op_version.cc` says which version an operator needs for its dtypes, ranks and options,
`runtime_version.cc` when that version was released. Left out are sub-byte types and the hybrid
kernels of recurrent layers, which no conversion of this project produces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Use:
    """One operator as it stands in a graph.

    Args:
        type: e.g. "CONV_2D".
        inputs: dtype of each input, "" for one left out.
        outputs: dtype of each output.
        ranks: number of dimensions of each input.
        options: the operator's options that versions depend on; absent ones are at their default.
        grouped: a convolution whose filters see only some of the input's channels.
        weights_per_channel: its second input is quantized per channel.
        rescale: scale of input 0 times scale of input 1 by scale of the output; 0 in float.
        broadcasts: its first two inputs differ in shape.
    """

    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ranks: tuple[int, ...]
    options: Mapping[str, int]
    grouped: bool = False
    weights_per_channel: bool = False
    rescale: float = 0.0
    broadcasts: bool = False

    @property
    def is_int8(self) -> bool:
        """Input 0, input 1 and output 0 are int8."""
        return self.inputs[:2] == ("int8", "int8") and self.outputs[0] == "int8"

    @property
    def is_int16(self) -> bool:
        """Input 0 and output 0 are int16."""
        return self.inputs[:1] == ("int16",) and self.outputs[0] == "int16"

    @property
    def is_w8a16(self) -> bool:
        """Int16 activations, int8 weights."""
        return self.is_int16 and self.inputs[1:2] == ("int8",)

    @property
    def is_quantized(self) -> bool:
        """Input 0, input 1 and the output have one scale each."""
        return self.rescale != 0.0

    @property
    def is_hybrid(self) -> bool:
        """Float activations, int8 weights."""
        return self.inputs[:2] == ("float32", "int8") and self.outputs[0] == "float32"


Rule = Callable[[Use], bool]


def _input(index: int, *dtypes: str) -> Rule:
    return lambda use: len(use.inputs) > index and use.inputs[index] in dtypes


def _output(*dtypes: str) -> Rule:
    return lambda use: use.outputs[0] in dtypes


def _edge(*dtypes: str) -> Rule:
    return lambda use: use.inputs[0] in dtypes or use.outputs[0] in dtypes


def _option(*names: str) -> Rule:
    return lambda use: any(use.options.get(name) for name in names)


def _rank_above(rank: int) -> Rule:
    return lambda use: max(use.ranks[:1], default=0) > rank


def _wide_broadcast(use: Use) -> bool:
    return use.broadcasts and max(use.ranks, default=0) > 4


def _dilated(use: Use) -> bool:
    factors = ("dilationWFactor", "dilationHFactor")
    return any(use.options.get(name, 1) != 1 for name in factors)


def _wide_bias(use: Use) -> bool:
    return use.is_w8a16 and bool(use.options.get("quantizedBiasType"))


def _free_int16(use: Use) -> bool:
    """Int16 whose scales need not be powers of two."""
    return use.is_int16 and not use.options.get("potScaleInt16", 1)


def _int16(use: Use) -> bool:
    return use.is_int16


_INT8 = _input(0, "int8")
_INT16_INPUT = _input(0, "int16")
_INT8_OR_UINT8 = _input(0, "int8", "uint8")

_INT8_SINCE_2 = (
    "DEPTH_TO_SPACE",
    "GREATER",
    "LESS_EQUAL",
    "LOG_SOFTMAX",
    "SPACE_TO_DEPTH",
    "SPLIT_V",
    "SQUARED_DIFFERENCE",
    "SUM",
)

_INT16_SINCE_3 = (
    *("SOFTMAX", "MEAN", "MIRROR_PAD", "REDUCE_MAX", "REDUCE_MIN", "RELU6", "RSQRT"),
    *("LESS", "GREATER_EQUAL"),
)
_INT16_SINCE_2 = ("EXP", "LOG", "REDUCE_PROD", "SQRT")

# The first rule that holds gives the version; 1 when none does.
_RULES: dict[str, tuple[tuple[int, Rule], ...]] = {
    "CONV_2D": (
        (8, _wide_bias),
        (6, lambda use: use.grouped),
        (3, lambda use: use.is_int8),
        (5, lambda use: use.is_hybrid and use.weights_per_channel),
        (2, lambda use: use.is_hybrid),
    ),
    "DEPTHWISE_CONV_2D": (
        (6, lambda use: use.is_hybrid and use.weights_per_channel),
        (4, lambda use: use.is_hybrid),
        (3, lambda use: use.is_int8),
        (2, _dilated),
    ),
    "FULLY_CONNECTED": (
        (12, lambda use: use.is_hybrid and use.weights_per_channel),
        (11, _wide_bias),
        (6, lambda use: len(use.inputs) == 2),
        (5, _option("keepNumDims")),
        (4, lambda use: use.is_int8),
        (9, lambda use: use.is_hybrid and bool(use.options.get("asymmetricQuantizeInputs"))),
        (3, lambda use: use.is_hybrid),
        (2, _option("weightsFormat")),
    ),
    "TRANSPOSE_CONV": (
        (5, _wide_bias),
        (4, _option("fusedActivationFunction")),
        (3, lambda use: len(use.inputs) == 4 and use.inputs[3] != ""),
        (2, _input(1, "int8")),
    ),
    "BATCH_MATMUL": (
        (3, _INT16_INPUT),
        (2, _INT8),
        (4, lambda use: use.is_hybrid and bool(use.options.get("asymmetricQuantizeInputs"))),
    ),
    "EMBEDDING_LOOKUP": ((4, lambda use: use.weights_per_channel),),
    "SVDF": ((3, _INT8),),
    "FAKE_QUANT": ((2, _option("narrowRange")),),
    "ADD": (
        (6, _input(0, "float16")),
        (5, lambda use: use.inputs[0] == "int16" and not use.is_quantized),
        (4, _input(0, "int64")),
        (3, _free_int16),
        (2, _INT8),
    ),
    "SUB": ((5, _free_int16), (4, _input(0, "int64")), (3, _wide_broadcast), (2, _INT8)),
    "MUL": (
        (8, _input(0, "float16")),
        (7, _input(0, "uint32")),
        (7, lambda use: use.inputs[0] == "int16" and not use.is_quantized),
        (6, _input(0, "complex64")),
        (5, _input(0, "int64")),
        (4, _INT16_INPUT),
        (3, lambda use: use.rescale >= 1.0),
        (2, _INT8),
    ),
    "DIV": ((2, _wide_broadcast),),
    "MAXIMUM": ((4, _int16), (3, _wide_broadcast), (2, _INT8)),
    "MINIMUM": ((4, _int16), (3, _wide_broadcast), (2, _INT8)),
    "TRANSPOSE": (
        (8, _rank_above(6)),
        (6, _rank_above(5)),
        (5, _INT16_INPUT),
        (4, _rank_above(4)),
        (3, _input(0, "bool")),
        (2, _INT8),
    ),
    "SPLIT": ((4, _input(1, "int16")), (3, _input(1, "int32")), (2, _input(1, "int8"))),
    "SPARSE_TO_DENSE": ((3, _input(2, "int8", "uint8")), (2, _input(2, "int64"))),
    "SLICE": (
        (6, _input(0, "uint32")),
        (5, _rank_above(4)),
        (4, _INT16_INPUT),
        (3, _input(0, "string")),
        (2, _INT8),
    ),
    "STRIDED_SLICE": (
        (8, _option("offset")),
        (7, _input(0, "uint32")),
        (6, _option("ellipsisMask", "newAxisMask")),
        (5, _input(0, "string")),
        (4, _rank_above(4)),
        (3, _input(0, "bool")),
        (2, _INT8),
    ),
    "UNPACK": (
        (2, _INT8_OR_UINT8),
        (3, _input(0, "bool")),
        (4, _int16),
        (5, _input(0, "float16", "bfloat16")),
    ),
    "PACK": ((2, _INT8), (3, _int16), (4, _input(0, "uint32"))),
    "TILE": ((3, _INT8), (2, _input(0, "string"))),
    "SQUEEZE": ((2, _input(0, "string")),),
    "SPACE_TO_BATCH_ND": ((4, _INT16_INPUT), (3, lambda use: use.ranks[0] != 4), (2, _INT8)),
    "BATCH_TO_SPACE_ND": ((4, _INT16_INPUT), (3, lambda use: use.ranks[0] != 4), (2, _INT8)),
    "PAD": ((5, _input(0, "bool")), (4, _rank_above(4)), (3, _INT16_INPUT), (2, _INT8)),
    "PADV2": ((5, _input(0, "bool")), (4, _rank_above(4)), (3, _INT16_INPUT), (2, _INT8)),
    "CONCATENATION": ((4, _input(0, "uint32")), (3, _INT16_INPUT), (2, _INT8)),
    "GATHER": (
        (6, _input(1, "int16")),
        (5, _option("batchDims")),
        (4, _INT16_INPUT),
        (3, _input(0, "bool")),
        (2, _INT8),
    ),
    "GATHER_ND": (
        (5, _input(0, "bool")),
        (4, _input(1, "int16")),
        (3, _INT16_INPUT),
        (2, _input(0, "string")),
    ),
    "RESIZE_BILINEAR": ((4, _INT16_INPUT), (3, _option("halfPixelCenters")), (2, _INT8)),
    "RESIZE_NEAREST_NEIGHBOR": (
        (4, _INT16_INPUT),
        (3, _option("halfPixelCenters", "alignCorners")),
        (2, _INT8),
    ),
    "DEQUANTIZE": (
        (3, _input(0, "int16", "float16")),
        (5, lambda use: use.inputs[0] == "int8" and use.weights_per_channel),
        (2, _INT8),
    ),
    "QUANTIZE": ((3, lambda use: use.weights_per_channel), (2, _output("int16"))),
    "CAST": (
        (7, _edge("bfloat16")),
        (5, _edge("float64", "float16")),
        (4, _edge("uint16")),
        (3, _edge("int8")),
        (2, _edge("uint32")),
    ),
    "FILL": (
        (4, _input(1, "float16")),
        (3, _input(1, "int8", "int16")),
        (2, _input(1, "bool", "string")),
    ),
    "ABS": ((5, _input(0, "int32")), (3, _INT16_INPUT), (2, _INT8_OR_UINT8)),
    "SIGN": ((2, _input(0, "int32")),),
    "FLOOR_DIV": ((3, _input(0, "int16", "int8")), (2, _input(0, "float32"))),
    "FLOOR_MOD": ((2, _input(0, "int16", "int8")),),
    "REVERSE_V2": ((3, _INT8), (2, _input(0, "bool"))),
    "EQUAL": ((5, _INT16_INPUT), (3, _input(0, "string")), (2, _INT8)),
    "NOT_EQUAL": ((4, _INT16_INPUT), (3, _input(0, "string")), (2, _INT8)),
    "LEAKY_RELU": ((2, _INT16_INPUT),),
    "RANGE": ((2, _input(0, "int64")),),
    "ARG_MAX": ((3, _input(0, "bool")), (2, _INT8)),
    "ARG_MIN": ((3, _input(0, "bool")), (2, _INT8)),
    "SELECT": (
        (4, _input(0, "uint32")),
        (3, lambda use: 5 in use.ranks),
        (2, _INT8),
    ),
    "SELECT_V2": ((2, _input(0, "uint32")),),
    "DYNAMIC_UPDATE_SLICE": (
        (6, _input(0, "bfloat16")),
        (4, _INT16_INPUT),
        (3, _input(0, "float16")),
        (2, _input(2, "int64")),
    ),
    "BROADCAST_TO": ((3, _input(0, "int8", "int16")), (2, lambda use: True)),
    "WHERE": ((1, _input(0, "bool")), (2, lambda use: True)),
    "L2_NORMALIZATION": ((2, _output("int8")),),
    "RELU": ((3, _INT16_INPUT), (2, _INT8_OR_UINT8)),
    "TOPK_V2": ((3, _INT16_INPUT), (2, _INT8)),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), ((3, _int16), (2, _INT8))),
    **dict.fromkeys(("LOGISTIC", "TANH"), ((3, _int16), (2, _INT8))),
    **dict.fromkeys(_INT16_SINCE_3, ((3, _INT16_INPUT), (2, _INT8))),
    **dict.fromkeys(_INT16_SINCE_2, ((2, _input(0, "int8", "int16")),)),
    "GELU": ((2, _INT8_OR_UINT8),),
    **dict.fromkeys(_INT8_SINCE_2, ((2, _INT8),)),
}

# Operators whose versions depend on what `Use` does not say keep the version they have.
_NOT_RECOMPUTED = frozenset(
    {
        "LSTM",
        "RNN",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "CUSTOM",
    }
)

# Runtime that introduced version 1, 2, 3, ... of an operator; "-" where there is none.
_RUNTIMES = {
    "ABS": "1.13.0 2.4.0 2.5.0 2.6.0 2.12.0",
    "ADD": "1.5.0 1.14.0 2.4.0 2.6.0 2.13.0 2.23.0",
    "ADD_N": "1.14.0",
    "ARG_MAX": "1.9.0 1.14.0 2.9.0",
    "ARG_MIN": "1.9.0 1.14.0 2.9.0",
    "ASSIGN_VARIABLE": "2.6.0",
    "ATAN2": "2.10.0",
    "AVERAGE_POOL_2D": "1.5.0 1.14.0 2.3.0",
    "BATCH_MATMUL": "2.3.0 2.3.0 2.4.0 2.5.0",
    "BATCH_TO_SPACE_ND": "1.6.0 1.14.0 2.3.0 2.12.0",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "1.14.0 1.14.0 1.14.0",
    "BIDIRECTIONAL_SEQUENCE_RNN": "1.14.0 1.14.0 2.3.0",
    "BITCAST": "2.13.0",
    "BITWISE_XOR": "2.13.0",
    "BROADCAST_ARGS": "2.6.0",
    "BROADCAST_TO": "- 2.5.0 2.5.0",
    "BUCKETIZE": "2.8.0",
    "CALL_ONCE": "2.5.0",
    "CAST": "1.5.0 2.7.0 2.8.0 2.9.0 2.12.0 2.15.0 2.17.0 2.21.0",
    "CEIL": "1.14.0",
    "COMPLEX_ABS": "2.5.0",
    "CONCATENATION": "1.5.0 1.14.0 2.3.0 2.14.0 2.21.0",
    "CONV_2D": "1.5.0 1.14.0 1.14.0 2.3.0 2.4.0 2.9.0 2.11.0 2.15.0",
    "CONV_3D": "2.5.0",
    "CONV_3D_TRANSPOSE": "2.6.0",
    "COS": "1.14.0",
    "CUMSUM": "2.4.0",
    "DENSIFY": "2.2.0",
    "DEPTHWISE_CONV_2D": "1.5.0 1.12.0 1.14.0 2.2.0 2.3.0 2.3.0 2.11.0",
    "DEPTH_TO_SPACE": "2.1.0 2.5.0",
    "DEQUANTIZE": "1.13.1 1.14.0 1.15.0 2.2.0 2.7.0 2.18.0 2.21.0 2.22.0",
    "DILATE": "2.15.0",
    "DIV": "1.6.0 2.3.0",
    "DYNAMIC_UPDATE_SLICE": "2.9.0 2.17.0 2.19.0 2.20.0 2.21.0 2.22.0",
    "ELU": "1.14.0",
    "EMBEDDING_LOOKUP": "1.13.0 1.14.0 1.14.0 2.18.0 2.21.0",
    "EMBEDDING_LOOKUP_SPARSE": "1.5.0",
    "EQUAL": "1.14.0 1.14.0 2.3.0 2.13.0 2.21.0",
    "EXP": "1.7.0 2.12.0",
    "EXPAND_DIMS": "1.10.0",
    "FAKE_QUANT": "1.5.0 1.10.0",
    "FILL": "1.13.0 2.3.0 2.5.0 2.12.0",
    "FLOOR": "1.9.0",
    "FLOOR_DIV": "1.14.0 1.14.0 2.13.0",
    "FLOOR_MOD": "1.13.0 2.13.0",
    "FULLY_CONNECTED": (
        "1.5.0 1.10.0 1.14.0 1.14.0 2.0.0 2.1.0 2.3.0 2.3.0 2.3.0 2.11.0 2.15.0 2.17.0 2.18.0 "
        "2.21.0"
    ),
    "GATHER": "1.6.0 1.14.0 1.15.0 2.4.0 2.5.0 2.13.0 2.15.0",
    "GATHER_ND": "1.14.0 2.3.0 2.5.0 2.13.0 2.16.0",
    "GELU": "2.9.0 2.9.0",
    "GREATER": "1.14.0 1.14.0",
    "GREATER_EQUAL": "1.14.0 1.14.0 2.13.0",
    "HARD_SWISH": "1.15.0",
    "HASHTABLE": "2.5.0",
    "HASHTABLE_FIND": "2.5.0",
    "HASHTABLE_IMPORT": "2.5.0",
    "HASHTABLE_LOOKUP": "1.5.0",
    "HASHTABLE_SIZE": "2.5.0",
    "IF": "1.15.0",
    "IMAG": "2.5.0",
    "L2_NORMALIZATION": "1.5.0 1.14.0",
    "L2_POOL_2D": "1.5.0",
    "LEAKY_RELU": "1.13.1 2.3.0",
    "LESS": "1.14.0 1.14.0 2.13.0",
    "LESS_EQUAL": "1.14.0 1.14.0",
    "LOCAL_RESPONSE_NORMALIZATION": "1.5.0",
    "LOG": "1.14.0 2.15.0",
    "LOGICAL_AND": "1.11.0",
    "LOGICAL_NOT": "1.11.0",
    "LOGICAL_OR": "1.11.0",
    "LOGISTIC": "1.14.0 1.14.0 2.3.0",
    "LOG_SOFTMAX": "1.14.0 1.14.0",
    "LSH_PROJECTION": "1.5.0",
    "LSTM": "1.7.0 1.10.0 1.14.0 2.3.0",
    "MATRIX_DIAG": "1.14.0",
    "MATRIX_SET_DIAG": "1.14.0",
    "MAXIMUM": "1.14.0 1.14.0 2.3.0 2.3.0",
    "MAX_POOL_2D": "1.5.0 1.14.0 2.3.0",
    "MEAN": "1.6.0 1.14.0 2.4.0",
    "MINIMUM": "1.14.0 1.14.0 2.3.0 2.3.0",
    "MIRROR_PAD": "1.13.1 2.3.0 2.12.0",
    "MUL": "1.5.0 1.14.0 1.15.0 2.3.0 2.6.0 2.11.0 2.13.0 2.23.0",
    "MULTINOMIAL": "2.8.0",
    "NEG": "1.9.0",
    "NON_MAX_SUPPRESSION_V4": "2.1.0",
    "NON_MAX_SUPPRESSION_V5": "2.1.0",
    "NOT_EQUAL": "1.14.0 1.14.0 2.3.0 2.21.0",
    "ONE_HOT": "1.11.0",
    "PACK": "1.11.0 1.14.0 2.3.0 2.13.0",
    "PAD": "1.5.0 1.14.0 2.4.0 2.6.0 2.20.0",
    "PADV2": "1.9.0 1.14.0 2.4.0 2.6.0 2.20.0",
    "POW": "1.10.0",
    "PRELU": "1.8.0",
    "QUANTIZE": "1.14.0 1.15.0 2.7.0 2.21.0 2.21.0 2.21.0",
    "RANDOM_STANDARD_NORMAL": "2.8.0",
    "RANDOM_UNIFORM": "2.8.0",
    "RANGE": "1.13.0 2.14.0",
    "RANK": "1.14.0",
    "READ_VARIABLE": "2.6.0",
    "REAL": "2.5.0",
    "REDUCE_ALL": "2.6.0",
    "REDUCE_ANY": "1.11.0",
    "REDUCE_MAX": "1.11.0 1.14.0 2.5.0",
    "REDUCE_MIN": "1.11.0 1.14.0 2.5.0",
    "REDUCE_PROD": "1.11.0 2.6.0",
    "REDUCE_WINDOW": "2.15.0",
    "RELU": "1.5.0 2.1.0 2.5.0",
    "RELU6": "1.5.0 1.14.0 2.5.0",
    "RELU_0_TO_1": "2.10.0",
    "RELU_N1_TO_1": "1.5.0",
    "RESHAPE": "1.5.0",
    "RESIZE_BILINEAR": "1.7.0 1.14.0 2.2.0 2.5.0",
    "RESIZE_NEAREST_NEIGHBOR": "1.13.1 1.14.0 2.3.0 2.4.0",
    "REVERSE_SEQUENCE": "1.14.0",
    "REVERSE_V2": "1.14.0 2.2.0 2.5.0",
    "RFFT2D": "2.5.0",
    "RIGHT_SHIFT": "2.13.0",
    "RNN": "1.5.0 1.14.0 2.3.0",
    "ROUND": "1.14.0",
    "RSQRT": "1.10.0 2.5.0 2.15.0",
    "SCATTER_ND": "2.1.0",
    "SEGMENT_SUM": "2.2.0",
    "SELECT": "1.14.0 1.14.0 2.12.0 2.12.0",
    "SELECT_V2": "2.2.0 2.12.0",
    "SHAPE": "1.10.0",
    "SIGN": "2.11.0 2.12.0",
    "SIN": "1.9.0",
    "SKIP_GRAM": "1.5.0",
    "SLICE": "1.14.0 1.14.0 1.14.0 2.4.0 2.5.0 2.14.0 2.21.0",
    "SOFTMAX": "1.5.0 1.14.0 2.3.0",
    "SPACE_TO_BATCH_ND": "1.6.0 1.14.0 2.3.0 2.12.0",
    "SPACE_TO_DEPTH": "1.5.0 1.14.0",
    "SPARSE_TO_DENSE": "1.9.0 1.14.0 1.15.0",
    "SPLIT": "1.5.0 1.14.0 1.14.0 2.3.0",
    "SPLIT_V": "1.13.1 2.3.0",
    "SQRT": "1.10.0 2.21.0",
    "SQUARE": "1.12.0",
    "SQUARED_DIFFERENCE": "1.13.1 2.5.0",
    "SQUEEZE": "1.6.0 2.5.0",
    "STABLEHLO_ADD": "2.16.0",
    "STABLEHLO_AND": "2.17.0",
    "STABLEHLO_CASE": "2.17.0",
    "STABLEHLO_CBRT": "2.17.0",
    "STABLEHLO_COMPOSITE": "2.17.0",
    "STABLEHLO_GATHER": "2.16.0",
    "STABLEHLO_MAXIMUM": "2.16.0",
    "STABLEHLO_MINIMUM": "2.16.0",
    "STABLEHLO_MULTIPLY": "2.16.0",
    "STABLEHLO_PAD": "2.16.0",
    "STABLEHLO_REDUCE_WINDOW": "2.16.0",
    "STABLEHLO_RNG_BIT_GENERATOR": "2.15.0",
    "STABLEHLO_SCATTER": "2.15.0",
    "STABLEHLO_SHIFT_LEFT": "2.17.0",
    "STRIDED_SLICE": "1.6.0 1.14.0 2.1.0 2.2.0 2.5.0 2.6.0 2.14.0 2.14.0",
    "SUB": "1.6.0 1.14.0 2.3.0 2.4.0 2.4.0",
    "SUM": "1.10.0 1.15.0",
    "SVDF": "1.5.0 1.14.0 2.2.0 2.3.0",
    "TANH": "1.14.0 1.14.0 2.3.0",
    "TILE": "1.10.1 2.2.0 2.8.0",
    "TOPK_V2": "1.7.0 1.14.0 2.13.0",
    "TRANSPOSE": "1.6.0 1.14.0 1.15.0 2.3.0 2.4.0 2.12.0 2.14.4 2.22.0",
    "TRANSPOSE_CONV": "1.9.0 2.2.0 2.3.0 2.13.0 2.15.0",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "1.13.1 1.14.0 2.3.0 2.12.0",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "1.14.0 1.14.0 2.3.0",
    "UNIQUE": "1.14.0",
    "UNPACK": "1.11.0 1.14.0 2.2.0 2.3.0 2.22.0",
    "UNSORTED_SEGMENT_MAX": "2.10.0",
    "UNSORTED_SEGMENT_MIN": "2.11.0",
    "UNSORTED_SEGMENT_PROD": "2.10.0",
    "UNSORTED_SEGMENT_SUM": "2.10.0",
    "VAR_HANDLE": "2.6.0",
    "WHERE": "1.14.0 2.8.0",
    "WHILE": "1.15.0",
    "ZEROS_LIKE": "1.12.0",
}


def operator_version(use: Use) -> int | None:
    """The version that an operator needs; None where it keeps the one it has."""
    if use.type in _NOT_RECOMPUTED:
        return None
    rules = _RULES.get(use.type, ())
    return next((version for version, holds in rules if holds(use)), 1)


def runtime_version(operator: str, version: int) -> tuple[int, ...] | None:
    """The oldest runtime that knows this version of an operator, or None if no table says so."""
    known = _RUNTIMES.get(operator, "").split()
    if not 1 <= version <= len(known) or known[version - 1] == "-":
        return None
    return tuple(int(part) for part in known[version - 1].split("."))
