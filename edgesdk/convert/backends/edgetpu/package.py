"""What the Edge TPU's compiler put into its custom operator: executables, parameters, versions.

The operator's options are a FlexBuffer with a flatbuffer in it, a package of executables. The slots
are those of google-coral/libedgetpu, executable/executable.fbs (revision e35aed1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from flatbuffers import number_types
from flatbuffers.table import Table

IDENTIFIER: Final = b"DWN1"
_MOST_EXECUTABLES = 64
DAMAGE = (struct.error, IndexError, TypeError, ValueError, OverflowError)
"""What reading past or across a broken flatbuffer raises."""

# Package
_MIN_RUNTIME_VERSION, _MULTI_EXECUTABLE = 0, 1
# MultiExecutable
_EXECUTABLES = 0
# Executable
_PARAMETERS, _CHIP, _TYPE = 6, 10, 13
_PARAMETER_CACHING: Final = 1


@dataclass(frozen=True, slots=True)
class Package:
    """One compiled piece of a model.

    Args:
        min_runtime_version: the oldest libedgetpu that runs it.
        chip: it was compiled for, e.g. "beagle", which is the Edge TPU of all Coral products.
        on_chip_bytes: parameters that stay in the chip's memory between runs.
        streamed_bytes: parameters that are sent for every run.
    """

    min_runtime_version: int
    chip: str
    on_chip_bytes: int
    streamed_bytes: int


def read_package(options: bytes) -> Package:
    """The package in the custom operator's options.

    Raises:
        ValueError: there is none, or its tables do not hold together.
    """
    start = options.find(IDENTIFIER) - 4
    if start < 0:
        raise ValueError(f"no {IDENTIFIER.decode()} package in {len(options)} bytes")
    try:
        return _package(options[start:])
    except DAMAGE as error:
        raise ValueError(f"its package does not hold together ({error})") from error


def _package(content: bytes) -> Package:
    root = _root(content)
    on_chip = streamed = 0
    chip = ""
    for executable in _executables(_vector(root, _MULTI_EXECUTABLE)):
        size = len(_vector(executable, _PARAMETERS))
        if _integer(executable, _TYPE, number_types.Int16Flags) == _PARAMETER_CACHING:
            on_chip += size
        else:
            streamed += size
        chip = chip or _text(executable, _CHIP)
    version = _integer(root, _MIN_RUNTIME_VERSION, number_types.Int32Flags)
    return Package(version, chip, on_chip, streamed)


def _executables(content: bytes) -> Iterator[Table]:
    root = _root(content)
    offset = _offset(root, _EXECUTABLES)
    count = root.VectorLen(offset) if offset else 0
    if not 1 <= count <= _MOST_EXECUTABLES:
        raise ValueError(f"found {count} executables, expected 1 to {_MOST_EXECUTABLES}")
    start = root.Vector(offset)
    for index in range(count):
        yield _root(root.String(start + 4 * index))


def _root(content: bytes) -> Table:
    if len(content) < 8:
        raise ValueError(f"a table of {len(content)} bytes")
    return Table(content, struct.unpack_from("<I", content, 0)[0])


def _offset(table: Table, slot: int) -> int:
    return int(table.Offset(4 + 2 * slot))


def _integer(table: Table, slot: int, kind: Any) -> int:
    offset = _offset(table, slot)
    return int(table.Get(kind, table.Pos + offset)) if offset else 0


def _vector(table: Table, slot: int) -> bytes:
    offset = _offset(table, slot)
    if not offset:
        return b""
    start, count = table.Vector(offset), table.VectorLen(offset)
    if not 0 <= start <= start + count <= len(table.Bytes):
        raise ValueError(f"{count} bytes at {start} of {len(table.Bytes)}")
    return bytes(table.Bytes[start : start + count])


def _text(table: Table, slot: int) -> str:
    offset = _offset(table, slot)
    return bytes(table.String(table.Pos + offset)).decode(errors="replace") if offset else ""
