"""Which of the operators that a unit could take it does take, when it takes one piece only. Pure.

The Edge TPU compiler is a delegate of TFLite, which cuts a graph into pieces of one kind each:
operators that can go to the delegate, and operators that cannot. A piece starts with the first
operator, in the file's order, whose inputs are all there, and takes whatever of its kind the graph
then lets it reach; the next piece starts where that ends. The compiler keeps the first piece of its
kind (`PartitionGraphIntoIndependentNodeSubsets` in TensorFlow's tensorflow/lite/graph_info.cc).

So a branch that does not depend on a refused operator stays in the piece, wherever it stands in the
file; what depends on one that follows the piece is out; and refused operators ahead of the piece do
no harm to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgesdk.models.graph import Graph


def first_piece(graph: Graph, taken: Sequence[bool]) -> frozenset[int]:
    """Positions of the operators in the first piece that the unit takes.

    Args:
        taken: by position, whether the unit takes the operator at all.
    """
    made = {index for operator in graph.operators for index in operator.outputs if index >= 0}
    waiting = list(range(len(graph.operators)))
    while waiting:
        piece, kind = _piece(graph, taken, waiting, made)
        if kind or not piece:
            return frozenset(piece)
        left = set(piece)
        waiting = [position for position in waiting if position not in left]
    return frozenset()


def _piece(
    graph: Graph, taken: Sequence[bool], waiting: Sequence[int], unmade: set[int]
) -> tuple[list[int], bool]:
    """One piece and its kind; its outputs leave `unmade`. Empty where nothing is ready."""
    piece: list[int] = []
    kind: bool | None = None
    rest, found = list(waiting), True
    while found:
        found, later = False, []
        for position in rest:
            operator = graph.operators[position]
            ready = not any(index in unmade for index in operator.inputs)
            if ready and kind in (None, taken[position]):
                kind, found = taken[position], True
                piece.append(position)
                unmade.difference_update(operator.outputs)
            else:
                later.append(position)
        rest = later
    return piece, bool(kind)


def blocker(graph: Graph, taken: Sequence[bool], position: int) -> int | None:
    """The refused operator nearest above one that is out of the piece for it; None without one."""
    maker = {index: place for place, each in enumerate(graph.operators) for index in each.outputs}
    seen, front = {position}, [position]
    while front:
        above = [maker[i] for place in front for i in graph.operators[place].inputs if i in maker]
        refused = [place for place in above if not taken[place]]
        if refused:
            return max(refused)
        front = [place for place in dict.fromkeys(above) if place not in seen]
        seen.update(front)
    return None
