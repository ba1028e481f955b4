"""Two versions of a file, and what in the one was what in the other."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesdk.models.ranges.types import Floats, Layout, TensorRange
from edgesdk.package.delta.pairing import Pairs, pair

Bytes = npt.NDArray[np.uint8]
Place = Floats | TensorRange


@dataclass(frozen=True, slots=True)
class Versions:
    """The old and the new file."""

    old: Bytes
    new: Bytes
    old_layout: Layout
    new_layout: Layout
    pairs: Pairs

    def before(self, place: Place) -> Bytes:
        """Bytes of the old file."""
        return self.old[place.start : place.end]

    def after(self, place: Place) -> Bytes:
        """Bytes of the new file."""
        return self.new[place.start : place.end]

    def floats(self, vector: Floats) -> npt.NDArray[np.float32]:
        """Floats of the new file."""
        return np.frombuffer(self.after(vector).tobytes(), "<f4")

    def unmoved(self, vector: Floats) -> Floats | None:
        """The old floats where they are the same as the new."""
        old = self.pairs.vectors.get(vector.start)
        if old is None or old.count != vector.count:
            return None
        return old if np.array_equal(self.before(old), self.after(vector)) else None

    def paired(self, starts: Collection[int]) -> list[Place]:
        """The counterparts in the old file of what starts there, in order; nothing overlaps."""
        kept: list[Place] = []
        pairs: list[tuple[int, Place]] = [*self.pairs.tensors.items(), *self.pairs.vectors.items()]
        places = [old for start, old in pairs if start in starts]
        for place in sorted(places, key=lambda each: (each.start, each.end)):
            if not kept or place.start >= kept[-1].end:
                kept.append(place)
        return kept


def compare(old: Bytes, new: Bytes, old_layout: Layout, new_layout: Layout) -> Versions:
    """Pair what is in the two files."""
    return Versions(old, new, old_layout, new_layout, pair(old, new, old_layout, new_layout))
