"""The edge of ONNX files: what their inputs and outputs are called and look like.

A file that was made gets the names, the order and the shapes that its source model had. A file
that is to be converted gets an edge that no converter can spoil: they rename what they do not like
in a name, turn outputs to a layout of their own, and merge an output with the operator behind it,
after which it is gone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgesdk.errors import ConversionError
from edgesdk.models.formats.onnx import fix_shapes, graph_inputs, load, subgraphs
from edgesdk.models.types import TensorSpec

Edge = Sequence[tuple[str, TensorSpec]]
"""What the file calls a value, and what the source called it."""


def name_edges(path: Path, inputs: Edge, outputs: Edge) -> None:
    """Rename, reorder and fix the shapes of the file's inputs and outputs.

    Raises:
        ConversionError: one of them is missing, one value would need two names, or the file holds
            operators that ONNX does not have.
        ModelError: a shape does not fit the network.
    """
    proto = onnx.load(str(path), load_external_data=False)
    _require_operators(proto.graph)
    wanted = _wanted(proto.graph, inputs, outputs)
    _rename(proto.graph, wanted, set(wanted.values()))
    _reorder(proto.graph, [spec.name for _, spec in inputs], [spec.name for _, spec in outputs])
    fixed = fix_shapes(proto, {spec.name: spec.shape for _, spec in inputs}, path)
    onnx.save(fixed, str(path))


def write_fixed(path: Path, shapes: Mapping[str, tuple[int, ...]], output: Path) -> None:
    """Write the model as one file for a converter: these input shapes, plain names, flat outputs.

    Its inputs are those of `shapes`, in that order, named in_0 and so on; its outputs the model's,
    named out_0 and so on, each of one dimension (of two, where the model's has one).

    Raises:
        ModelError: broken, or the shapes do not fit.
    """
    fixed = fix_shapes(load(path), shapes, path)
    graph = fixed.graph
    inputs = {name: f"in_{index}" for index, name in enumerate(shapes)}
    outputs = [f"out_{index}" for index in range(len(graph.output))]
    _rename(graph, inputs, {*inputs.values(), *outputs})
    fed = {value.name: value for value in graph_inputs(fixed)}
    _replace(graph.input, [fed[name] for name in inputs.values()])
    _flatten_outputs(graph, outputs)
    for each in _graphs(graph):
        _name_nodes(each)
    onnx.save(fixed, str(output))


def _flatten_outputs(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    """Put a RESHAPE of its own behind every output; a flat tensor has no layout to turn."""
    flat = []
    for value, name in zip(graph.output, names, strict=True):
        shape = _flat_shape(value)
        kind = value.type.tensor_type.elem_type
        graph.initializer.append(
            onnx.numpy_helper.from_array(np.asarray(shape, np.int64), f"{name}/shape")
        )
        graph.node.append(
            onnx.helper.make_node("Reshape", [value.name, f"{name}/shape"], [name], name=name)
        )
        known = [None if size < 0 else size for size in shape]
        flat.append(onnx.helper.make_tensor_value_info(name, kind, known))
        if value.name not in {each.name for each in (*graph.value_info, *graph.input)}:
            graph.value_info.append(value)
    _replace(graph.output, flat)


def _flat_shape(value: onnx.ValueInfoProto) -> list[int]:
    dims = value.type.tensor_type.shape.dim
    known = value.type.tensor_type.HasField("shape") and all(dim.dim_value > 0 for dim in dims)
    size = math.prod(dim.dim_value for dim in dims) if known else -1
    # A RESHAPE that changes nothing would be dropped.
    return [1, size] if len(dims) == 1 else [size]


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give each operator that has a name one of its own."""
    taken = {node.name for node in graph.node}
    seen: set[str] = set()
    for node in graph.node:
        if node.name in seen:
            node.name = next(
                name
                for name in (f"{node.name}_{count}" for count in range(1, len(graph.node) + 1))
                if name not in taken
            )
            taken.add(node.name)
        if node.name:
            seen.add(node.name)


def _require_operators(graph: onnx.GraphProto) -> None:
    kinds = {node.op_type for each in _graphs(graph) for node in each.node if not node.domain}
    unknown = sorted(kind for kind in kinds if not onnx.defs.has(kind))
    if unknown:
        raise ConversionError(
            f"the ONNX form of the model holds {', '.join(unknown)}, which is no operator of ONNX",
            hint="replace that operator in the network, or cut that part off",
        )


def _wanted(graph: onnx.GraphProto, inputs: Edge, outputs: Edge) -> dict[str, str]:
    there = {value.name for value in (*graph.input, *graph.output)}
    wanted: dict[str, str] = {}
    for found, spec in (*inputs, *outputs):
        if found not in there:
            raise ConversionError(f"the ONNX form of the model has lost {spec.name!r}")
        if wanted.setdefault(found, spec.name) != spec.name:
            raise ConversionError(
                f"{spec.name!r} and {wanted[found]!r} are one value in the ONNX form of the model, "
                "which can have only one name",
                hint="remove the output that repeats another output or an input",
            )
    return wanted


def _rename(graph: onnx.GraphProto, wanted: Mapping[str, str], taken: Collection[str]) -> None:
    names = {name: f"{name}/inner" for name in _values(graph) if name in taken} | dict(wanted)
    for each in _graphs(graph):
        for node in each.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for value in (*each.input, *each.output, *each.value_info, *each.initializer):
            value.name = names.get(value.name, value.name)


def _values(graph: onnx.GraphProto) -> set[str]:
    return {
        name
        for each in _graphs(graph)
        for node in each.node
        for name in (*node.input, *node.output)
        if name
    }


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _graphs(inner)


def _reorder(graph: onnx.GraphProto, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    for values, names in ((graph.input, inputs), (graph.output, outputs)):
        by_name = {value.name: value for value in values}
        _replace(values, [by_name[name] for name in names])


def _replace(values: Any, others: Sequence[onnx.ValueInfoProto]) -> None:
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in others]
    del values[:]
    values.extend(copies)
