"""Float ONNX to QDQ ONNX from ranges that are known: what all ONNX backends share.

ONNX Runtime's `QDQQuantizer` places the QuantizeLinear and DequantizeLinear pairs; it is driven
directly, so none of its calibrators runs. How the pairs must look differs with who reads them: a
`Style` says so, and there is one for each reader we know. What a reader makes of the pairs is not
decided here.
"""

from __future__ import annotations

import device_agent.runtimes.onnxruntime  # noqa: F401 - turns the telemetry of onnxruntime off

# isort: split
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config
from onnxruntime.quantization.execution_providers.qnn.mixed_precision_overrides_utils import (
    MixedPrecisionTensorQuantOverridesFixer,
)
from onnxruntime.quantization.quant_utils import add_infer_metadata
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.tensor_quant_overrides import TensorQuantOverridesHelper

from edgesdk.calibration.types import Range
from edgesdk.convert.backends.onnx_channels import ChannelsQuantizer
from edgesdk.convert.backends.onnx_shapes import with_shapes
from edgesdk.convert.backends.onnx_toolkit import their_failures
from edgesdk.errors import ConversionError
from edgesdk.models.formats.onnx import graph_inputs

ActivationType = Literal["uint8", "int8", "uint16", "int16"]
WeightType = Literal["int8"]

_TYPES = {
    "uint8": QuantType.QUInt8,
    "int8": QuantType.QInt8,
    "uint16": QuantType.QUInt16,
    "int16": QuantType.QInt16,
}
FLOATS = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.FLOAT16: np.float16}


@dataclass(frozen=True, slots=True)
class Style:
    """The form of QDQ pairs that one reader of the model wants.

    Args:
        activation_type: of every activation that `overrides` does not name.
        activation_symmetric: zero is in the middle of an activation's range.
        weight_type: of weights; biases become int32 or stay float.
        weight_symmetric: zero is in the middle of a weight's range, always so per channel.
        per_channel: one scale for each output channel of a weight instead of one for all.
        quantize_bias: biases become int32 in steps of input scale times weight scale.
        dedicated_pairs: every reader of a tensor has a pair of its own.
        pairs_on_weights: weights stay float and have both Q and DQ.
        float_outputs: operator types whose outputs have no pair of their own.
        channel_axes: operator type to the axis of its weight that has one scale an entry, where
            it is not the toolkit's choice (Conv 0, ConvTranspose 1, MatMul 1; Gemm by its transB).
        overrides: activation to the type that it has instead of `activation_type`.
            Conversions are put in where neighbours differ.
        op_types: operator types that are quantized; empty: all that the toolkit knows.
        keep_activations: Relu and Clip stay where the pair's own saturation would replace them.
        htp_rules: what Qualcomm's HTP asks of single operators is done, see `HTP`.
    """

    activation_type: ActivationType
    activation_symmetric: bool
    weight_type: WeightType = "int8"
    weight_symmetric: bool = True
    per_channel: bool = True
    quantize_bias: bool = True
    dedicated_pairs: bool = False
    pairs_on_weights: bool = False
    float_outputs: tuple[str, ...] = ()
    channel_axes: Mapping[str, int] = field(default_factory=dict)
    overrides: Mapping[str, ActivationType] = field(default_factory=dict)
    op_types: tuple[str, ...] = ()
    keep_activations: bool = False
    htp_rules: bool = False


CPU = Style(activation_type="uint8", activation_symmetric=False)
"""For ONNX Runtime's CPU provider.

Activations are unsigned: with signed ones it computes part of the graph in float on x86
(docs/adr/0004). Everything else is the toolkit's default, which is made for that provider.
"""

_TENSORRT_TYPES = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Add"),
    *("AveragePool", "GlobalAveragePool"),
)

TENSORRT = Style(
    activation_type="int8",
    # TensorRT's Q and DQ take no zero point but 0.
    activation_symmetric=True,
    # Its DQ takes int8 only; an int32 bias is refused ("input has type Int32"). It adds in float.
    quantize_bias=False,
    # It folds a Q and DQ pair over float weights itself, and fuses by pairs that it finds whole.
    pairs_on_weights=True,
    dedicated_pairs=True,
    # Axis of the output channels. Gemm is left to the toolkit, which minds transB.
    channel_axes={"Conv": 0, "MatMul": 1},
    # What follows these (a residual Add, an activation) is fused with them and wants full
    # resolution; a pair in between would break the fusion.
    float_outputs=_TENSORRT_TYPES,
    # Everything else has no INT8 kernel, or takes INT8 by itself where its readers want it.
    op_types=_TENSORRT_TYPES,
)
"""For TensorRT's explicit quantization.

Source: TensorRT developer guide, "Working with Quantized Types", and the settings for it in ONNX
Runtime's `quantize_static` (OpTypesToExcludeOutputQuantization, AddQDQPairToWeight,
DedicatedQDQPair).
"""

HTP = Style(activation_type="uint8", activation_symmetric=False, htp_rules=True)
"""For Qualcomm's HTP through ONNX Runtime's QNN provider, 8-bit weights and activations.

The rules are those of ONNX Runtime's `get_qnn_qdq_config`, which is asked for them:

- every operator type but Cast is quantized, as the HTP does not compute in float between them;
- ranges are at least 0.0001 wide, the least that QNN accepts;
- MatMul has one scale for its whole weight: QNN has no per-channel MatMul;
- 16-bit Sigmoid has scale 1/65536 and zero point 0, 16-bit Tanh 1/32768 and 32768, as QNN fixes;
- with 16-bit activations a constant of MatMul or LayerNormalization stays 8 bits wide;
- types below opset 21 that ONNX did not have then are written in the domain com.microsoft.
"""

