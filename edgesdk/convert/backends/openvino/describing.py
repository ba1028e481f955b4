"""What is in a converted OpenVINO model, read from what OpenVINO executes on this CPU."""

from __future__ import annotations

import edgesdk.convert.backends.openvino.telemetry  # noqa: F401 - before openvino

# isort: split
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgesdk.convert.backends.openvino.quantizing import KEPT_INFO
from edgesdk.convert.backends.openvino.toolkit import compiled, read
from edgesdk.convert.footprint import Step, alive_at_peak
from edgesdk.convert.keeping import KEPT
from edgesdk.values.artifact import OperatorPrecision, Reader, TensorSize

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
    | {"Identity"}
)
_WIDENS = frozenset({"Convert", "Subtract", "Multiply", "FakeQuantize", "FakeConvert"})
"""What stands between a constant in 8 or 16 bits and the operator that computes with it."""
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
        id: OpenVINO's name of it, in which it may have put a number of its own.
        name: of the operator that it computes, the same for every conversion of a model.
        type: of that operator; its own where it computes none of the model's.
        kind: what it is, e.g. "Convolution", "Subgraph" or "Reorder".
        primitive: the kernel, e.g. "brgconv_avx512_I8"; its last part is what it computes in.
        originals: OpenVINO's names of all operators that became this one.
        reads: ids of the nodes that it reads.
        dtype: of what it writes, as numpy spells it where numpy has it.
        shape: of what it writes.
        size_bytes: of what it writes.
    """

    id: str
    name: str
    type: str
    kind: str
    primitive: str
    originals: tuple[str, ...]
    reads: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


def described(path: Path) -> tuple[tuple[OperatorPrecision, ...], tuple[TensorSize, ...]]:
    """Operators as executed, and sizes of tensors, largest first."""
    model = read(path)
    executed = tuple(_computed_anew(_executed(model)))
    constants = tuple(_constants(model))
    written = {node.id: node.size_bytes for node in executed}
    alive = alive_at_peak(
        [Step(node.reads, (node.id,)) for node in executed if node.kind != "Input"],
        written,
        [node.id for node in executed if node.kind == "Input"],
        [],
    )
    activations = tuple(
        replace(_activation(node), at_peak=node.id in alive)
        for node in executed
        if node.kind != "Output"
    )
    sizes = sorted((*constants, *activations), key=lambda size: (-size.size_bytes, size.name))
    return _operators(executed, model), tuple(sizes)


def _activation(node: _Executed) -> TensorSize:
    return TensorSize(node.name, "activation", node.dtype, node.shape, node.size_bytes)


def kept_within_int8(path: Path) -> tuple[tuple[str, str], ...]:
    """Operators that the recipe keeps in float, each with the INT8 kernel that computes it."""
    model = read(path)
    executed = tuple(_computed_anew(_executed(model)))
    kept = _kept(model)
    computed = {name for node in executed for name in node.originals}
    places = {name: name for name in sorted(kept)} | _absorbed(model, kept - computed, computed)
    return tuple(
        (name.removesuffix(WITHOUT_BIAS), node.name)
        for node in executed
        if node.type not in _MOVES_DATA and _PRECISIONS.get(_computes_in(node)) == "int8"
        for name, place in places.items()
        if place in node.originals
    )


def _absorbed(model: Any, names: Collection[str], computed: Collection[str]) -> dict[str, str]:
    """Operator to the quantizer that cuts off in its place, such as a ReLU to one from zero on.

    Args:
        names: of operators that are not executed as such.
        computed: names of those that are, quantizers within kernels included.
    """
    found = {}
    for node in model.get_ordered_ops():
        if node.get_friendly_name() in names and node.get_type_name() not in _MOVES_DATA:
            last = node
            while last is not None and last.get_friendly_name() not in computed:
                last = _only_reader(last)
            if last is not None and last.get_type_name() == "FakeQuantize":
                found[node.get_friendly_name()] = last.get_friendly_name()
    return found


def _only_reader(node: Any) -> Any:
    readers = node.output(0).get_target_inputs() if node.get_output_size() else ()
    return next(iter(readers)).get_node() if len(readers) == 1 else None


def _executed(model: Any) -> Iterator[_Executed]:
    types = {node.get_friendly_name(): node.get_type_name() for node in model.get_ordered_ops()}
    graph = compiled(model).get_runtime_model()
    order = {node: int(node.rt_info["execOrder"].value) for node in graph.get_ordered_ops()}
    for place, node in enumerate(sorted(order, key=order.__getitem__)):
        kind, primitive, names, dtypes = (str(node.rt_info[key].value) for key in _INFO)
        originals = tuple(name.removesuffix(_DEQUANTIZED) for name in names.split(",") if name)
        name, operator_type = _original(originals, types) or (f"{kind}/{place}", kind)
        shape, bits = _written(node)
        yield _Executed(
            id=node.get_friendly_name(),
            name=name.removesuffix(WITHOUT_BIAS),
            type=operator_type,
            kind=kind,
            primitive=primitive,
            originals=originals,
            reads=tuple(value.get_node().get_friendly_name() for value in node.input_values()),
            dtype=_DTYPES.get(dtypes.split(",")[0], dtypes),
            shape=shape,
            size_bytes=int(np.prod(shape)) * bits // 8,
        )


_INFO = ("layerType", "primitiveType", "originalLayersNames", "outputPrecisions")


def _original(originals: tuple[str, ...], types: Mapping[str, str]) -> tuple[str, str] | None:
    """Name and type of the first operator of the model that a node computes, if of any."""
    known = [(name, types[name]) for name in originals if name in types]
    computing = [each for each in known if each[1] not in _MOVES_DATA]
    return next(iter((*computing, *known)), None)


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
            constant.add(node.id)
        else:
            yield node


def _operators(executed: tuple[_Executed, ...], model: Any) -> tuple[OperatorPrecision, ...]:
    kept = _kept(model)
    stores_half = any(size.dtype == "float16" for size in _constants(model))
    dtypes = {node.id: node.dtype for node in executed}
    found: list[OperatorPrecision] = []
    for node in executed:
        if node.kind in ("Input", "Output"):
            continue
        touched = {node.dtype, *(dtypes[read] for read in node.reads if read in dtypes)}
        precision = "-" if node.type in _MOVES_DATA else _computed_in(node, touched)
        reason = ""
        if precision not in ("-", "int8"):
            reason = KEPT if kept & {*node.originals} else _reason(node, touched, stores_half)
        found.append(OperatorPrecision(len(found), node.type, node.name, precision, reason))
    return tuple(found)


def _kept(model: Any) -> set[str]:
    """Names of the operators that the recipe keeps in float."""
    if not model.has_rt_info(KEPT_INFO):
        return set()
    return set(json.loads(model.get_rt_info(KEPT_INFO).astype(str)))


def _computes_in(node: _Executed) -> str:
    return node.primitive.rpartition("_")[2]


def _computed_in(node: _Executed, touched: set[str]) -> str:
    computed = _PRECISIONS.get(_computes_in(node), "-")
    if node.kind == "Subgraph" and computed == "int8" and "float32" in touched:
        # Several operators in one kernel, such as an attention with its softmax.
        return "float32"
    return computed


def _reason(node: _Executed, touched: set[str], stores_half: bool) -> str:
    if stores_half:
        return "weights are stored in float16, this CPU widens them and computes in float32"
    if node.primitive.endswith("8"):
        return "OpenVINO makes one kernel of several operators here, part of it in float32"
    if touched <= {"int8", "uint8"}:
        return f"OpenVINO's kernel for {node.type} reads INT8 here and computes in float32"
    return f"OpenVINO has no INT8 kernel that takes {node.type} as it stands here"


def _constants(model: Any) -> Iterator[TensorSize]:
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            kind = node.get_output_element_type(0)
            shape = tuple(node.get_output_shape(0))
            size_bytes = int(np.prod(shape)) * kind.bitwidth // 8
            dtype = _DTYPES.get(kind.get_type_name(), kind.get_type_name())
            readers = tuple(_readers(node.output(0), len(shape)))
            name = node.get_friendly_name()
            yield TensorSize(name, "constant", dtype, shape, size_bytes, readers)


def _readers(value: Any, rank: int) -> Iterator[Reader]:
    """Who reads a constant of that rank, behind what only widens and scales it."""
    for place in value.get_target_inputs():
        node, slot = place.get_node(), place.get_index()
        kind = node.get_type_name()
        if slot == 0 and kind in _WIDENS and node.get_output_partial_shape(0).rank == rank:
            yield from _readers(node.output(0), rank)
        else:
            name = node.get_friendly_name().removesuffix(WITHOUT_BIAS)
            yield Reader(kind, name, *_use(node, slot, rank))


def _use(node: Any, slot: int, rank: int) -> tuple[Literal["table", "dense", ""], int | None]:
    if (node.get_type_name(), slot) == ("Gather", 0) and rank >= 2:
        return "table", _gather_axis(node, rank)
    if (node.get_type_name(), slot, rank) == ("MatMul", 1, 2):
        return "dense", 0 if node.get_attributes()["transpose_b"] else 1
    return "", None


def _gather_axis(node: Any, rank: int) -> int | None:
    """Of the rows; it is an operand, which need not be a constant."""
    axis = node.input_value(2).get_node()
    return int(axis.data.item()) % rank if axis.get_type_name() == "Constant" else None
