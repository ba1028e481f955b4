"""An iterator that can be read again: what it gave lies in a temporary file, not in memory."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesdk.errors import DataError

Sample = Mapping[str, npt.NDArray[Any]]


def spooled(samples: Iterator[Sample]) -> Callable[[], Iterator[Sample]]:
    """Passes over the samples of an iterator; the first one to go further reads on in it."""
    return _Spool(samples).stream


class _Spool:
    """A file without a name, gone with the last pass that holds it."""

    def __init__(self, samples: Iterator[Sample]) -> None:
        self._samples = samples
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        self._starts = [0]
        self._names: list[tuple[str, ...]] = []
        weakref.finalize(self, self._file.close)

    def stream(self) -> Iterator[Sample]:
        index = 0
        while index < len(self._names) or self._take(index):
            yield self._read(index)
            index += 1

    def _take(self, index: int) -> bool:
        taken = next(self._samples, None)
        if taken is None:
            return False
        sample = _checked(taken, index)
        self._file.seek(self._starts[-1])
        for value in sample.values():
            np.save(self._file, value, allow_pickle=False)
        self._starts.append(self._file.tell())
        self._names.append(tuple(sample))
        return True

    def _read(self, index: int) -> Sample:
        self._file.seek(self._starts[index])
        return {name: np.load(self._file, allow_pickle=False) for name in self._names[index]}


def _checked(taken: Any, index: int) -> dict[str, npt.NDArray[Any]]:
    if not isinstance(taken, Mapping):
        raise DataError(
            f"given sample {index} is a {type(taken).__name__}, expected a dictionary of input "
            "name to array"
        )
    sample = {str(name): np.asarray(value) for name, value in taken.items()}
    for name, value in sample.items():
        if value.dtype.hasobject:
            raise DataError(f"{name!r} of given sample {index} holds objects, expected numbers")
    return sample
