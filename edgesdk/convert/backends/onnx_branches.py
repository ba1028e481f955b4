"""What branches and loop bodies read of the graph around them, under names of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
from onnx import helper

from edgesdk.models.formats.onnx import subgraphs


def read_through_identity(proto: onnx.ModelProto) -> None:
    """Put Identity between every activation and the branches and loop bodies that read it.

    The quantizer does not look into them, so they would read the operator's own result, and what
    makes a result that is read unquantized has no INT8 kernel.
    """
    made = {value.name for value in proto.graph.input}
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        names = {name: f"{name}_within_{node.name}" for name in sorted(made & _read_within(node))}
        for name, renamed in names.items():
            nodes.append(helper.make_node("Identity", [name], [renamed], name=renamed))
        for inner in subgraphs(node):
            _rename(inner, names)
        nodes.append(node)
        made.update(node.output)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def reads(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that the operators read, those in branches and loop bodies included."""
    for node in graph.node:
        yield from node.input
        yield from _read_within(node)


def _read_within(node: onnx.NodeProto) -> set[str]:
    found: set[str] = set()
    for inner in subgraphs(node):
        found.update(reads(inner), (value.name for value in inner.output))
    return found


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for inner in subgraphs(node):
            _rename(inner, names)
    for value in graph.output:
        value.name = names.get(value.name, value.name)
