"""What the calibration samples looked like, taken while they stream by to whoever calibrates.

Only bounds are kept, so memory does not grow with the samples, and their order does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any

import numpy as np
import numpy.typing as npt

from device_agent.manifest import Band, InputStatistics, Port
from device_agent.runtimes.statistics import measure
from edgesdk.convert.toolchains import Sample

DIGITS = 6
"""Significant digits that are kept, rounded outwards: sums may differ by a bit between CPUs."""


class WatchedSamples:
    """A stream of samples that is looked at in the first pass which goes to its end.

    Args:
        stream: starts a pass; each gives the same samples.
    """

    def __init__(self, stream: Callable[[], Iterator[Sample]]) -> None:
        self._stream = stream
        self._bounds: dict[str, _Bounds] | None = None
        self._count = 0

    def stream(self) -> Iterator[Sample]:
        """Start a pass."""
        if self._bounds is not None:
            yield from self._stream()
            return
        bounds: dict[str, _Bounds] = {}
        count = 0
        for sample in self._stream():
            for name, array in sample.items():
                bounds.setdefault(name, _Bounds()).add(array)
            count += 1
            yield sample
        self._bounds, self._count = bounds, count

    def statistics(
        self, names: Sequence[str], ports: Sequence[Port]
    ) -> tuple[InputStatistics, ...]:
        """Of every input, under the name that the converted model gives it.

        A pass is made for it where nobody has made a whole one: a calibration may come from a
        cache.

        Args:
            names: of the inputs in the samples, in the model's order.
            ports: of the converted model, in the same order.
        """
        if self._bounds is None:
            for _ in self.stream():
                pass
        assert self._bounds is not None
        return tuple(
            self._bounds[name].statistics(port.name, self._count)
            for name, port in zip(names, ports, strict=True)
        )


class _Bounds:
    """Least and most of each statistic so far."""

    def __init__(self) -> None:
        self._low = np.full(4, np.inf)
        self._high = np.full(4, -np.inf)

    def add(self, array: npt.NDArray[Any]) -> None:
        found = measure(array)
        self._low = np.minimum(self._low, (found.low, *found[2:]))
        self._high = np.maximum(self._high, (found.high, *found[2:]))

    def statistics(self, name: str, samples: int) -> InputStatistics:
        values, mean, deviation, roughness = (
            Band(_rounded(low, ROUND_FLOOR), _rounded(high, ROUND_CEILING))
            for low, high in zip(self._low, self._high, strict=True)
        )
        return InputStatistics(name, samples, values, mean, deviation, roughness)


def _rounded(value: float, rounding: str) -> float:
    return float(Context(prec=DIGITS, rounding=rounding).create_decimal_from_float(float(value)))
