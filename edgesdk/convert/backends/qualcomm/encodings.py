"""AIMET's encodings, version 2.0.0, of a QDQ model: scales and zero points by tensor name, as JSON.

Source of the form: `QuantizationSimModel.export(encoding_version="2.0.0")` of aimet-onnx 2.42. Of
tensors that are quantized twice, in 8 and in 16 bits, the first pair counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgesdk.serial import write_json

_VERSION = "2.0.0"
_MARKS = re.compile(r"_QuantizeLinear_Input$|_quantized$")
"""ONNX Runtime's marks on the names of tensors that it quantizes."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one tensor is quantized: real = scale * (stored - zero point).

    Args:
        name: in the float model.
        dtype: as numpy spells it.
        scales: one, or one for each entry of `axis`.
        zero_points: as many; 0 where the model has none.
        axis: None for one scale for all.
    """

    name: str
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None


def encodings(model: onnx.ModelProto) -> tuple[Encoding, ...]:
    """The encodings of every tensor that a QDQ model quantizes, in the graph's order."""
    found: dict[str, Encoding] = {}
    for encoding in _pairs(model):
        found.setdefault(encoding.name, encoding)
    return tuple(found.values())


def write_encodings(found: tuple[Encoding, ...], quantizer_version: str, path: Path) -> None:
    """Write the encodings of ONNX Runtime's quantizer in the form of AIMET's."""
    write_json(
        path,
        {
            "version": _VERSION,
            "producer": {"package": "onnxruntime", "version": quantizer_version},
            "encodings": [_entry(encoding) for encoding in found],
        },
    )


def _pairs(model: onnx.ModelProto) -> Iterator[Encoding]:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        is_weight = node.op_type == "DequantizeLinear" and node.input[0] in constants
        if (node.op_type == "QuantizeLinear" or is_weight) and node.input[1] in constants:
            yield _encoding(node, constants)


def _encoding(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> Encoding:
    scales = numpy_helper.to_array(constants[node.input[1]])
    zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
    stored = zero_point if zero_point is not None else constants.get(node.input[0])
    # QuantizeLinear without a zero point makes uint8, by its definition.
    code = stored.data_type if stored is not None else onnx.TensorProto.UINT8
    axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    zeros = np.zeros_like(scales) if zero_point is None else numpy_helper.to_array(zero_point)
    return Encoding(
        _MARKS.sub("", node.input[0]),
        np.dtype(helper.tensor_dtype_to_np_dtype(code)).name,
        tuple(float(scale) for scale in scales.reshape(-1)),
        tuple(int(zero) for zero in zeros.reshape(-1)),
        (axes or [1])[0] if scales.size > 1 else None,
    )


def _entry(encoding: Encoding) -> dict[str, object]:
    """As AIMET writes it: zero points of 0 are left out, one scale stands alone."""
    per_channel = encoding.axis is not None
    entry: dict[str, object] = {"name": encoding.name, "output_dtype": encoding.dtype}
    if per_channel:
        entry["axis"] = encoding.axis
    entry["y_scale"] = list(encoding.scales) if per_channel else encoding.scales[0]
    if any(encoding.zero_points):
        zeros = encoding.zero_points
        entry["y_zero_point"] = list(zeros) if per_channel else zeros[0]
    return entry
