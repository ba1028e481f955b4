"""A converted model run as its Q/DQ operators are written, and compared with the float model.

ONNX Runtime's CPU provider runs it without any optimization, so that rounding and clipping happen
where the pairs say, in float32. TensorRT rounds at the same places and adds in another order.
"""

from __future__ import annotations

import device_agent.runtimes.onnxruntime  # noqa: F401 - turns the telemetry of onnxruntime off

# isort: split
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import onnx
import onnxruntime

from edgesdk.convert.backends.tensorrt.half import SUFFIX
from edgesdk.convert.backends.tensorrt.wiring import wiring
from edgesdk.convert.sqnr import ErrorMeter
from edgesdk.convert.toolchains import Array, Sample
from edgesdk.values.artifact import TensorError


def outputs(path: Path, inputs: Iterable[Sequence[Array]]) -> Iterator[Sequence[Array]]:
    """The model's outputs for each tuple of inputs, one thread."""
    session = literal_session(onnx.load(str(path)))
    names = [port.name for port in session.get_inputs()]
    for arrays in inputs:
        yield session.run(None, dict(zip(names, arrays, strict=True)))


def compared(
    float_path: Path, converted_path: Path, samples: Sequence[Sample]
) -> tuple[TensorError, ...]:
    """Every activation that both models have, as the converted model's readers get it."""
    reference, converted = onnx.load(str(float_path)), onnx.load(str(converted_path))
    shared = _shared_activations(reference, converted)
    wanted_from = literal_session(reference, list(shared))
    found_in = literal_session(converted, list(shared.values()))
    meters = {name: ErrorMeter() for name in shared}
    for sample in samples:
        wanted = wanted_from.run(list(shared), dict(sample))
        found = found_in.run(list(shared.values()), dict(sample))
        for name, expected, actual in zip(shared, wanted, found, strict=True):
            meters[name].add(expected, actual.astype(expected.dtype))
    errors = (meter.result(name) for name, meter in meters.items())
    return tuple(sorted(errors, key=TensorError.badness))


def literal_session(
    model: onnx.ModelProto, names: Sequence[str] = ()
) -> onnxruntime.InferenceSession:
    """A session of the unoptimized model that has the named tensors as outputs, too."""
    exposing = onnx.ModelProto()
    exposing.CopyFrom(model)
    there = {value.name for value in model.graph.output}
    exposing.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in there
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        exposing.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _shared_activations(
    reference: onnx.ModelProto, converted: onnx.ModelProto
) -> Mapping[str, str]:
    """Float tensor to its form in the converted model: dequantized, half, or under its own name."""
    view = wiring(converted)
    typed = onnx.shape_inference.infer_shapes(reference)
    floats = {
        value.name
        for value in (*typed.graph.value_info, *typed.graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    dequantized = {
        pair[0].input[0]: name for name in view.makers if (pair := view.pair(name)) is not None
    }
    shared = {}
    for node in reference.graph.node:
        for name in node.output:
            forms = (dequantized.get(name, ""), name, f"{name}{SUFFIX}")
            form = next((each for each in forms if each in view.makers), None)
            if name in floats and form is not None:
                shared[name] = form
    return shared
