"""What changed between two versions of a model, and what it costs to ship as a delta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

How = Literal["unchanged", "difference", "rescaled", "new", "bytes"]
"""How a tensor is made of the old one: not at all, by a difference, by a difference from its old
values at the new scale, as new; or among the bytes around the tensors."""


@dataclass(frozen=True, slots=True)
class TensorChange:
    """One constant of the new model.

    Args:
        name: as the file has it; empty for all that is no tensor.
        layer: the operator that reads it.
        changed_fraction: of its elements, 0 to 1; of one that is new 1; of what is no tensor None.
        max_step: largest change of a stored integer; None of floats and where there is no old one.
        cost_bytes: its part of the patch, its scales' included, in bytes.
        how: see `How`.
    """

    name: str
    layer: str
    dtype: str
    shape: tuple[int, ...]
    changed_fraction: float | None
    max_step: int | None
    cost_bytes: int
    how: How


@dataclass(frozen=True, slots=True)
class Explanation:
    """A delta, tensor by tensor.

    Args:
        codec: of the smallest delta that was found.
        patch_bytes: its size.
        full_bytes: the new file's size as packages pack it, by zlib.
        changes: what the tensor-aware delta spends on each tensor, most expensive first; they add
            up to that delta, which may be larger than the smallest.
    """

    codec: str
    patch_bytes: int
    full_bytes: int
    changes: tuple[TensorChange, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two versions compared.

    Args:
        old, new: what was compared, as the user named it.
        files: of each file that both have, by its role or name, what a delta of it says.
    """

    old: str
    new: str
    files: dict[str, Explanation]
