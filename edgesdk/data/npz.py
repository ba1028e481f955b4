"""Rows of the arrays in an `.npz`, read in step and one at a time, so memory stays constant."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from edgesdk.errors import DataError

# RuntimeError is what zipfile raises for encryption and unknown compression.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Header:
    """Shape and dtype of one stored array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class NpzRows:
    """An `.npz` file whose headers have been read."""

    path: Path
    headers: Mapping[str, Header]

    @classmethod
    def open(cls, path: Path) -> NpzRows:
        """Read the headers of every array.

        Raises:
            DataError: missing, not an `.npz`, or with arrays that need unpickling.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                headers = {
                    name.removesuffix(".npy"): _header(archive, name, path)
                    for name in archive.namelist()
                }
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        except (*_DAMAGE, ValueError) as error:
            raise DataError(f"{path} is not an .npz file: {error}") from error
        return cls(path, headers)

    def stream(self, names: Sequence[str]) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """One tuple a row, with the row of each named array.

        Raises:
            DataError: the file ends early or its checksum is wrong.
        """
        try:
            with zipfile.ZipFile(self.path) as archive, ExitStack() as stack:
                arrays = [self._rows(archive, name, stack) for name in names]
                yield from zip(*arrays, strict=True)
        except (OSError, *_DAMAGE) as error:
            raise DataError(f"{self.path} is damaged: {error}") from error

    def _rows(
        self, archive: zipfile.ZipFile, name: str, stack: ExitStack
    ) -> Iterator[npt.NDArray[Any]]:
        header = self.headers[name]
        member = stack.enter_context(archive.open(f"{name}.npy"))
        _skip_header(member)
        size = header.dtype.itemsize * int(np.prod(header.shape[1:]))
        for _ in range(header.shape[0]):
            row = member.read(size)
            if len(row) != size:
                raise EOFError(f"the array {name!r} ends early")
            yield np.frombuffer(row, header.dtype).reshape(header.shape[1:])


def _header(archive: zipfile.ZipFile, name: str, path: Path) -> Header:
    with archive.open(name) as member:
        shape, fortran_order, dtype = _skip_header(member)
    if dtype.hasobject:
        raise DataError(f"{name} in {path} holds Python objects, expected plain numbers")
    if fortran_order and len(shape) > 1:
        raise DataError(
            f"{name} in {path} is stored in Fortran order, expected C order",
            hint="save it with np.ascontiguousarray(array)",
        )
    return Header(shape, dtype)


def _skip_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(member)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read(member)
