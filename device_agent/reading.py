"""Reads a package front to back, and hands out only bytes that have been verified.

The head settles all the rest (`device_agent.archive`), so what comes is compared with what must
come. A chunk is checked before it is decompressed, and decompression stops at the declared size.

This module is pure: bytes come through a `read` callable.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import Callable, Iterator, List, Optional, Tuple

from device_agent.archive import (
    BLOCK_BYTES,
    DELTA_NAME,
    TRAILER,
    Head,
    Payload,
    head_bytes,
    header,
    padding,
    payloads,
)
from device_agent.documents import (
    MANIFEST_MAX_BYTES,
    MANIFEST_NAME,
    SIGNATURE_SUFFIX,
    SIGNATURES_MAX_BYTES,
    CorruptPackage,
    check_delta,
    is_package_id,
    parse_canonical,
    parse_manifest,
)
from device_agent.manifest import Delta, Manifest
from device_agent.records import record

_OCTAL = re.compile(rb"[0-7]{11}\0")
_SIZE_FIELD = slice(124, 136)

Read = Callable[[int], bytes]
"""Like the `read` of an unbuffered stream: up to that many bytes, b"" at the end."""


@record(frozen=True)
class Chunk:
    """A chunk as it came, which nobody has looked at yet.

    Args:
        stored: its bytes.
        sha256: what that is of them, if they are right.
        raw_bytes: what it unpacks to, if that is what it does.
        where: which one it is, for people.
        before: of a plain payload, the SHA-256 of the bytes before it, which becomes that of those
            up to its end: all of its chunks have the same one.
    """

    stored: bytes
    sha256: str
    raw_bytes: int
    where: str
    before: Optional[hashlib._Hash] = None

    def check(self) -> None:
        """Compare its stored bytes with their hash, once. Any thread may call this.

        The chunks of a plain payload are checked one after the other.

        Raises:
            CorruptPackage: they are others.
        """
        digest = hashlib.sha256() if self.before is None else self.before
        digest.update(self.stored)
        if digest.hexdigest() != self.sha256:
            raise CorruptPackage(f"{self.where}: its SHA-256 is not the package's")

    def unpack(self) -> bytes:
        """Its bytes in the file, once it has been checked; as `check`.

        Raises:
            CorruptPackage: as `check`; or it does not unpack to as many.
        """
        self.check()
        return _unpacked(self.stored, self.raw_bytes, self.where)


class PackageReader:
    """Reads a package once, front to back, handing out only bytes that have been verified.

    Args:
        read: gives the package's bytes; must be at its end where the package ends.

    Raises:
        CorruptPackage: the head is not there, not canonical, or does not hold.
    """

    def __init__(self, read: Read) -> None:
        self._stream = _Stream(read)
        self.head = _read_head(self._stream)
        self.package_id = self.head.package_id

    @property
    def manifest(self) -> Manifest:
        """Of the package it makes."""
        return self.head.manifest

    def payloads(self) -> Iterator[Tuple[Payload, Iterator[bytes]]]:
        """Each payload with its chunks, verified and unpacked; what the caller leaves is skipped.

        The chunks of a full payload are the file's bytes, those of a patch the patch's. Only when
        the last payload has been asked for past its end is the package known to be whole.

        Raises:
            CorruptPackage: at the first byte that is not as the head says.
        """
        for payload, chunks in _read_payloads(self._stream, payloads(self.head)):
            yield payload, (chunk.unpack() for chunk in chunks)


def resumed(
    read: Read, head: Head, offset: int, came: Optional[hashlib._Hash] = None
) -> Iterator[Tuple[Payload, Iterator[Chunk]]]:
    """The same from the middle of a package: the payloads from the one that `offset` lies in.

    Whoever takes a chunk checks and unpacks it, perhaps in another thread; one that is left is
    checked here.

    Args:
        read: gives the package's bytes from `offset` on.
        offset: as `chunk_offset` gives it; the end of the head, where a delta has no payload.
        came: the SHA-256 of what comes before `offset` in a plain payload.

    Raises:
        CorruptPackage: as `PackageReader.payloads`, or no chunk starts at `offset`.
    """
    everything = payloads(head)
    if not everything and offset == len(head_bytes(head)):
        return _read_payloads(_Stream(read), ())
    for number, payload in enumerate(everything):
        at = payload.start
        for index in range(len(payload.sizes) + 1):
            if at == offset:
                came = hashlib.sha256() if came is None else came.copy()
                return _read_payloads(_Stream(read), everything[number:], (index, came))
            at += payload.sizes[index] if index < len(payload.sizes) else 0
    raise CorruptPackage(f"no chunk of the package starts at byte {offset}")


def read_head(read: Read) -> Head:
    """The head of a package, of whose bytes nothing else need be there.

    Raises:
        CorruptPackage: it is not there, not canonical, or does not hold.
    """
    return _read_head(_Stream(read))


def verify(read: Read) -> Head:
    """Read a whole package and check every byte of it that can be checked without a base.

    Raises:
        CorruptPackage: at the first thing that is wrong.
    """
    reader = PackageReader(read)
    for payload, chunks in reader.payloads():
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
        if payload.codec == "full" and digest.hexdigest() != payload.file.sha256:
            raise CorruptPackage(f"{payload.file.path}: its SHA-256 is not the manifest's")
    return reader.head


def verify_stored(read: Read) -> Head:
    """Read a whole package and check every byte of it as it is stored: nothing is unpacked.

    That is what damage on the way shows in. What a signer contradicted himself in does not: files
    that do not unpack, or to other bytes than the manifest says, are for whoever unpacks them.

    Raises:
        CorruptPackage: at the first thing that is wrong.
    """
    stream = _Stream(read)
    head = _read_head(stream)
    for _ in _read_payloads(stream, payloads(head)):
        pass
    return head


class _Stream:
    """A `Read` that gives exactly what is asked for, with one look ahead."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._ahead = b""

    def exactly(self, count: int, what: str) -> bytes:
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        if len(taken) == count:
            return taken
        pieces: List[bytes] = [taken]
        missing = count - len(taken)
        while missing:
            piece = self._read(missing)
            if not piece:
                raise CorruptPackage(f"{what}: ended after {count - missing} of {count} bytes")
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def expect(self, expected: bytes, what: str) -> None:
        if self.exactly(len(expected), what) != expected:
            raise CorruptPackage(f"{what}: not as the package demands")

    def peek(self, count: int) -> bytes:
        """The next bytes, which stay; fewer than `count` at the end."""
        while len(self._ahead) < count:
            piece = self._read(count - len(self._ahead))
            if not piece:
                break
            self._ahead += piece
        return self._ahead[:count]

    def end(self) -> None:
        if self.peek(1):
            raise CorruptPackage("found bytes after the end of the archive")


