"""A file that the Edge TPU's compiler wrote: what is in it, and where it put each operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ai_edge_litert import schema_py_generated as schema

from edgesdk.convert.backends.edgetpu.package import DAMAGE, Package, read_package
from edgesdk.convert.contiguity import blocker
from edgesdk.convert.macs import macs
from edgesdk.convert.placement import LEFT, ONE_SUBGRAPH
from edgesdk.errors import ModelError
from edgesdk.models.graph import Graph, GraphOperator
from edgesdk.models.reading import read_graph
from edgesdk.targets.types import Accelerator
from edgesdk.values.forecast import CPU, CacheUse, Placement

COMPILED_OPERATOR: Final = "edgetpu-custom-op"
"""libedgetpu, tflite/public/edgetpu.h: kCustomOp."""
UNIT: Final = "edgetpu"
"""The compute unit's id in our descriptors."""


@dataclass(frozen=True, slots=True)
class CompiledFile:
    """A compiled model.

    Args:
        graph: the file's own operators, among them the compiled pieces.
        pieces: what is in them, in the file's order; none where the compiler mapped nothing.
    """

    graph: Graph
    pieces: tuple[Package, ...]

    @property
    def min_runtime_version(self) -> int:
        """The oldest libedgetpu that runs all of it; 0 where nothing needs it."""
        return max((piece.min_runtime_version for piece in self.pieces), default=0)

    def cache(self, capacity_bytes: int) -> CacheUse:
        """What it keeps in an on-chip memory of that size."""
        return CacheUse(
            sum(piece.on_chip_bytes for piece in self.pieces),
            sum(piece.streamed_bytes for piece in self.pieces),
            capacity_bytes,
        )


def cache_of(model: Path, accelerator: Accelerator) -> CacheUse | None:
    """See `edgesdk.convert.toolchains.CompiledReader`."""
    compiled = read_compiled(model)
    if not compiled.pieces or accelerator.edgetpu is None:
        return None
    return compiled.cache(accelerator.edgetpu.parameter_cache_bytes.value)


def read_compiled(path: Path) -> CompiledFile:
    """Read a compiled file, or one that the compiler found nothing to map in.

    Raises:
        ModelError: no TFLite file, or broken.
    """
    graph = read_graph(path)
    content = path.read_bytes()
    pieces = []
    for operator in graph.operators:
        if operator.type == COMPILED_OPERATOR:
            try:
                pieces.append(read_package(_options(content, operator.index)))
            except DAMAGE as error:
                raise ModelError(
                    f"{path} is broken: {operator.type} {operator.name!r}: {error}",
                    hint="compile the model again",
                ) from error
    return CompiledFile(graph, tuple(pieces))


def _options(content: bytes, index: int) -> bytes:
    operator: Any = schema.Model.GetRootAs(content, 0).Subgraphs(0).Operators(index)
    if operator.CustomOptionsIsNone():
        return b""
    return bytes(operator.CustomOptionsAsNumpy().tobytes())


def placements(
    source: Graph, compiled: Graph, statuses: Mapping[str, Sequence[str]] | None = None
) -> tuple[Placement, ...]:
    """Where each operator of the source model runs once it is compiled.

    An operator is left to the CPU where the compiled file still has it: one of its type with its
    outputs' names. All others are in a compiled piece.

    Args:
        statuses: operator type to what the compiler said of those that it left; None where its log
            is not at hand.

    Raises:
        ModelError: the compiled file has operators that the source does not.
    """
    left = Counter(_key(compiled, each) for each in compiled.operators if not _is_piece(each))
    mapped = []
    for operator in source.operators:
        key = _key(source, operator)
        mapped.append(left[key] == 0)
        left[key] -= not mapped[-1]
    foreign = [key for key, count in left.items() if count > 0]
    if foreign:
        raise ModelError(
            f"the compiled file has {foreign[0][0]} {', '.join(foreign[0][1])}, which the model "
            "does not have: it was compiled from another one"
        )
    return tuple(
        _placement(source, mapped, position, statuses or {})
        for position in range(len(source.operators))
    )


def _is_piece(operator: GraphOperator) -> bool:
    return operator.type == COMPILED_OPERATOR


def _key(graph: Graph, operator: GraphOperator) -> tuple[str, tuple[str, ...]]:
    names = tuple(graph.tensors[index].name for index in operator.outputs if index >= 0)
    return operator.type, names


def _placement(
    graph: Graph, mapped: Sequence[bool], position: int, statuses: Mapping[str, Sequence[str]]
) -> Placement:
    operator = graph.operators[position]
    unit = UNIT if mapped[position] else CPU
    reason = "" if mapped[position] else " or ".join(_reasons(graph, mapped, position, statuses))
    count = macs(operator, graph)
    return Placement(operator.index, operator.type, operator.name, unit, reason, macs=count)


def _reasons(
    graph: Graph, mapped: Sequence[bool], position: int, statuses: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """What the compiler may have said of this operator; its log counts types, it names none."""
    operator = graph.operators[position]
    said = list(statuses.get("CUSTOM" if operator.domain else operator.type, ()))
    if len(said) > 1 and blocker(graph, mapped, position) is None:
        # Nothing above it is left, so that it is not for being behind something.
        said = [status for status in said if status != ONE_SUBGRAPH]
    yield from said or [LEFT]
