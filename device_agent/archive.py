"""The `.edgepkg` file: an uncompressed USTAR whose every byte follows from its hashed head.

Its members, in this order and no others, lie in a folder named after the package id:

    <package id>/manifest.json
    <package id>/manifest.json.sig              signatures of the manifest, where it is signed
    <package id>/delta.json                     of a delta package only
    <package id>/delta.json.sig                 where it is signed
    <package id>/payload/00, payload/01, ...    stored bytes of the manifest's files, in order

Two zero blocks end it, and nothing follows. What comes before the payloads is the package's head:
it is enough to judge the package before any of the rest travels. Since the head settles all the
rest, the reader makes each header anew and compares it byte for byte: there is no path to sanitize,
no link to refuse, no size to trust (`device_agent.reading`).

This module is pure: nothing is written anywhere. The workstation writes packages with it.
"""

from __future__ import annotations

import zlib
from typing import Callable, Iterable, Iterator, Optional, Tuple

from device_agent.codec import canonical
from device_agent.documents import (
    MANIFEST_MAX_BYTES,
    MANIFEST_NAME,
    PATCHES,
    SIGNATURE_SUFFIX,
    SIGNATURES_MAX_BYTES,
    STORED_MAX_BYTES,
    CorruptPackage,
    check_delta,
    check_manifest,
    plain_sizes,
)
from device_agent.manifest import CHUNK_BYTES, Delta, DeltaFile, File, Manifest
from device_agent.records import record

BLOCK_BYTES = 512
HEAD_MAX_BYTES = 2 * (MANIFEST_MAX_BYTES + SIGNATURES_MAX_BYTES + 2 * BLOCK_BYTES)
DELTA_NAME = "delta.json"
TRAILER = bytes(2 * BLOCK_BYTES)


@record(frozen=True)
class Head:
    """What comes before the payloads.

    Args:
        manifest: what is installed in the end.
        signatures: of the manifest's canonical bytes, as armored text; b"" where it is unsigned.
        delta: how the files travel; None in a full package.
        delta_signatures: of the delta's canonical bytes.
    """

    manifest: Manifest
    signatures: bytes = b""
    delta: Optional[Delta] = None
    delta_signatures: bytes = b""

    @property
    def package_id(self) -> str:
        """Of the package it makes, delta or not."""
        return self.manifest.package_id


@record(frozen=True)
class Payload:
    """The stored bytes of one file.

    Args:
        file: what it becomes.
        codec: "full", or how it is a patch.
        sizes: of its chunks as stored.
        chunks: their SHA-256, as `File.chunks`.
        name: of the member.
        start: offset of its first byte in the archive.
    """

    file: File
    codec: str
    sizes: Tuple[int, ...]
    chunks: Tuple[str, ...]
    name: str
    start: int

    @property
    def stored_bytes(self) -> int:
        """Size in the archive, without header and padding."""
        return sum(self.sizes)

    @property
    def raw_bytes(self) -> int:
        """What its chunks become, all of them."""
        return self.stored_bytes if self.codec in PATCHES else self.file.raw_bytes

    @property
    def is_plain(self) -> bool:
        """Whether all of it is stored as it is: each chunk's hash goes on from the last one's."""
        return self.stored_bytes == self.raw_bytes

    def raw_size(self, index: int) -> int:
        """Bytes that chunk number `index` becomes."""
        if self.codec in PATCHES:
            return self.sizes[index]
        return min(CHUNK_BYTES, self.file.raw_bytes - index * CHUNK_BYTES)


def header(name: str, size: int) -> bytes:
    """The 512-byte USTAR header of a member: a plain file, mode 0644, owned by nobody, dated 0.

    Raises:
        CorruptPackage: the name has more than 99 ASCII characters, or the size 12 octal digits.
    """
    encoded = name.encode("ascii")
    if len(encoded) > 99 or not 0 <= size <= STORED_MAX_BYTES:
        raise CorruptPackage(f"a member {name!r} of {size} bytes does not fit the format")
    before = b"".join(
        (
            encoded.ljust(100, b"\0"),
            b"0000644\0",
            b"0000000\0" * 2,
            b"%011o\0" % size,
            b"%011o\0" % 0,
        )
    )
    # No link, "ustar" version 00, then names, device numbers and prefix, all empty.
    after = b"0" + bytes(100) + b"ustar\00000" + bytes(32 + 32 + 8 + 8 + 155 + 12)
    checksum = sum(before) + sum(b" " * 8) + sum(after)
    return before + b"%06o\0 " % checksum + after


