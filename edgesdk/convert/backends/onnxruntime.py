"""ONNX to QDQ INT8 ONNX for ONNX Runtime's CPU provider, and the account of the result.

Activations are unsigned: with signed ones ONNX Runtime on x86 converts only part of the graph to
its own unsigned form and silently computes the rest in float (docs/adr/0004). What is reported as
INT8 is read from the graph that ONNX Runtime really executes, not from the QDQ pairs in the file.
"""

from __future__ import annotations

import device_agent.runtimes.onnxruntime  # noqa: F401 - turns the telemetry of onnxruntime off

# isort: split
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from device_agent import runtimes
from edgesdk.convert.backends.onnx_calibration import activations, calibrated_ranges
from edgesdk.convert.backends.onnx_facts import CONVERSIONS, MOVES_DATA, dtypes
from edgesdk.convert.backends.onnx_precisions import assigned
from edgesdk.convert.backends.onnx_qdq import CPU, quantize
from edgesdk.convert.backends.onnx_rewrites import (
    before_activation,
    keep_in_float,
    portable,
    rewritten,
)
from edgesdk.convert.backends.onnx_toolkit import inferred, preprocessed, their_failures
from edgesdk.convert.footprint import Step, alive_at_peak
from edgesdk.convert.keeping import KEPT
from edgesdk.convert.sqnr import ErrorMeter
from edgesdk.convert.toolchains import Array, Description, Sample
from edgesdk.errors import ConversionError
from edgesdk.models.formats.onnx import fix_shapes, graph_inputs, load
from edgesdk.values.artifact import OperatorPrecision, TensorError, TensorSize
from edgesdk.values.plan import ConversionPlan

_QUANTIZED = re.compile(r"QLinear\w+|QGemm|QAttention|MatMulInteger\w*|ConvInteger\w*")
_MOVES_DATA = MOVES_DATA | {"ReorderInput", "ReorderOutput"}
_SELECTS = frozenset(
    {"MaxPool", "NhwcMaxPool", "ReduceMax", "ReduceMin", "Max", "Min", "Relu", "Clip", "Resize"}
)
"""Operators that compute on INT8 as they are when their input is INT8."""


def prepare(source: Path, plan: ConversionPlan, output: Path) -> None:
    """Write the float model as one file whose input shapes are the plan's, for any runtime."""
    proto = load(source)
    fixed = fix_shapes(proto, {spec.name: spec.shape for spec in plan.inputs}, source)
    edge = {value.name: value for value in (*graph_inputs(fixed), *fixed.graph.output)}
    for value in (*proto.graph.input, *proto.graph.output):
        if value.name in edge:
            value.CopyFrom(edge[value.name])
    onnx.save(portable(proto), str(output))


def convert(
    source: Path,
    plan: ConversionPlan,
    samples: Callable[[], Iterator[Sample]],
    output: Path,
    advance: Callable[[int], None],
) -> None:
    """Quantize; see `edgesdk.convert.toolchains.Backend`.

    The style is `onnx_qdq.CPU` with the plan's scheme and overrides.
    """
    model = rewritten(preprocessed(source))
    settled = assigned(model, plan, CPU, activations(model))
    ranges = calibrated_ranges(model, plan, samples, advance, settled.style, settled.kept)
    quantized = quantize(model, ranges, settled.style, settled.kept)
    keep_in_float(quantized, settled.kept)
    onnx.save(quantized, str(output))
    with their_failures():
        loaded = runtimes.load("onnxruntime", str(output), threads=1)
    _require_edge(loaded, plan)


def _require_edge(model: runtimes.LoadedModel, plan: ConversionPlan) -> None:
    found = [(port.name, port.shape, port.dtype) for port in (*model.inputs, *model.outputs)]
    planned = [(spec.name, spec.shape, spec.dtype) for spec in (*plan.inputs, *plan.outputs)]
    if found != planned:
        raise ConversionError(f"the converted model takes and gives {found}, expected {planned}")


