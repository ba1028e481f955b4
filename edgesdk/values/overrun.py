"""A total that is over a budget, with what is known of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesdk.choices import Precision
from edgesdk.values.artifact import OperatorPrecision, TensorSize
from edgesdk.values.recipe import Override
from edgesdk.values.remedies import BudgetName


@dataclass(frozen=True, slots=True)
class Network:
    """What is known of the converted model whose size is looked at.

    Args:
        layout: of pictures, as its format has them: "NCHW" in ONNX, "NHWC" in TFLite.
        inputs: name to shape.
        outputs: likewise.
        offered: precisions that the target offers with the toolchain, the usual one first.
        operators: with the reasons why some compute in float.
    """

    layout: Literal["NCHW", "NHWC"]
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    precision: Precision
    offered: tuple[Precision, ...]
    keep_float: tuple[str, ...]
    overrides: tuple[Override, ...]
    operators: tuple[OperatorPrecision, ...]


@dataclass(frozen=True, slots=True)
class Overrun:
    """A total that is over a budget, and the parts of it that something can be done about.

    Parts that do not count, or that nothing is known of, are 0 or empty.

    Args:
        what: the budget.
        actual_bytes: the total.
        float_bytes: of the float model in it.
        twin_bytes: of another conversion in it, which may run in the model's place.
        fallback: which of the two a device falls back to; empty where to none.
        golden_bytes: of the golden vectors.
        golden_count: how many those are.
        tensors: constants, and activations that are alive at the peak.
        counted: bytes that each byte of a tensor takes of the total, 0 to 1: what compression
            leaves of the file that the constants lie in.
    """

    what: BudgetName
    limit_bytes: int
    actual_bytes: int
    network: Network
    float_bytes: int = 0
    twin_bytes: int = 0
    fallback: str = ""
    golden_bytes: int = 0
    golden_count: int = 1
    tensors: tuple[TensorSize, ...] = ()
    counted: float = 1.0

    @property
    def over_bytes(self) -> int:
        """How much must go."""
        return self.actual_bytes - self.limit_bytes