HTP_A16 = replace(HTP, activation_type="uint16")
"""As `HTP` with 16-bit activations: for models that 8 bits do not hold."""


def quantize(
    model: onnx.ModelProto, ranges: Mapping[str, Range], style: Style, kept: Sequence[str]
) -> onnx.ModelProto:
    """The QDQ form of a float model; `model` itself is not changed.

    Args:
        model: prepared: fixed shapes, every operator named.
        ranges: of every float activation, inputs and outputs of the model included.
        style: who will read it.
        kept: names of the operators that stay in float.

    Raises:
        ConversionError: the toolkit refused, or `style.overrides` names no activation of the model.
    """
    inferred = with_shapes(model)
    types = _activation_types(inferred)
    _require_known(style.overrides, types)
    tensors_range = _tensors_data(ranges, types)
    with their_failures():
        add_infer_metadata(inferred)  # else it is done again
    options, op_types = _options(inferred, style, kept)
    with their_failures():
        quantizer = ChannelsQuantizer(
            inferred,
            per_channel=style.per_channel,
            reduce_range=False,
            weight_qType=_TYPES[style.weight_type],
            activation_qType=_TYPES[style.activation_type],
            tensors_range=tensors_range,
            nodes_to_quantize=[],
            nodes_to_exclude=list(kept),
            op_types_to_quantize=list(op_types),
            extra_options=options,
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        return quantizer.model.model


def _activation_types(model: onnx.ModelProto) -> dict[str, int]:
    values = (*graph_inputs(model), *model.graph.value_info, *model.graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _require_known(overrides: Mapping[str, ActivationType], types: Mapping[str, int]) -> None:
    unknown = [name for name in overrides if types.get(name) not in FLOATS]
    if unknown:
        raise ConversionError(
            f"a type is asked for {', '.join(map(repr, unknown))}, "
            "expected names of float activations of the model"
        )


def _tensors_data(ranges: Mapping[str, Range], types: Mapping[str, int]) -> TensorsData:
    """Ranges in the toolkit's form; a scale has the float type of its tensor."""
    found = {}
    for name, each in ranges.items():
        dtype = FLOATS.get(types.get(name, onnx.TensorProto.FLOAT), np.float32)
        found[name] = (np.array([each.low], dtype), np.array([each.high], dtype))
    return TensorsData(CalibrationMethod.MinMax, found)


def _options(
    model: onnx.ModelProto, style: Style, kept: Sequence[str]
) -> tuple[dict[str, Any], Collection[str]]:
    """The toolkit's `extra_options` and the operator types it quantizes."""
    options: dict[str, Any] = {
        "ActivationSymmetric": style.activation_symmetric,
        "WeightSymmetric": style.weight_symmetric,
        "QuantizeBias": style.quantize_bias,
        "DedicatedQDQPair": style.dedicated_pairs,
        "AddQDQPairToWeight": style.pairs_on_weights,
        "OpTypesToExcludeOutputQuantization": list(style.float_outputs),
        "QDQOpTypePerChannelSupportToAxis": dict(style.channel_axes),
        "QDQKeepRemovableActivations": style.keep_activations,
    }
    overrides = {name: [{"quant_type": _TYPES[kind]}] for name, kind in style.overrides.items()}
    if style.htp_rules:
        theirs, op_types = _htp_options(model, style, overrides, kept)
        return {**options, **theirs}, op_types
    if overrides:
        options["TensorQuantOverrides"] = _with_conversions(model, style, overrides)
    return options, style.op_types or {*QLinearOpsRegistry, *QDQRegistry}


def _with_conversions(
    model: onnx.ModelProto, style: Style, overrides: dict[str, list[dict[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """The overrides with what must follow from them: whatever reads or makes such a tensor."""
    known = TensorQuantOverridesHelper(overrides)
    kind = _TYPES[style.activation_type]
    with their_failures():
        fixer = MixedPrecisionTensorQuantOverridesFixer.create_from_model(known, model, kind)
        fixer.apply(kind, style.activation_symmetric)
    return dict(known.get_dict())


def _htp_options(
    model: onnx.ModelProto,
    style: Style,
    overrides: dict[str, list[dict[str, Any]]],
    kept: Sequence[str],
) -> tuple[dict[str, Any], Collection[str]]:
    with their_failures():
        config = get_qnn_qdq_config(
            model,
            None,  # it only passes the reader of calibration samples on, to what we do not call
            activation_type=_TYPES[style.activation_type],
            weight_type=_TYPES[style.weight_type],
            per_channel=style.per_channel,
            init_overrides=overrides or None,
            add_qtype_converts=True,
            activation_symmetric=style.activation_symmetric,
            weight_symmetric=style.weight_symmetric,
            keep_removable_activations=style.keep_activations,
            op_types_to_quantize=list(style.op_types) or None,
            nodes_to_exclude=list(kept) or None,
        )
    return config.extra_options, config.op_types_to_quantize
