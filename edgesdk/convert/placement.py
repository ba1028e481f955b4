"""Where a target would run each operator, by the rules of its descriptor. Pure.

It is a forecast: a vendor's compiler has reasons of its own, and what it says counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgesdk.convert.contiguity import blocker, first_piece
from edgesdk.convert.cures import CURES
from edgesdk.convert.integer_graph import IntegerGraph
from edgesdk.convert.macs import macs
from edgesdk.convert.onnx_to_tflite import VANISHES, as_tflite
from edgesdk.convert.quantities import Value, quantity
from edgesdk.models.graph import Graph, GraphOperator
from edgesdk.targets.types import Limit, OperatorRule, OperatorRules, Target
from edgesdk.values.forecast import CPU, Placement

UNSUPPORTED_DTYPE: Final = "Operation is working on an unsupported data type"
ONE_SUBGRAPH: Final = "More than one subgraph is not supported"
"""The Edge TPU compiler's words; other vendors' limits have theirs in the descriptor."""
NO_COUNTERPART: Final = "a forecast is possible only after the conversion to TFLite"
LEFT: Final = "the compiler left it to the CPU"
COMPILED: Final = frozenset({"edgetpu-custom-op"})
"""What compilers put in place of the operators that they took: nothing is left to forecast."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a unit does not take an operator, and the cure."""

    reason: str
    cure: str = ""


def place(graph: Graph, target: Target, converted: str = "int8") -> tuple[Placement, ...]:
    """The compute unit of every operator, in the graph's own order.

    An operator goes to the first unit with rules that takes it, else to the CPU, with what the
    first of these units has against it.

    Args:
        converted: dtype that the activations of a float model have after its conversion; those of
            operators without an integer form stay as they are. A model that is quantized already
            is taken as it is.
    """
    units = [unit.id for unit in target.compute_units if unit.id in target.operators]
    refusals = [_refusals(graph, target.operators[unit], converted) for unit in units]
    return tuple(
        _placement(operator, graph, units, [each[position] for each in refusals])
        for position, operator in enumerate(graph.operators)
    )


def _placement(
    operator: GraphOperator,
    graph: Graph,
    units: Sequence[str],
    refusals: Sequence[Refusal | None],
) -> Placement:
    pairs = zip(units, refusals, strict=True)
    unit = next((unit for unit, refusal in pairs if refusal is None), CPU)
    refusal = next(iter(refusals), None) if unit == CPU else None
    reason, cure = (refusal.reason, refusal.cure) if refusal else ("", "")
    count = macs(operator, graph)
    return Placement(operator.index, operator.type, operator.name, unit, reason, cure, count)


def _refusals(graph: Graph, rules: OperatorRules, converted: str) -> list[Refusal | None]:
    """By position; None where the unit takes the operator."""
    if any(operator.type in COMPILED for operator in graph.operators):
        return [None if each.type in COMPILED else Refusal(LEFT) for each in graph.operators]
    integer = IntegerGraph(graph, converted)
    refusals = [_refusal(operator, graph, rules, integer) for operator in graph.operators]
    if not rules.contiguous:
        return refusals
    taken = [refusal is None for refusal in refusals]
    piece = first_piece(graph, taken)
    return [
        _cut_off(graph, taken, position) if refusal is None and position not in piece else refusal
        for position, refusal in enumerate(refusals)
    ]


def _cut_off(graph: Graph, taken: Sequence[bool], position: int) -> Refusal:
    found = blocker(graph, taken, position)
    if found is None:
        return Refusal(ONE_SUBGRAPH)
    operator = graph.operators[found]
    return Refusal(ONE_SUBGRAPH, f"cure {operator.type} {operator.name!r} above it first")


def _refusal(
    operator: GraphOperator, graph: Graph, rules: OperatorRules, integer: IntegerGraph
) -> Refusal | None:
    if rules.format != graph.format:
        if operator.type in VANISHES:
            return None
        counterpart = as_tflite(operator, graph)
        if counterpart is None:
            return Refusal(NO_COUNTERPART, f"convert the model to see what {operator.type} becomes")
        operator = counterpart
    rule = rules.types.get(operator.type)
    allowed = (rule.dtypes if rule else ()) or rules.dtypes
    counterpart_type = operator.type if rules.format == "tflite" else ""
    for dtype in integer.dtypes(operator, counterpart_type):
        if allowed and dtype not in allowed:
            return Refusal(UNSUPPORTED_DTYPE, CURES.get(operator.type, _dtype_cure(dtype, allowed)))
    if rule is None:
        return Refusal(rules.unsupported, CURES.get(operator.type, ""))
    return _limited(operator, graph, rules, rule)


def _limited(
    operator: GraphOperator, graph: Graph, rules: OperatorRules, rule: OperatorRule
) -> Refusal | None:
    for limit in (*rules.limits, *rule.limits):
        if not holds(limit, quantity(limit.quantity, operator, graph)):
            return Refusal(limit.reason or rules.unsupported, limit.cure)
    return None


def holds(limit: Limit, value: Value) -> bool:
    """A quantity is within a limit; one that the operator does not have is."""
    if value is None:
        return True
    if limit.one_of:
        return str(value) in limit.one_of
    if not isinstance(value, int | float):
        return False
    return (limit.at_most is None or value <= limit.at_most) and (
        limit.at_least is None or value >= limit.at_least
    )


def _dtype_cure(dtype: str, allowed: Sequence[str]) -> str:
    return f"it works on {dtype}; it would have to be {' or '.join(allowed)}"
