"""What an input tensor looks like, in four numbers, and whether calibration saw its like.

The formulas are those of `manifest.InputStatistics`. The workstation takes them over the
calibration samples with these functions, so that both sides compute alike. Needs numpy.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple, Optional

import numpy as np

from device_agent.manifest import Band, InputStatistics

_PIECE = 64 * 1024
"""Elements that are looked at at once, so that no copy of a large input is made."""


class Measured(NamedTuple):
    """Statistics of one sample; NaN or infinite where its elements are."""

    low: float
    high: float
    mean: float
    deviation: float
    roughness: float


def measure(array: np.ndarray) -> Measured:
    """Take the statistics of real numbers, at least one, in any shape."""
    flat = np.ravel(array)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = sum(float(piece.sum()) for piece in _pieces(flat)) / flat.size
        squares = sum(float(np.square(piece - mean).sum()) for piece in _pieces(flat))
        steps = sum(float(np.abs(np.diff(piece)).sum()) for piece in _pieces(flat, overlap=1))
    return Measured(
        low=float(flat.min()),
        high=float(flat.max()),
        mean=mean,
        deviation=(squares / flat.size) ** 0.5,
        roughness=steps / max(1, flat.size - 1),
    )


def oddity(array: np.ndarray, allowed: InputStatistics) -> Optional[str]:
    """What of an input is out of distribution, in words; None where nothing is.

    An input that holds a NaN or an infinity is, always.
    """
    found = measure(array)
    for what, value, band in (
        ("mean", found.mean, allowed.mean),
        ("deviation", found.deviation, allowed.deviation),
        ("roughness", found.roughness, allowed.roughness),
    ):
        if not band.low <= value <= band.high:
            return f"{allowed.name}: found {what} {value:.6g}, expected {_words(band)}"
    beyond = _percent_beyond(np.ravel(array), allowed.values)
    if beyond > allowed.max_beyond_percent:
        return (
            f"{allowed.name}: found {beyond:.3g} percent of its values outside of "
            f"{_words(allowed.values)}, expected at most {allowed.max_beyond_percent:g}"
        )
    return None


def _percent_beyond(flat: np.ndarray, values: Band) -> float:
    inside = sum(
        int(np.count_nonzero((piece >= values.low) & (piece <= values.high)))
        for piece in _pieces(flat)
    )
    return 100.0 * (flat.size - inside) / flat.size


def _pieces(flat: np.ndarray, overlap: int = 0) -> Iterator[np.ndarray]:
    """The elements in float64; each piece begins with the last `overlap` ones before it."""
    for start in range(0, flat.size, _PIECE):
        yield flat[max(0, start - overlap) : start + _PIECE].astype(np.float64)


def _words(band: Band) -> str:
    return f"{band.low:.6g} to {band.high:.6g}"
