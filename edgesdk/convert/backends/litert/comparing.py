"""INT8 against float, activation by activation, with the built-in kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from device_agent.manifest import Port
from device_agent.runtimes.tensors import dequantize, quantize
from edgesdk.convert.backends.litert import flatbuffer as tflite
from edgesdk.convert.backends.litert.calibration import run_sample
from edgesdk.convert.backends.litert.describing import CONVERSIONS
from edgesdk.convert.backends.litert.fixups import open_interpreter
from edgesdk.convert.sqnr import ErrorMeter
from edgesdk.convert.toolchains import Array, Sample
from edgesdk.values.artifact import TensorError


def compared(
    float_content: bytes, int8_content: bytes, samples: Sequence[Sample]
) -> tuple[TensorError, ...]:
    """Every activation that the two models share, worst first."""
    wanted, found = _opened(float_content), _opened(int8_content)
    int8_model = tflite.read_model(int8_content)
    pairs = _pairs(tflite.read_model(float_content), int8_model)
    tensors = int8_model.subgraphs[0].tensors
    meters = {index: ErrorMeter() for index in pairs}
    for sample in samples:
        run_sample(wanted, sample)
        run_sample(found, _stored(sample, wanted, found))
        for index, other in pairs.items():
            actual = dequantize(found.get_tensor(other), _port(tensors[other]))
            _add(meters[index], wanted.get_tensor(index), actual)
    names = tflite.read_model(float_content).subgraphs[0].tensors
    results = [meter.result(tflite.tensor_name(names[index])) for index, meter in meters.items()]
    return tuple(sorted(results, key=lambda error: (error.badness(), error.name)))


def _opened(content: bytes) -> Any:
    interpreter = open_interpreter(content, preserve_all=True)
    interpreter.allocate_tensors()
    return interpreter


def _add(meter: ErrorMeter, expected: Array, actual: Array) -> None:
    # Masks and padding may hold infinities, which have no counterpart in INT8.
    finite = np.isfinite(expected)
    meter.add(expected[finite], actual[finite])


def _stored(sample: Sample, wanted: Any, found: Any) -> Sample:
    """The sample under the INT8 model's input names and in its dtypes."""
    return {
        port["name"]: quantize(sample[original["name"]], _port_of(port))
        for original, port in zip(
            wanted.get_input_details(), found.get_input_details(), strict=True
        )
    }


def _port_of(details: Mapping[str, Any]) -> Port:
    shape = tuple(int(size) for size in details["shape"])
    scale, zero_point = details["quantization"]
    quantized = scale != 0.0
    return Port(
        details["name"],
        shape,
        np.dtype(details["dtype"]).name,
        float(scale) if quantized else None,
        int(zero_point) if quantized else None,
    )


def _port(tensor: Any) -> Port:
    scales = tflite.scales(tensor)
    if len(scales) != 1:
        return Port(tflite.tensor_name(tensor), tflite.shape(tensor), tflite.dtype(tensor))
    return Port(
        tflite.tensor_name(tensor),
        tflite.shape(tensor),
        tflite.dtype(tensor),
        scales[0],
        int(tensor.quantization.zeroPoint[0]),
    )


def _pairs(float_model: Any, int8_model: Any) -> dict[int, int]:
    """Index of a float activation to that of its counterpart: by position, else by name."""
    by_name = _named(float_model, int8_model)
    by_position = _aligned(float_model, int8_model)
    tensors = float_model.subgraphs[0].tensors
    return {
        index: other
        for index, other in sorted((by_position | by_name).items())
        if tflite.dtype(tensors[index]) == "float32"
        and not tflite.is_constant(float_model, tensors[index])
        and not tflite.is_constant(int8_model, int8_model.subgraphs[0].tensors[other])
    }


def _named(float_model: Any, int8_model: Any) -> dict[int, int]:
    there = {
        tflite.tensor_name(tensor): index
        for index, tensor in enumerate(int8_model.subgraphs[0].tensors)
    }
    return {
        index: there[tflite.tensor_name(tensor)]
        for index, tensor in enumerate(float_model.subgraphs[0].tensors)
        if tflite.tensor_name(tensor) in there
    }


def _aligned(float_model: Any, int8_model: Any) -> dict[int, int]:
    """Inputs and operator outputs, pairwise, where both models have the same operators in order."""
    one, other = _computing(float_model), _computing(int8_model)
    if [kind for kind, _ in one] != [kind for kind, _ in other]:
        return {}
    edge = zip(float_model.subgraphs[0].inputs, int8_model.subgraphs[0].inputs, strict=True)
    return dict(edge) | {
        index: counterpart
        for (_, outputs), (_, counterparts) in zip(one, other, strict=True)
        for index, counterpart in zip(outputs, counterparts, strict=True)
    }


def _computing(model: Any) -> list[tuple[str, list[int]]]:
    kinds = [
        (tflite.operator_type(model, operator), list(operator.outputs))
        for operator in model.subgraphs[0].operators
    ]
    return [(kind, outputs) for kind, outputs in kinds if kind not in CONVERSIONS]
