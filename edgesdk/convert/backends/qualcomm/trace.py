"""What the QNN provider says of each operator: in `qnn_op_trace.json`, and in its log.

The file is not written where nothing at all could be compiled; the log has the reasons then, too.

Source of the form: "QNN EP Framework Op Tracing" in the provider's documentation
(docs/execution_providers/QNN-ExecutionProvider.md of onnxruntime-qnn), schema version 2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesdk.errors import ConversionError

TRACE_FILE = "qnn_op_trace.json"
"""The provider's own name for it."""
_ADDED = re.compile(r"_token_\d+$")
"""ONNX Runtime's mark on the names of operators that its layout transformation touched."""
_CONVERSION = re.compile(r"(Deq|Q)uantizeLinear")
_FAILED = re.compile(
    r"Validation FAILED for \d+ nodes in OrtNodeUnit \((?P<type>\w+)\) :\n"
    r"(?P<nodes>(?:\tOperator type: .*\n)*)\tREASON : (?P<reason>.*)"
)
_NODE = re.compile(r"\tOperator type: (?P<type>\w+) Node name: (?P<name>.*) Node index: \d+")


@dataclass(frozen=True, slots=True)
class Refused:
    """An operator that the HTP does not take.

    Args:
        type: as ONNX spells it.
        name: its own.
        reason: in the provider's words.
    """

    type: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Trace:
    """What the provider made of a model.

    Args:
        refused: operators it does not take.
        groups: names of the ONNX operators, conversions included, that became one or more
            operators of the HTP together.
    """

    refused: tuple[Refused, ...]
    groups: tuple[frozenset[str], ...]

    def computes_quantized(self, name: str, conversions: frozenset[str]) -> bool | None:
        """The operator took its QuantizeLinear or DequantizeLinear neighbours in; None: not told.

        Args:
            conversions: names of the model's QuantizeLinear and DequantizeLinear operators.
        """
        its_own = [group for group in self.groups if name in group]
        if not its_own:
            return None
        return any(
            other in conversions or _CONVERSION.match(other) for group in its_own for other in group
        )


def read_trace(path: Path) -> Trace | None:
    """The trace; None where there is none.

    Raises:
        ConversionError: it is not of the form we know.
    """
    if not path.is_file():
        return None
    try:
        return _trace(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise ConversionError(
            f"Qualcomm's compiler wrote an account of the operators that cannot be read: {error!r}",
            hint="install a version of onnxruntime-qnn that this edgesdk knows (2.7)",
        ) from error


def read_log(said: str) -> tuple[Refused, ...]:
    """The operators that were refused, by a log that holds everything."""
    found: dict[Refused, None] = {}
    for block in _FAILED.finditer(said):
        for node in _NODE.finditer(block["nodes"]):
            if node["type"] == block["type"]:
                found[Refused(node["type"], _plain(node["name"]), block["reason"].strip())] = None
    return tuple(found)


def _trace(tree: Mapping[str, object]) -> Trace:
    refused = _listed(tree, "unsupported_nodes")
    mappings = [
        mapping
        for subgraph in _listed(tree, "subgraph_traces")
        for mapping in _listed(subgraph, "op_mappings")
    ]
    return Trace(
        tuple(
            Refused(str(node["op_type"]), _plain(node["node_name"]), str(node["reason"]))
            for node in refused
        ),
        tuple(
            frozenset(
                _plain(source["name"])
                for source in _listed(mapping, "sources")
                if source["type"] == "OP"
            )
            for mapping in mappings
        ),
    )


def _listed(tree: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    found = tree[key]
    if not isinstance(found, list):
        raise TypeError(f"{key} is {type(found).__name__}")
    return found


def _plain(name: object) -> str:
    return _ADDED.sub("", str(name))