def padding(size: int) -> bytes:
    """The zero bytes that fill a member of that size up to whole blocks."""
    return bytes(-size % BLOCK_BYTES)


def store_chunk(raw: bytes) -> bytes:
    """A chunk as it is stored: compressed, or as it is where that is not smaller."""
    compressed = zlib.compress(raw, 9)
    return compressed if len(compressed) < len(raw) else raw


def head_bytes(head: Head) -> bytes:
    """The head as it stands in the archive.

    Raises:
        CorruptPackage: the manifest or the delta does not hold.
    """
    return b"".join(
        header(name, len(text)) + text + padding(len(text)) for name, text in _head_members(head)
    )


def payloads(head: Head) -> Tuple[Payload, ...]:
    """The payloads of an archive with that head, in order."""
    at = sum(_member_bytes(len(text)) for _, text in _head_members(head))
    found, folder = [], head.package_id
    for index, (file, how) in enumerate(_travelling(head)):
        name = f"{folder}/payload/{index:02d}"
        if how.codec == "full":
            sizes, chunks = file.sizes, file.chunks
        else:
            sizes, chunks = plain_sizes(how.stored_bytes), how.chunks
        found.append(Payload(file, how.codec, sizes, chunks, name, at + BLOCK_BYTES))
        at += _member_bytes(sum(sizes))
    return tuple(found)


def package_bytes(head: Head) -> int:
    """Size of the whole package file."""
    last = payloads(head)[-1:]
    if not last:
        return len(head_bytes(head)) + len(TRAILER)
    size = last[0].stored_bytes
    return last[0].start + size + len(padding(size)) + len(TRAILER)


def write_package(head: Head, stored: Callable[[Payload], Iterable[bytes]]) -> Iterator[bytes]:
    """The package's bytes, piece by piece.

    Args:
        head: complete, with sizes and hashes of what follows.
        stored: gives a payload's stored bytes, in pieces of any size.

    Raises:
        CorruptPackage: the head does not hold. That the bytes match it is for `verify`.
    """
    check_manifest(head.manifest)
    if head.delta is not None:
        check_delta(head.delta, head.manifest)
    yield head_bytes(head)
    for payload in payloads(head):
        yield header(payload.name, payload.stored_bytes)
        for piece in stored(payload):
            yield piece
        yield padding(payload.stored_bytes)
    yield TRAILER


def chunk_offset(payload: Payload, index: int) -> int:
    """Where chunk number `index` of a payload starts in the archive; one past the last: its end."""
    return payload.start + sum(payload.sizes[:index])


def _head_members(head: Head) -> Iterator[Tuple[str, bytes]]:
    folder = head.package_id
    yield f"{folder}/{MANIFEST_NAME}", canonical(head.manifest)
    if head.signatures:
        yield f"{folder}/{MANIFEST_NAME}{SIGNATURE_SUFFIX}", head.signatures
    if head.delta is not None:
        yield f"{folder}/{DELTA_NAME}", canonical(head.delta)
        if head.delta_signatures:
            yield f"{folder}/{DELTA_NAME}{SIGNATURE_SUFFIX}", head.delta_signatures


def _travelling(head: Head) -> Iterator[Tuple[File, DeltaFile]]:
    files = head.manifest.files
    hows = (
        tuple(DeltaFile(file.path, "full") for file in files)
        if head.delta is None
        else head.delta.files
    )
    for file, how in zip(files, hows):
        if how.codec != "same":
            yield file, how


def _member_bytes(size: int) -> int:
    return BLOCK_BYTES + size + len(padding(size))
