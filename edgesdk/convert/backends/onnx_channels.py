"""ONNX Runtime's quantizer, with the scales of a weight's channels computed at once.

Its own code goes through the channels one by one: a third of a second for MobileNetV2's 18,000.
What comes out is the same, bit for bit; what is unusual about a weight is left to it.
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
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer, QDQQuantTensorType

_LEVELS = 127
"""Of int8 on either side of zero: symmetric weights do not use -128."""


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
