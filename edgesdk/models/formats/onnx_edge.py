"""Give an ONNX file the names, the order and the shapes that its source model had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx

from edgesdk.errors import ConversionError
from edgesdk.models.formats.onnx import fix_shapes, load, subgraphs
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
    _rename(proto.graph, _wanted(proto.graph, inputs, outputs))
    _reorder(proto.graph, [spec.name for _, spec in inputs], [spec.name for _, spec in outputs])
    fixed = fix_shapes(proto, {spec.name: spec.shape for _, spec in inputs}, path)
    onnx.save(fixed, str(path))


def write_fixed(path: Path, shapes: Mapping[str, tuple[int, ...]], output: Path) -> None:
    """Write the model as one file whose inputs have these shapes.

    Raises:
        ModelError: broken, or the shapes do not fit.
    """
    onnx.save(fix_shapes(load(path), shapes, path), str(output))


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


def _rename(graph: onnx.GraphProto, wanted: Mapping[str, str]) -> None:
    taken = set(wanted.values())
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
        ordered = [
            onnx.ValueInfoProto.FromString(by_name[name].SerializeToString()) for name in names
        ]
        del values[:]
        values.extend(ordered)
