"""A file in the pieces in which it travels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO

from edgesdk.errors import EdgeSDKError
from edgesdk.progress import Advance
from edgesdk.units import KIB

_PIECE_BYTES = 256 * KIB


def opened(path: Path, kind: type[EdgeSDKError]) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise kind(f"{path} cannot be read: {error.strerror}") from error


def in_pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(_PIECE_BYTES):
        yield piece


def counted(pieces: Iterable[bytes], advance: Advance) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        advance(len(piece))
