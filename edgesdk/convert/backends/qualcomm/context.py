"""What is in a compiled model: the context model (ONNX) and the binary that it names.

The binary's form is Qualcomm's and not public. Its compiler writes its settings into it as text;
two of them, the SoC's name and the HTP's architecture, say what the binary is for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import onnx

_MADE_FOR = re.compile(rb"soc_type=([A-Za-z0-9_]+);arch=(\d+);")


@dataclass(frozen=True, slots=True)
class Context:
    """A compiled model.

    Args:
        binary: file name of the binary, beside the context model; empty where none is named.
        left: types of the operators that were not compiled.
    """

    binary: str
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MadeFor:
    """What a binary says it was compiled for: the SoC's name, e.g. "QCS8550", and e.g. 73."""

    soc: str
    arch: int


def read_context(path: Path) -> Context:
    """Read a context model.

    Raises:
        ValueError: it is not ONNX.
    """
    try:
        nodes = onnx.load(str(path), load_external_data=False).graph.node
    except Exception as error:  # protobuf's and onnx's errors share no base
        raise ValueError(f"{path.name} is not an ONNX model: {error}") from error
    names = {
        attribute.s.decode("utf-8", "replace")
        for node in nodes
        if node.op_type == "EPContext"
        for attribute in node.attribute
        if attribute.name == "ep_cache_context"
    }
    left = tuple(node.op_type for node in nodes if node.op_type != "EPContext")
    return Context(names.pop() if len(names) == 1 else "", left)


def made_for(binary: Path) -> MadeFor | None:
    """What a binary was compiled for; None where it does not say, or says two things."""
    found = set(_MADE_FOR.findall(binary.read_bytes()))
    if len(found) != 1:
        return None
    soc, arch = found.pop()
    return MadeFor(soc.decode(), int(arch))