def describe(path: Path) -> Description:
    """Ports, real precisions and sizes of a QDQ model."""
    model = runtimes.load("onnxruntime", str(path), threads=1)
    proto = onnx.shape_inference.infer_shapes(onnx.load(str(path)), data_prop=True)
    constants = _constants(proto)
    activations = _activations(proto)
    alive = alive_at_peak(
        [Step(tuple(node.input), tuple(node.output)) for node in _without_conversions(proto)],
        {size.name: size.size_bytes for size in activations},
        [port.name for port in model.inputs],
        [port.name for port in model.outputs],
    )
    activations = [replace(size, at_peak=size.name in alive) for size in activations]
    sizes = (*constants, *activations)
    return Description(
        inputs=model.inputs,
        outputs=model.outputs,
        operators=_operators(_executed(path), proto),
        tensor_sizes=tuple(sorted(sizes, key=lambda size: (-size.size_bytes, size.name))),
    )


def _executed(path: Path) -> onnx.ModelProto:
    """The graph as ONNX Runtime rewrites it before it runs it on this workstation."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as scratch:
        options.optimized_model_filepath = str(Path(scratch) / "executed.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _operators(executed: onnx.ModelProto, model: onnx.ModelProto) -> tuple[OperatorPrecision, ...]:
    kept = {node.name for node in model.graph.node if node.doc_string == KEPT}
    makers = {name: node for node in model.graph.node for name in node.output}
    quantized = {
        tensor.name
        for tensor in executed.graph.initializer
        if tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    }
    known = dtypes(inferred(executed)) | dtypes(inferred(model))
    found = []
    for index, node in enumerate(executed.graph.node):
        reads_int8 = node.input[0] in quantized if node.input else False
        passes_int8_on = reads_int8 and node.op_type in _MOVES_DATA | _SELECTS
        if passes_int8_on or node.op_type == "QuantizeLinear" or _computes_int8(node.op_type):
            quantized.update(node.output)
        name = _name(node, makers)
        precision, reason = _precision(node.op_type, reads_int8)
        if precision == "float32" and name in kept:
            reason = KEPT
        elif precision == "float32" and not _has_float(node, known):
            precision = known[next(name for name in node.input if name)]
            reason = f"it computes on {precision}, which is not quantized"
        found.append(OperatorPrecision(index, node.op_type, name, precision, reason))
    return tuple(found)


def _has_float(node: onnx.NodeProto, known: Mapping[str, str]) -> bool:
    names = [name for name in (*node.input, *node.output) if name]
    return any(known.get(name, "float32").startswith("float") for name in names)


def _name(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> str:
    """The name an operator had before ONNX Runtime rewrote the graph."""
    name = re.sub(r"_token_\d+$", "", node.name or node.output[0])
    result = name.removesuffix("_nchwc")
    if result != name and result in makers:
        return str(before_activation(makers[result], makers).name)
    return name


def _computes_int8(op_type: str) -> bool:
    return _QUANTIZED.fullmatch(op_type) is not None


def _precision(op_type: str, reads_int8: bool) -> tuple[str, str]:
    if op_type in (*CONVERSIONS, *_MOVES_DATA):
        return "-", ""
    if _computes_int8(op_type) or (reads_int8 and op_type in _SELECTS):
        return "int8", ""
    return "float32", f"ONNX Runtime has no INT8 kernel that takes {op_type} as it stands here"


def _constants(proto: onnx.ModelProto) -> list[TensorSize]:
    return [
        TensorSize(
            tensor.name,
            "constant",
            np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).name,
            tuple(tensor.dims),
            numpy_helper.to_array(tensor).nbytes,
        )
        for tensor in proto.graph.initializer
    ]


def _activations(proto: onnx.ModelProto) -> list[TensorSize]:
    values = (*graph_inputs(proto), *proto.graph.value_info, *proto.graph.output)
    types = {value.name: value.type.tensor_type for value in values}
    consumers: dict[str, list[str]] = {}
    for node in proto.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node.op_type)
    edge = {value.name for value in (*graph_inputs(proto), *proto.graph.output)}
    names = dict.fromkeys(
        [value.name for value in graph_inputs(proto)]
        + [name for node in _without_conversions(proto) for name in node.output]
    )
    sizes = []
    for name in names:
        if name not in types:
            continue
        shape = tuple(dim.dim_value for dim in types[name].shape.dim)
        stored = set(consumers.get(name, ["float"])) == {"QuantizeLinear"} and name not in edge
        real = np.dtype(helper.tensor_dtype_to_np_dtype(types[name].elem_type))
        dtype = np.dtype(np.uint8) if stored else real
        size_bytes = int(np.prod(shape)) * dtype.itemsize
        sizes.append(TensorSize(name, "activation", dtype.name, shape, size_bytes))
    return sizes


def _without_conversions(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The graph's operators with reads routed past QuantizeLinear and DequantizeLinear.

    Those that make the model's own outputs stay.
    """
    edge = {value.name for value in proto.graph.output}
    source = {
        node.output[0]: node.input[0]
        for node in proto.graph.node
        if node.op_type in CONVERSIONS and node.output[0] not in edge
    }

    def origin(name: str) -> str:
        while name in source:
            name = source[name]
        return name

    routed = []
    for node in proto.graph.node:
        if node.output[0] not in source:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [origin(name) for name in node.input]
            routed.append(copy)
    return routed


