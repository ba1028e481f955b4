"""A change to a model or package, as what it leaves of each part of a total. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from edgesdk.values.artifact import TensorSize
from edgesdk.values.remedies import RemedyName


@dataclass(frozen=True, slots=True)
class Part:
    """Something that takes `size_bytes` of the total; `tensor` of a file is None."""

    size_bytes: int
    tensor: TensorSize | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A remedy before its bytes are counted.

    Args:
        keeps: part to the share of its values that is left; those of several changes multiply.
        stores: part to the share of the bits a value has; of several changes the smallest counts.
    """

    what: RemedyName
    subject: str
    how: str
    keeps: Mapping[str, Fraction] = field(default_factory=dict)
    stores: Mapping[str, Fraction] = field(default_factory=dict)
    estimated: bool = True


def saved(parts: Mapping[str, Part], changes: Sequence[Change]) -> int:
    """By all of the changes together, rounded down."""
    saved = Fraction(0)
    for key, part in parts.items():
        stored = [each.stores[key] for each in changes if key in each.stores]
        left = min(stored, default=Fraction(1))
        for change in changes:
            left *= change.keeps.get(key, 1)
        saved += part.size_bytes * (1 - left)
    return math.floor(saved)


def is_table(tensor: TensorSize) -> bool:
    return any(reader.use == "table" for reader in tensor.readers)


def bits(tensor: TensorSize) -> int:
    """Of one value."""
    return 8 * tensor.size_bytes // max(1, math.prod(tensor.shape))