def _read_head(stream: _Stream) -> Head:
    first = stream.peek(BLOCK_BYTES)
    package_id = first[:64].decode("ascii", "replace")
    if not is_package_id(package_id):
        raise CorruptPackage("this is not a package: it does not start with a package id")
    text = _member(stream, package_id, MANIFEST_NAME, MANIFEST_MAX_BYTES)
    if text is None:
        raise CorruptPackage("header of the manifest: not as this format writes it")
    if hashlib.sha256(text).hexdigest() != package_id:
        raise CorruptPackage("manifest: its SHA-256 is not the package id")
    manifest = parse_manifest(text)
    signatures = _signatures(stream, package_id, MANIFEST_NAME)
    delta_text = _member(stream, package_id, DELTA_NAME, MANIFEST_MAX_BYTES)
    if delta_text is None:
        return Head(manifest, signatures)
    delta = parse_canonical(Delta, delta_text, "delta")
    check_delta(delta, manifest)
    return Head(manifest, signatures, delta, _signatures(stream, package_id, DELTA_NAME))


def _signatures(stream: _Stream, package_id: str, of: str) -> bytes:
    return _member(stream, package_id, of + SIGNATURE_SUFFIX, SIGNATURES_MAX_BYTES) or b""


def _member(stream: _Stream, package_id: str, name: str, most: int) -> Optional[bytes]:
    """The content of the next member, if it has that name; None if it has another."""
    block = stream.peek(BLOCK_BYTES)
    size_field = block[_SIZE_FIELD]
    if not _OCTAL.fullmatch(size_field):
        return None
    size, full_name = int(size_field[:-1], 8), f"{package_id}/{name}"
    if block != header(full_name, size):
        return None
    if not 0 < size <= most:
        raise CorruptPackage(f"{name}: found {size} bytes, expected 1 to {most}")
    stream.expect(block, f"header of {name}")
    text = stream.exactly(size, name)
    stream.expect(padding(size), f"padding of {name}")
    return text


def _read_payloads(
    stream: _Stream,
    wanted: Tuple[Payload, ...],
    inside: Optional[Tuple[int, hashlib._Hash]] = None,
) -> Iterator[Tuple[Payload, Iterator[Chunk]]]:
    """The payloads; of the first, where the stream is inside of it, from that chunk on."""
    for payload in wanted:
        if inside is None:
            stream.expect(header(payload.name, payload.stored_bytes), f"header of {payload.name}")
        chunks = _read_chunks(stream, payload, *(inside or (0, hashlib.sha256())))
        yield payload, chunks
        for left in chunks:
            left.check()
        stream.expect(padding(payload.stored_bytes), f"padding of {payload.name}")
        inside = None
    stream.expect(TRAILER, "end of the archive")
    stream.end()


def _read_chunks(
    stream: _Stream, payload: Payload, first: int, came: hashlib._Hash
) -> Iterator[Chunk]:
    before = came if payload.is_plain else None
    for index in range(first, len(payload.sizes)):
        where = f"chunk {index} of {payload.file.path}"
        stored = stream.exactly(payload.sizes[index], where)
        yield Chunk(stored, payload.chunks[index], payload.raw_size(index), where, before)


def _unpacked(stored: bytes, raw_bytes: int, where: str) -> bytes:
    if len(stored) == raw_bytes:
        return stored
    inflater = zlib.decompressobj()
    try:
        # One byte more than declared would show; without a limit, a bomb would go off.
        raw = inflater.decompress(stored, raw_bytes + 1)
    except zlib.error as error:
        raise CorruptPackage(f"{where}: {error}") from error
    if len(raw) != raw_bytes or not inflater.eof or inflater.unused_data:
        raise CorruptPackage(f"{where}: does not unpack to {raw_bytes} bytes")
    return raw
