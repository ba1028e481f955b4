"""What a model's constants are for: tables that rows are looked up in, layers' weights. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from edgesdk.convert.lifetimes import readers
from edgesdk.models.graph import Graph, GraphOperator
from edgesdk.values.artifact import Reader, TensorSize

Use = Literal["table", "dense", ""]

_PASSING = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "Cast", "Identity"} | {"QUANTIZE", "DEQUANTIZE", "CAST"}
)
"""Operators that only store what they read first in another way."""


def with_readers(sizes: Sequence[TensorSize], graph: Graph) -> tuple[TensorSize, ...]:
    """`sizes` with the readers of every constant, found by its name where that is distinct."""
    counts = Counter(tensor.name for tensor in graph.tensors)
    found = {
        graph.tensors[index].name: read
        for index, read in constant_readers(graph).items()
        if counts[graph.tensors[index].name] == 1
    }
    return tuple(
        replace(size, readers=found.get(size.name, ())) if size.kind == "constant" else size
        for size in sizes
    )


def constant_readers(graph: Graph) -> Mapping[int, tuple[Reader, ...]]:
    """Every constant, by its index, and who reads it."""
    readings = readers(graph)
    return {
        index: tuple(_readers(graph, readings, index))
        for index, tensor in enumerate(graph.tensors)
        if tensor.constant
    }


def _readers(
    graph: Graph, readings: Mapping[int, Sequence[tuple[GraphOperator, int]]], index: int
) -> Iterator[Reader]:
    rank = len(graph.tensors[index].shape or ())
    waiting, seen = [index], {index}
    while waiting:
        for operator, slot in readings.get(waiting.pop(), ()):
            if operator.type not in _PASSING:
                yield Reader(operator.type, operator.name, *_use(operator, slot, rank))
            elif slot == 0 and not seen.issuperset(operator.outputs):
                waiting += operator.outputs
                seen.update(operator.outputs)


def _use(operator: GraphOperator, slot: int, rank: int) -> tuple[Use, int | None]:
    attributes = operator.attributes
    match operator.type, slot:
        case ("Gather" | "GATHER", 0) if rank >= 2:
            axis = attributes.get("axis", 0)
            return ("table", axis % rank) if isinstance(axis, int) else ("", None)
        case ("EMBEDDING_LOOKUP", 1) if rank >= 2:
            return "table", 0
        case ("FULLY_CONNECTED", 1) if rank == 2:
            return "dense", 0
        case ("Gemm", 1) if rank == 2:
            return "dense", 0 if attributes.get("transB") else 1
        case ("MatMul", 1) if rank == 2:
            return "dense", 1
    return "", None
