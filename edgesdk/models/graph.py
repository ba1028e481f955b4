"""A model's operators and tensors as plain values, for what is decided before any conversion.

Float and quantized models alike; nothing is refused here but a broken file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesdk.models.types import Format, TensorSpec

Attribute = int | float | str | bool | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]

SMALL_CONSTANT = 64
"""Constants of at most so many elements have their values in the graph."""


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """One tensor.

    Args:
        name: as the file has it; not always distinct in TFLite.
        shape: None where it is not known; an open dimension is -1.
        dtype: as numpy spells it.
        constant: its values are in the file.
        quantized: it has scales.
        size_bytes: of its values; 0 where the shape is open.
        values: of a small numeric constant, flattened; empty otherwise.
        entropy_bits: information in one value of a large float constant once it has 8 bits, which
            says how far it compresses; None of all others, and where nobody looked.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    constant: bool = False
    quantized: bool = False
    size_bytes: int = 0
    values: tuple[float, ...] = ()
    entropy_bits: float | None = None


@dataclass(frozen=True, slots=True)
class GraphOperator:
    """One operator.

    Args:
        index: its place in the file.
        type: as the format spells it; a custom one's own name.
        name: its own, or its first output's.
        version: of the operator (TFLite) or the operator set (ONNX).
        inputs: indices into the graph's tensors; -1 for an optional one that is not given.
        outputs: likewise.
        attributes: the operator's options.
        domain: of ONNX operators that are not ONNX's own; "custom" for TFLite's custom ones.
    """

    index: int
    type: str
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A model's main graph, operators in the file's order.

    Args:
        inputs: what a caller feeds.
        outputs: what a caller gets.
    """

    format: Format
    operators: tuple[GraphOperator, ...]
    tensors: tuple[GraphTensor, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def is_quantized(self) -> bool:
        """Some activation has scales."""
        return any(tensor.quantized and not tensor.constant for tensor in self.tensors)
