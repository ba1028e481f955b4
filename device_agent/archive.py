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
no link to refuse, no size to trust. A chunk is checked before it is decompressed, and decompression
stops at the declared size.

This module is pure: bytes come through a `read` callable, and nothing is written anywhere. The
workstation writes packages with the same functions.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import Callable, Iterable, Iterator, List, Optional, Tuple

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
    is_package_id,
    parse_canonical,
    parse_manifest,
    plain_sizes,
)
from device_agent.manifest import CHUNK_BYTES, Delta, DeltaFile, File, Manifest
from device_agent.records import record

BLOCK_BYTES = 512
HEAD_MAX_BYTES = 2 * (MANIFEST_MAX_BYTES + SIGNATURES_MAX_BYTES + 2 * BLOCK_BYTES)
DELTA_NAME = "delta.json"
TRAILER = bytes(2 * BLOCK_BYTES)

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
    """

    stored: bytes
    sha256: str
    raw_bytes: int
    where: str

    @property
    def is_packed(self) -> bool:
        """Whether it has to be unpacked."""
        return len(self.stored) != self.raw_bytes

    def check(self) -> None:
        """Compare its stored bytes with their hash. Any thread may call this.

        Raises:
            CorruptPackage: they are others.
        """
        if hashlib.sha256(self.stored).hexdigest() != self.sha256:
            raise CorruptPackage(f"{self.where}: its SHA-256 is not the package's")

    def unpack(self) -> bytes:
        """Its bytes in the file, once it has been checked. Any thread may call this.

        Raises:
            CorruptPackage: as `check`; or it does not unpack to as many.
        """
        self.check()
        return _unpacked(self.stored, self.raw_bytes, self.where)


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
        chunks: their SHA-256.
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
        for payload, chunks in _read_payloads(self._stream, payloads(self.head), 0):
            yield payload, (chunk.unpack() for chunk in chunks)


def resumed(read: Read, head: Head, offset: int) -> Iterator[Tuple[Payload, Iterator[Chunk]]]:
    """The same from the middle of a package: the payloads from the one that `offset` lies in.

    Whoever takes a chunk checks and unpacks it, perhaps in another thread; one that is left is
    checked here.

    Args:
        read: gives the package's bytes from `offset` on.
        offset: as `chunk_offset` gives it; the end of the head, where a delta has no payload.

    Raises:
        CorruptPackage: as `PackageReader.payloads`, or no chunk starts at `offset`.
    """
    everything = payloads(head)
    if not everything and offset == len(head_bytes(head)):
        return _read_payloads(_Stream(read), (), 0)
    for number, payload in enumerate(everything):
        at = payload.start
        for index in range(len(payload.sizes) + 1):
            if at == offset:
                return _read_payloads(_Stream(read), everything[number:], index, inside=True)
            at += payload.sizes[index] if index < len(payload.sizes) else 0
    raise CorruptPackage(f"no chunk of the package starts at byte {offset}")


def chunk_offset(payload: Payload, index: int) -> int:
    """Where chunk number `index` of a payload starts in the archive; one past the last: its end."""
    return payload.start + sum(payload.sizes[:index])


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
    for _ in _read_payloads(stream, payloads(head), 0):
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
    stream: _Stream, wanted: Tuple[Payload, ...], first_chunk: int, inside: bool = False
) -> Iterator[Tuple[Payload, Iterator[Chunk]]]:
    for payload in wanted:
        if not inside:
            stream.expect(header(payload.name, payload.stored_bytes), f"header of {payload.name}")
        chunks = _read_chunks(stream, payload, first_chunk)
        yield payload, chunks
        for left in chunks:
            left.check()
        stream.expect(padding(payload.stored_bytes), f"padding of {payload.name}")
        first_chunk, inside = 0, False
    stream.expect(TRAILER, "end of the archive")
    stream.end()


def _read_chunks(stream: _Stream, payload: Payload, first: int) -> Iterator[Chunk]:
    for index in range(first, len(payload.sizes)):
        where = f"chunk {index} of {payload.file.path}"
        stored = stream.exactly(payload.sizes[index], where)
        yield Chunk(stored, payload.chunks[index], payload.raw_size(index), where)


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
