"""Decoded pictures for the wire: in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesdk.units import MIB

BATCH_BYTES = 4 * MIB
"""A picture that is larger goes alone."""


@dataclass(frozen=True, slots=True)
class PictureBatch:
    """Some pictures.

    Args:
        sizes: (height, width) of each.
        payload: uint8 RGB, one picture after the other.
    """

    sizes: tuple[tuple[int, ...], ...]
    payload: bytes


def picture_batches(pictures: Iterable[npt.NDArray[np.uint8]]) -> Iterator[PictureBatch]:
    """Pictures in order, at least one to a batch."""
    sizes: list[tuple[int, ...]] = []
    packed: list[bytes] = []
    for picture in pictures:
        one = np.ascontiguousarray(picture).tobytes()
        if packed and sum(map(len, packed)) + len(one) > BATCH_BYTES:
            yield PictureBatch(tuple(sizes), b"".join(packed))
            sizes, packed = [], []
        sizes.append(picture.shape[:2])
        packed.append(one)
    if packed:
        yield PictureBatch(tuple(sizes), b"".join(packed))
