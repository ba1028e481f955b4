"""What an operator reads and makes, by the graph's tensors. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgesdk.models.graph import Graph, GraphOperator, GraphTensor

RECURRENT = frozenset({"LSTM", "GRU", "RNN", "SVDF"}) | frozenset(
    {f"{way}DIRECTIONAL_SEQUENCE_{kind}" for way in ("UNI", "BI") for kind in ("LSTM", "RNN")}
)
"""Types of operators that go through a sequence step by step, in both formats."""


def activations(operator: GraphOperator, graph: Graph) -> tuple[GraphTensor, ...]:
    """Inputs and outputs whose values are not in the file."""
    return (*variable_inputs(operator, graph), *outputs(operator, graph))


def variable_inputs(operator: GraphOperator, graph: Graph) -> tuple[GraphTensor, ...]:
    """Inputs whose values are not in the file."""
    return tuple(tensor for tensor in given_inputs(operator, graph) if not tensor.constant)


def outputs(operator: GraphOperator, graph: Graph) -> tuple[GraphTensor, ...]:
    """Outputs that are given."""
    return tuple(graph.tensors[index] for index in operator.outputs if index >= 0)


def constants(operator: GraphOperator, graph: Graph) -> tuple[GraphTensor, ...]:
    """Inputs whose values are in the file."""
    return tuple(tensor for tensor in given_inputs(operator, graph) if tensor.constant)


def given_inputs(operator: GraphOperator, graph: Graph) -> Iterator[GraphTensor]:
    """Inputs that are not left out."""
    return (graph.tensors[index] for index in operator.inputs if index >= 0)


def input_at(operator: GraphOperator, graph: Graph, position: int = 0) -> GraphTensor | None:
    """The input at a position; None where it is left out."""
    if position >= len(operator.inputs) or operator.inputs[position] < 0:
        return None
    return graph.tensors[operator.inputs[position]]


def first_output(operator: GraphOperator, graph: Graph) -> GraphTensor | None:
    """None where there is no output."""
    return next(iter(outputs(operator, graph)), None)


def known_shapes(tensors: Iterable[GraphTensor]) -> list[tuple[int, ...]]:
    """Shapes of those that have one."""
    return [tensor.shape for tensor in tensors if tensor.shape is not None]
