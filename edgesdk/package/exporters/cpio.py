"""The cpio archive that SWUpdate takes: the new form with checksums, every byte from the content.

The checksum is the sum of a member's bytes; it guards against accidents only, and SWUpdate relies
on the SHA-256 in the signed description. This writes regular files and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

_MAGIC = b"070702"
_REGULAR = 0o100644
_TRAILER = "TRAILER!!!"
_BLOCK_BYTES = 512
_PIECE_BYTES = 2**20
MEMBER_MAX_BYTES = 2**32 - 1
"""Eight hexadecimal digits of a header."""


def write_cpio(members: Iterable[tuple[str, bytes | Path]]) -> Iterator[bytes]:
    """The archive's bytes, piece by piece.

    Args:
        members: name and content, or the file that holds it, in order.

    Raises:
        ValueError: a member is larger than the form can say.
    """
    size = 0
    for number, (name, content) in enumerate(members, 1):
        for piece in _member(number, name, content):
            size += len(piece)
            yield piece
    last = _header(0, 0, _TRAILER, 0, 0)
    yield last + bytes(-(size + len(last)) % _BLOCK_BYTES)


def _member(number: int, name: str, content: bytes | Path) -> Iterator[bytes]:
    size = sum(len(piece) for piece in _pieces(content))
    if size > MEMBER_MAX_BYTES:
        raise ValueError(f"{name}: found {size} bytes, expected at most {MEMBER_MAX_BYTES}")
    checksum = sum(sum(piece) for piece in _pieces(content)) & 0xFFFFFFFF
    yield _header(number, _REGULAR, name, size, checksum)
    yield from _pieces(content)
    yield bytes(-size % 4)


def _pieces(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            yield piece


def _header(number: int, mode: int, name: str, size: int, checksum: int) -> bytes:
    """Inode, mode, owner, group, links, time, size, four device numbers, name's size, checksum."""
    encoded = name.encode("ascii") + b"\0"
    fields = (number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(encoded), checksum)
    head = _MAGIC + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4)
