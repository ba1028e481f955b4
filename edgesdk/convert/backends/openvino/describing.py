"""What is in a converted OpenVINO model, read from what OpenVINO executes on this CPU."""

from __future__ import annotations

import edgesdk.convert.backends.openvino.telemetry  # noqa: F401 - before openvino

# isort: split
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.convert.backends.openvino.quantizing import KEPT_INFO
from edgesdk.convert.backends.openvino.toolkit import compiled, read
from edgesdk.convert.footprint import Step, largest_live_bytes
from edgesdk.convert.keeping import KEPT
from edgesdk.values.artifact import OperatorPrecision, TensorSize

WITHOUT_BIAS = "/WithoutBiases"
"""What OpenVINO's ONNX reader appends to the name of an operator whose bias it splits off."""
_DEQUANTIZED = "/DequantizationMultiply"
"""What its INT8 passes append to an operator whose scales they have moved behind it."""

_PRECISIONS = {
    "I8": "int8",
    "i8": "int8",
    "u8": "int8",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
}
_MOVES_DATA = frozenset(
    {"Reorder", "Convert", "FakeQuantize", "Reshape", "Transpose", "Squeeze", "Unsqueeze"}
    | {"Concat", "Split", "VariadicSplit", "StridedSlice", "Slice", "Gather", "Broadcast", "Tile"}
    | {"Pad", "DepthToSpace", "SpaceToDepth", "ShapeOf", "Reverse", "ReadValue", "Assign"}
)
_DTYPES = {"u8": "uint8", "i8": "int8", "f16": "float16", "bf16": "bfloat16", "f32": "float32"} | {
    "f64": "float64",
    "i32": "int32",
    "i64": "int64",
    "boolean": "bool",
}


@dataclass(frozen=True, slots=True)
class _Executed:
    """One node of the graph that runs.

    Args:
        name: OpenVINO's name of it.
        kind: what it is, e.g. "Convolution" or "Reorder".
        primitive: the kernel, e.g. "brgconv_avx512_I8"; its last part is what it computes in.
        originals: names of the model's operators that became this one.
        reads: names of the nodes that it reads.
        dtype: of what it writes, as numpy spells it where numpy has it.
        shape: of what it writes.
        size_bytes: of what it writes.
    """

    name: str
    kind: str
    primitive: str
    originals: tuple[str, ...]
    reads: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


def described(
    path: Path,
) -> tuple[tuple[OperatorPrecision, ...], tuple[TensorSize, ...], int]:
    """Operators as executed, sizes of tensors, largest first, and the working set in bytes.

    The working set is the constants plus the largest sum of activations alive at once.
    """
    model = read(path)
    executed = tuple(_computed_anew(_executed(model)))
    constants = tuple(_constants(model))
    activations = tuple(
        TensorSize(node.name, "activation", node.dtype, node.shape, node.size_bytes)
        for node in executed
        if node.kind != "Output"
    )
    working_set = sum(size.size_bytes for size in constants) + largest_live_bytes(
        [Step(node.reads, (node.name,)) for node in executed if node.kind != "Input"],
        {size.name: size.size_bytes for size in activations},
        [node.name for node in executed if node.kind == "Input"],
        [],
    )
    sizes = sorted((*constants, *activations), key=lambda size: (-size.size_bytes, size.name))
    return _operators(executed, model), tuple(sizes), working_set


def _executed(model: Any) -> Iterator[_Executed]:
    graph = compiled(model, threads=1).get_runtime_model()
    order = {node: int(node.rt_info["execOrder"].value) for node in graph.get_ordered_ops()}
    for node in sorted(order, key=order.__getitem__):
        info = {key: node.rt_info[key].value for key in _INFO}
        shape, bits = _written(node)
        yield _Executed(
            name=node.get_friendly_name(),
            kind=info["layerType"],
            primitive=info["primitiveType"],
            originals=tuple(filter(None, info["originalLayersNames"].split(","))),
            reads=tuple(value.get_node().get_friendly_name() for value in node.input_values()),
            dtype=_DTYPES.get(info["outputPrecisions"].split(",")[0], info["outputPrecisions"]),
            shape=shape,
            size_bytes=int(np.prod(shape)) * bits // 8,
        )


_INFO = ("layerType", "primitiveType", "originalLayersNames", "outputPrecisions")


def _written(node: Any) -> tuple[tuple[int, ...], int]:
    """Shape and bits an element of what a node writes; an output node writes nothing new."""
    if node.get_output_size() == 0 or node.get_output_partial_shape(0).is_dynamic:
        return (0,), 0
    return tuple(node.get_output_shape(0)), node.get_output_element_type(0).bitwidth


def _computed_anew(nodes: Iterator[_Executed]) -> Iterator[_Executed]:
    """Without what is made of constants alone, once, while the model is loaded."""
    constant: set[str] = set()
    for node in nodes:
        if node.kind == "Const" or (node.reads and constant.issuperset(node.reads)):
            constant.add(node.name)
        else:
            yield node


def _operators(executed: tuple[_Executed, ...], model: Any) -> tuple[OperatorPrecision, ...]:
    types = {node.get_friendly_name(): node.get_type_name() for node in model.get_ordered_ops()}
    kept = set(json.loads(model.get_rt_info(KEPT_INFO).astype(str))) if _has_kept(model) else set()
    stores_half = _stores_half(model)
    dtypes = {node.name: node.dtype for node in executed}
    found: list[OperatorPrecision] = []
    for node in executed:
        if node.kind in ("Input", "Output"):
            continue
        name, kind = _original(node, types)
        precision = "-" if kind in _MOVES_DATA else _computed_in(node)
        reason = ""
        if precision not in ("-", "int8"):
            reads_int8 = all(dtypes.get(read, "int8") in ("int8", "uint8") for read in node.reads)
            reason = _reason(kind, bool(kept.intersection(node.originals)), stores_half, reads_int8)
        shown = name.removesuffix(WITHOUT_BIAS)
        found.append(OperatorPrecision(len(found), kind, shown, precision, reason))
    return tuple(found)


def _has_kept(model: Any) -> bool:
    return bool(model.has_rt_info(KEPT_INFO))


def _original(node: _Executed, types: Mapping[str, str]) -> tuple[str, str]:
    """Name and type of the operator of the model that a node computes; its own without one."""
    names = [name.removesuffix(_DEQUANTIZED) for name in node.originals]
    known = [(name, types[name]) for name in names if name in types]
    computing = [each for each in known if each[1] not in _MOVES_DATA]
    return next(iter((*computing, *known)), (node.name, node.kind))


def _computed_in(node: _Executed) -> str:
    computed = node.primitive.rpartition("_")[2]
    return _PRECISIONS.get(computed, "-")


def _stores_half(model: Any) -> bool:
    return any(size.dtype == "float16" for size in _constants(model))


def _reason(kind: str, kept: bool, stores_half: bool, reads_int8: bool) -> str:
    if kept:
        return KEPT
    if stores_half:
        return "weights are stored in float16, this CPU widens them and computes in float32"
    if reads_int8:
        return f"OpenVINO's kernel for {kind} reads INT8 here and computes in float32"
    return f"OpenVINO has no INT8 kernel that takes {kind} as it stands here"


def _constants(model: Any) -> Iterator[TensorSize]:
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            kind = node.get_output_element_type(0)
            shape = tuple(node.get_output_shape(0))
            size_bytes = int(np.prod(shape)) * kind.bitwidth // 8
            dtype = _DTYPES.get(kind.get_type_name(), kind.get_type_name())
            yield TensorSize(node.get_friendly_name(), "constant", dtype, shape, size_bytes)