def kernels() -> tuple[str, ...]:
    """ONNX Runtime's CPU provider has one set of kernels a machine."""
    return ("cpu",)


def run(path: Path, kernel: str, inputs: Iterable[Sequence[Array]]) -> Iterator[Sequence[Array]]:
    """Outputs on this workstation, one thread."""
    model = runtimes.load("onnxruntime", str(path), threads=1)
    for arrays in inputs:
        yield model.run(arrays)


def compare(
    float_path: Path, int8_path: Path, samples: Sequence[Sample]
) -> tuple[TensorError, ...]:
    """Every quantized activation that bears the name it has in the float model."""
    shared = _shared_activations(float_path, int8_path)
    if not shared:
        return ()
    with tempfile.TemporaryDirectory() as scratch:
        reference = _exposing(float_path, list(shared), Path(scratch) / "float.onnx")
        converted = _exposing(int8_path, list(shared.values()), Path(scratch) / "int8.onnx")
        meters = {name: ErrorMeter() for name in shared}
        for sample in samples:
            wanted = reference.run(list(shared), dict(sample))
            found = converted.run(list(shared.values()), dict(sample))
            for name, expected, actual in zip(shared, wanted, found, strict=True):
                meters[name].add(expected, actual)
    return tuple(
        sorted((meter.result(name) for name, meter in meters.items()), key=TensorError.badness)
    )


def _shared_activations(float_path: Path, int8_path: Path) -> Mapping[str, str]:
    """Float tensor name to the name of its dequantized form in the QDQ model."""
    in_float = {name for node in onnx.load(str(float_path)).graph.node for name in node.output}
    graph = onnx.load(str(int8_path)).graph
    quantized = {
        node.output[0]: node.input[0].removesuffix("_QuantizeLinear_Input")
        for node in graph.node
        if node.op_type == "QuantizeLinear"
    }
    return {
        quantized[node.input[0]]: node.output[0]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and quantized.get(node.input[0]) in in_float
    }


def _exposing(path: Path, names: Sequence[str], output: Path) -> onnxruntime.InferenceSession:
    """A session of the unoptimized model that has the named tensors as outputs, too."""
    proto = onnx.load(str(path))
    there = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    onnx.save(proto, str(output))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(output), options, providers=["CPUExecutionProvider"])
