"""Who reads a graph's tensors, and what is alive at once. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from edgesdk.convert.footprint import Step, alive_at_peak
from edgesdk.models.graph import Graph, GraphOperator

_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
"""ONNX operators that only say how the tensor before them is stored."""


def readers(graph: Graph) -> Mapping[int, Sequence[tuple[GraphOperator, int]]]:
    """Tensor to the operators that read it, each with the input's position."""
    found: defaultdict[int, list[tuple[GraphOperator, int]]] = defaultdict(list)
    for operator in graph.operators:
        for slot, index in enumerate(operator.inputs):
            found[index].append((operator, slot))
    return found


def live_bytes(
    graph: Graph,
    size_bytes: Mapping[int, int],
    vanishing: Sequence[str] = (),
    widened: Mapping[int, int] | None = None,
) -> int:
    """Largest sum of activations alive at once, in the graph's own order; see `alive_bytes`."""
    return sum(alive_bytes(graph, size_bytes, vanishing, widened).values())


def alive_bytes(
    graph: Graph,
    size_bytes: Mapping[int, int],
    vanishing: Sequence[str] = (),
    widened: Mapping[int, int] | None = None,
) -> dict[int, int]:
    """The activations alive together that have the largest sum, and what each takes.

    Args:
        size_bytes: of every tensor, by its index; constants are left out.
        vanishing: operator types that write over what they read.
        widened: constants that have a wider copy while an operator reads them, and its bytes.
    """
    copies = widened or {}
    origins = _origins(graph, (*_CONVERSIONS, *vanishing))
    sizes: dict[str, int] = {}
    for index in range(len(graph.tensors)):
        origin = origins.get(index, index)
        if not graph.tensors[origin].constant:
            smallest = sizes.get(str(origin), size_bytes[index])
            sizes[str(origin)] = min(size_bytes[index], smallest)
    index_of = {tensor.name: index for index, tensor in enumerate(graph.tensors)}
    inputs = [str(index_of[spec.name]) for spec in graph.inputs]
    sizes |= {name: size_bytes[int(name)] for name in inputs}
    sizes |= {str(index): size for index, size in copies.items()}
    alive = alive_at_peak(
        [_step(operator, origins, copies) for operator in graph.operators],
        sizes,
        inputs,
        [str(origins.get(index_of[spec.name], index_of[spec.name])) for spec in graph.outputs],
    )
    return {int(name): sizes[name] for name in alive if name in sizes}


def _origins(graph: Graph, passing: Sequence[str]) -> dict[int, int]:
    """Tensor to the one whose memory it has, where that is another."""
    edge = {spec.name for spec in graph.outputs}
    readings = readers(graph)
    found: dict[int, int] = {}
    for operator in graph.operators:
        if operator.type not in passing or not operator.inputs:
            continue
        source, result = operator.inputs[0], operator.outputs[0]
        alone = operator.type in _CONVERSIONS or len(readings[source]) == 1
        if alone and graph.tensors[result].name not in edge:
            found[result] = found.get(source, source)
    return found


def _step(operator: GraphOperator, origins: Mapping[int, int], copies: Mapping[int, int]) -> Step:
    def named(indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(str(origins.get(index, index)) for index in indices if index >= 0)

    widened = [index for index in operator.inputs if index in copies]
    return Step(named(operator.inputs), named((*operator.outputs, *widened)))
