"""Facts about operator versions, each with the TensorFlow rule it stands for."""

from __future__ import annotations

from typing import Any

import pytest

from edgesdk.convert.backends.litert.versions import (
    _RULES,
    Use,
    operator_version,
    runtime_version,
)


def use(kind: str, *inputs: str, output: str = "", ranks: Any = None, **more: Any) -> Use:
    return Use(
        type=kind,
        inputs=inputs,
        outputs=(output or inputs[0],),
        ranks=ranks or (4,) * len(inputs),
        options=more.pop("options", {}),
        **more,
    )


I8, I16, F32, I32 = "int8", "int16", "float32", "int32"
WIDE_BIAS = {"quantizedBiasType": 4}


@pytest.mark.parametrize(
    ("found", "version", "runtime"),
    [
        (use("CONV_2D", F32, F32, F32), 1, (1, 5, 0)),
        (use("CONV_2D", I8, I8, I32), 3, (1, 14, 0)),
        (use("CONV_2D", I8, I8, I32, grouped=True), 6, (2, 9, 0)),
        (use("CONV_2D", F32, I8, F32), 2, (1, 14, 0)),
        (use("CONV_2D", F32, I8, F32, weights_per_channel=True), 5, (2, 4, 0)),
        (use("CONV_2D", I16, I8, I32), 1, (1, 5, 0)),
        (use("CONV_2D", I16, I8, "int64", options=WIDE_BIAS), 8, (2, 15, 0)),
        (use("FULLY_CONNECTED", I16, I8, "int64", options=WIDE_BIAS), 11, (2, 15, 0)),
        (use("TRANSPOSE_CONV", I16, I8, I16, "", options=WIDE_BIAS), 5, (2, 15, 0)),
        (use("BATCH_MATMUL", I16, I16), 3, (2, 4, 0)),
        (use("ADD", I16, I16, rescale=1.0), 1, (1, 5, 0)),
        (use("ADD", I16, I16, rescale=1.0, options={"potScaleInt16": 0}), 3, (2, 4, 0)),
        (use("ADD", I16, I16), 5, (2, 13, 0)),
        (use("SUB", I16, I16, options={"potScaleInt16": 0}), 5, (2, 4, 0)),
        (use("MUL", I16, I16, rescale=1.0), 4, (2, 3, 0)),
        (use("MUL", I16, I16), 7, (2, 13, 0)),
        (use("MAXIMUM", I16, I16), 4, (2, 3, 0)),
        (use("MAX_POOL_2D", I16), 3, (2, 3, 0)),
        (use("SOFTMAX", I16), 3, (2, 3, 0)),
        (use("LOGISTIC", I16), 3, (2, 3, 0)),
        (use("MEAN", I16, I32), 3, (2, 4, 0)),
        (use("EXP", I16), 2, (2, 12, 0)),
        (use("LEAKY_RELU", I16), 2, (2, 3, 0)),
        (use("TRANSPOSE", I16, I32), 5, (2, 4, 0)),
        (use("CONCATENATION", I16, I16), 3, (2, 3, 0)),
        (use("PAD", I16, I32), 3, (2, 4, 0)),
        (use("QUANTIZE", F32, output=I16), 2, (1, 15, 0)),
        (use("DEQUANTIZE", I16, output=F32), 3, (1, 15, 0)),
        (use("DEPTHWISE_CONV_2D", I8, I8, I32), 3, (1, 14, 0)),
        (use("DEPTHWISE_CONV_2D", F32, F32, options={"dilationHFactor": 2}), 2, (1, 12, 0)),
        (use("DEPTHWISE_CONV_2D", F32, F32, options={"dilationHFactor": 1}), 1, (1, 5, 0)),
        (use("FULLY_CONNECTED", I8, I8, I32), 4, (1, 14, 0)),
        (use("FULLY_CONNECTED", I8, I8), 6, (2, 1, 0)),
        (use("FULLY_CONNECTED", I8, I8, "", options={"keepNumDims": 1}), 5, (2, 0, 0)),
        (use("FULLY_CONNECTED", F32, F32, F32), 1, (1, 5, 0)),
        (use("TRANSPOSE_CONV", I32, I8, I8, I32, output=I8), 3, (2, 3, 0)),
        (use("TRANSPOSE_CONV", I32, I8, I8, output=I8), 2, (2, 2, 0)),
        (use("BATCH_MATMUL", I8, I8), 2, (2, 3, 0)),
        (use("ADD", I8, I8), 2, (1, 14, 0)),
        (use("MUL", I8, I8, rescale=0.5), 2, (1, 14, 0)),
        (use("MUL", I8, I8, rescale=1.0), 3, (1, 15, 0)),
        (use("SUB", I8, I8, broadcasts=True, ranks=(5, 1)), 3, (2, 3, 0)),
        (use("SUB", I8, I8, broadcasts=True), 2, (1, 14, 0)),
        (use("MAXIMUM", I8, I8), 2, (1, 14, 0)),
        (use("RELU", I8), 2, (2, 1, 0)),
        (use("RELU6", I8), 2, (1, 14, 0)),
        (use("LEAKY_RELU", I8), 1, (1, 13, 1)),
        (use("RESIZE_BILINEAR", I8, I32, options={"halfPixelCenters": True}), 3, (2, 2, 0)),
        (use("RESIZE_BILINEAR", I8, I32), 2, (1, 14, 0)),
        (use("RESIZE_NEAREST_NEIGHBOR", I8, I32, options={"alignCorners": 1}), 3, (2, 3, 0)),
        (use("STRIDED_SLICE", I8, I32, options={"newAxisMask": 2}), 6, (2, 6, 0)),
        (use("STRIDED_SLICE", I8, I32, ranks=(5, 1)), 4, (2, 2, 0)),
        (use("TRANSPOSE", I8, I32, ranks=(5, 1)), 4, (2, 3, 0)),
        (use("TRANSPOSE", I8, I32), 2, (1, 14, 0)),
        (use("SPACE_TO_BATCH_ND", I8, I32, ranks=(3, 1)), 3, (2, 3, 0)),
        (use("PAD", I8, I32), 2, (1, 14, 0)),
        (use("PACK", I8, I8), 2, (1, 14, 0)),
        (use("PACK", F32, F32), 1, (1, 11, 0)),
        (use("SPLIT", I32, I8, output=I8), 2, (1, 14, 0)),
        (use("SPLIT_V", I8, I32, I32), 2, (2, 3, 0)),
        (use("EXP", I8), 2, (2, 12, 0)),
        (use("QUANTIZE", F32, output=I8), 1, (1, 14, 0)),
        (use("DEQUANTIZE", I8, output=F32), 2, (1, 14, 0)),
        (use("CAST", I8, output=F32), 3, (2, 8, 0)),
        (use("BROADCAST_TO", F32, I32), 2, (2, 5, 0)),
        (use("BROADCAST_TO", I8, I32), 3, (2, 5, 0)),
        (use("RESHAPE", I8, I32), 1, (1, 5, 0)),
    ],
    ids=lambda value: f"{value.type}-{'-'.join(value.inputs)}" if isinstance(value, Use) else None,
)
def test_version_and_runtime(found: Use, version: int, runtime: tuple[int, ...]) -> None:
    assert operator_version(found) == version
    assert runtime_version(found.type, version) == runtime


def test_every_version_a_rule_can_give_has_a_runtime() -> None:
    missing = [
        (operator, version)
        for operator, rules in _RULES.items()
        for version, _ in rules
        if runtime_version(operator, version) is None
    ]
    assert missing == []


def test_recurrent_layers_and_custom_operators_keep_the_version_they_have() -> None:
    assert operator_version(use("LSTM", F32, F32)) is None
    assert operator_version(use("CUSTOM", F32)) is None


def test_an_unknown_version_has_no_runtime() -> None:
    assert runtime_version("CONV_2D", 99) is None
    assert runtime_version("CONV_2D", 0) is None
    assert runtime_version("BROADCAST_TO", 1) is None
    assert runtime_version("NO_SUCH_OPERATOR", 1) is None
