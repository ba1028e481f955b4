"""ONNX Runtime's quantizer, with the channels of a weight computed at once.

Its own code goes through the channels one by one: half a second for MobileNetV2's 18,000. What
comes out is the same, bit for bit; what is unusual about a weight is left to it.
"""

from __future__ import annotations

import device_agent.runtimes.onnxruntime  # noqa: F401 - turns the telemetry of onnxruntime off

# isort: split
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnxruntime.quantization.base_quantizer import QuantizationParams
from onnxruntime.quantization.qdq_quantizer import (
    QDQQuantizer,
    QDQQuantTensorType,
    QDQTensorQuantizedValue,
)
from onnxruntime.quantization.quant_utils import (
    TENSOR_NAME_QUANT_SUFFIX,
    QuantizedValue,
    QuantizedValueType,
    add_dequant_output_suffix,
    add_dequant_suffix,
)

_LEVELS = 127
"""Of int8 on either side of zero: symmetric weights do not use -128."""
_SAFE_BIAS = 2**30
"""Steps of a bias that int32 holds with room to spare."""


class ChannelsQuantizer(QDQQuantizer):  # type: ignore[misc]  # has no types
    """`QDQQuantizer`, quicker on int8 weights with one scale a channel."""

    tensors_to_quantize: dict[str, Any]

    def _calc_initializer_quant_params(self) -> dict[str, Any]:
        every = self.tensors_to_quantize
        found = {
            tensor.name: _params(tensor, every[tensor.name].axis, self.min_real_range)
            for tensor in self.model.initializer()
            if tensor.name in every and self._is_usual(tensor)
        }
        self.tensors_to_quantize = {n: info for n, info in every.items() if n not in found}
        rest = super()._calc_initializer_quant_params()
        self.tensors_to_quantize = every
        return {**rest, **found}

    def _add_qdq_nodes_for_initializer(self, weight_proto: onnx.TensorProto) -> None:
        name = weight_proto.name
        params = self.initializer_quant_params[name]
        done = name in self.quantized_value_map
        if done or self.add_qdq_pair_to_weight or not _is_simple(weight_proto, params):
            super()._add_qdq_nodes_for_initializer(weight_proto)
            return
        axis, result = params["axis"], add_dequant_output_suffix(name)
        pair = self._make_scale_zp_initializers(name, params)
        scale, zero_point = pair.scale.name, pair.zero_point.name
        levels = numpy_helper.from_array(
            _levels(weight_proto, params["scale"], axis), name + TENSOR_NAME_QUANT_SUFFIX
        )
        self.model.replace_input_of_all_nodes(name, result)
        self.model.add_initializer(levels)
        reader = add_dequant_suffix(name)
        self._create_dq_node(levels.name, result, reader, scale, zero_point, axis=axis)
        kind = QuantizedValueType.Initializer
        value = QuantizedValue(name, levels.name, scale, zero_point, kind, axis=axis)
        self.quantized_value_map[name] = QDQTensorQuantizedValue(value, None, None)

    def _adjust_weight_scale_for_int32_bias(
        self,
        input_scale: npt.NDArray[Any],
        weight_scale: npt.NDArray[Any],
        weight_name: str,
        bias_tp: onnx.TensorProto,
        is_per_channel: bool,
    ) -> tuple[bool, npt.NDArray[Any] | None]:
        """Scales are changed where a bias is too large for int32, which is seldom so."""
        bias = np.abs(numpy_helper.to_array(bias_tp))
        steps = input_scale.astype(np.float64) * weight_scale.astype(np.float64)
        if steps.shape == bias.shape and np.all(bias < _SAFE_BIAS * steps):
            return False, weight_scale
        return super()._adjust_weight_scale_for_int32_bias(  # type: ignore[no-any-return]
            input_scale, weight_scale, weight_name, bias_tp, is_per_channel
        )

    def _is_usual(self, tensor: onnx.TensorProto) -> bool:
        """Whether it is float32, to become int8 per channel, and nothing else is said about it."""
        info = self.tensors_to_quantize[tensor.name]
        return (
            info.tensor_type is QDQQuantTensorType.WEIGHT
            and tensor.data_type == onnx.TensorProto.FLOAT
            and self.weight_qType == onnx.TensorProto.INT8
            and info.axis in range(len(tensor.dims))
            and 0 not in tensor.dims
            and tensor.name not in self.tensor_quant_overrides
            and self.block_size == 0
            and not self.reduce_range
        )


def _is_simple(tensor: onnx.TensorProto, params: QuantizationParams) -> bool:
    """Whether it is float32 and becomes int8 without zero points, one scale a channel."""
    return (
        tensor.data_type == onnx.TensorProto.FLOAT
        and params["quant_type"] == onnx.TensorProto.INT8
        and params.get("axis") is not None
        and not params.get("block_size")
        and not params["zero_point"].any()
        and 0 not in tensor.dims
    )


def _levels(
    tensor: onnx.TensorProto, scales: npt.NDArray[np.float32], axis: int
) -> npt.NDArray[np.int8]:
    """As `quantize_nparray` in quantization/quant_utils.py has them."""
    scale = np.expand_dims(scales, [each for each in range(len(tensor.dims)) if each != axis])
    levels = np.round(numpy_helper.to_array(tensor) / scale)
    return np.asarray(np.clip(levels, -128, 127, out=levels), np.int8)


def _params(tensor: onnx.TensorProto, axis: int, least_width: float | None) -> QuantizationParams:
    values = np.moveaxis(numpy_helper.to_array(tensor), axis, 0).reshape(tensor.dims[axis], -1)
    scale = _scales(values, least_width)
    zero_point = np.zeros(scale.size, np.int8)
    return QuantizationParams(
        zero_point=zero_point, scale=scale, quant_type=onnx.TensorProto.INT8, axis=axis
    )


def _scales(
    channels: npt.NDArray[np.float32], least_width: float | None
) -> npt.NDArray[np.float32]:
    """As `compute_scale_zp` in quantization/quant_utils.py has them, rounding for rounding.

    Args:
        channels: of shape (channels, values).
        least_width: of a range, before it is made symmetric.
    """
    zero = np.float32(0)
    low = np.minimum(channels.min(axis=1), zero)
    high = np.maximum(channels.max(axis=1), zero)
    if least_width is not None:
        high = np.maximum(high, low + np.float32(least_width))
    scales = np.maximum(-low, high).astype(np.float64) / _LEVELS
    tiny = scales < np.finfo(np.float32).tiny
    return np.where(tiny, 1.0, scales).astype(np.float32)
