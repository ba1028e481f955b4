"""Where a target would run each operator, by the rules of its descriptor. Pure."""

from __future__ import annotations

from edgesdk.models.graph import Graph
from edgesdk.targets.types import Target
from edgesdk.values.forecast import Placement


def place(graph: Graph, target: Target) -> tuple[Placement, ...]:
    """The compute unit of every operator, in the graph's own order."""
    raise NotImplementedError
