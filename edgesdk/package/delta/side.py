"""The side of a delta: new scales, which predictions need before the file reaches them.

Vectors come from the old ones, or as multiples of one another: a bias's scales are its weights'
times the input's. Those that have not moved are in the side only where one of these needs them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from device_agent.delta import SIDE_MAX_BYTES
from edgesdk.models.ranges.types import Floats
from edgesdk.package.delta import residuals
from edgesdk.package.delta.steps import Copy, FromSide, Insert, Step, WideStep, wide_step
from edgesdk.package.delta.tensor_types import SMALL
from edgesdk.package.delta.versions import Versions

_EXACT_PART = 0.5
"""Of a vector that is called a multiple of another one."""


class Side:
    """The side as it fills."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._offsets: dict[int, int] = {}
        self._size = 0
        self.steps: list[Step] = []
        self.places: dict[int, int] = {}
        """Which step makes the floats that start at a place of the new file."""
        self._fill()

    def offset(self, floats: Floats) -> int | None:
        """Where floats lie in the side; those that have not moved come there when asked for."""
        old = self._versions.unmoved(floats)
        if floats.start not in self._offsets and old is not None:
            self._add(floats, Copy(old.start, 4 * old.count))
        return self._offsets.get(floats.start)

    def written(self, floats: Floats) -> Step | None:
        """How floats get into the file: as they were, or from the side."""
        old = self._versions.unmoved(floats)
        if old is not None:
            return Copy(old.start, 4 * old.count)
        offset = self._offsets.get(floats.start)
        return None if offset is None else FromSide(offset, 4 * floats.count)

    def single_scales(self) -> list[Floats]:
        """Scales of a whole tensor, where they moved and the tensor is a paired one."""
        singles: dict[int, Floats] = {}
        for tensor in self._versions.new_layout.tensors:
            old = self._versions.pairs.tensors.get(tensor.start)
            if old is None or len(tensor.scales) != 1 or len(old.scales) != 1:
                continue
            scale, before = tensor.scales[0], old.scales[0]
            moved = self._versions.before(before).tobytes() != self._versions.after(scale).tobytes()
            if scale.count == 1 and before.count == 1 and moved:
                singles[scale.start] = scale
        return list(singles.values())

    def _fill(self) -> None:
        waiting: list[tuple[Floats, Floats, float]] = []
        vectors = self._versions.new_layout.vectors
        known = [vector for vector in vectors if self._versions.unmoved(vector) is not None]
        still = {vector.start for vector in known}
        weights = {
            scale.start
            for tensor in self._versions.new_layout.tensors
            for scale in tensor.scales
            if tensor.dtype in SMALL
        }
        # Biases' scales are multiples of weights', wherever either lies in the file.
        moved = [vector for vector in vectors if vector.start not in still]
        for vector in sorted(moved, key=lambda each: each.start not in weights):
            source = next(
                (
                    (each, factor)
                    for each in reversed(known)
                    if each.count == vector.count
                    and (
                        factor := _factor(
                            self._versions.floats(each), self._versions.floats(vector)
                        )
                    )
                ),
                None,
            )
            if source is not None:
                waiting.append((vector, *source))
                continue
            known.append(vector)
            self._add(vector, self._vector(vector))
        for vector, origin, factor in waiting:
            if (offset := self.offset(origin)) is not None:
                self._add(vector, self._product(vector, origin, offset, factor))
        for single in self.single_scales():
            self._add(single, Insert(self._versions.after(single).tobytes()))

    def _vector(self, vector: Floats) -> Step:
        old = self._versions.pairs.vectors.get(vector.start)
        new = self._versions.after(vector)
        if old is None:
            return wide_step("vector, new", None, np.zeros_like(new), new, 4)
        return wide_step("vector", old.start, self._versions.before(old), new, 4)

    def _product(self, vector: Floats, origin: Floats, offset: int, factor: float) -> Step:
        predicted = residuals.products(self._versions.floats(origin), factor)
        planes, contexts = residuals.planes(predicted, self._versions.after(vector), 4)
        return WideStep("product", None, None, planes, contexts, (offset, factor))

    def _add(self, place: Floats, step: Step) -> None:
        """Append what makes these floats, as long as there is room."""
        if self._size + step.size <= SIDE_MAX_BYTES:
            self._offsets[place.start] = self._size
            self.places[place.start] = len(self.steps)
            self.steps.append(step)
            self._size += step.size


def _factor(origin: npt.NDArray[np.float32], vector: npt.NDArray[np.float32]) -> float:
    """What one vector has to be multiplied by to give another one, mostly to the bit; else 0."""
    if not origin[0] or not np.isfinite(origin).all() or not np.isfinite(vector).all():
        return 0.0
    quotient = np.float32(float(vector[0]) / float(origin[0]))
    candidates = [quotient, np.nextafter(quotient, np.float32(0)), np.nextafter(quotient, 2)]
    exact = [
        float((residuals.products(origin, float(each)).view("<f4") == vector).mean())
        for each in candidates
    ]
    best = exact.index(max(exact))
    return float(candidates[best]) if exact[best] > _EXACT_PART else 0.0
