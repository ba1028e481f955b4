"""The `.edgepkg` file: an uncompressed USTAR whose every byte follows from the manifest.

Its members, in this order and no others, lie in a folder named after the package id:

    <package id>/manifest.json
    <package id>/payload/00, payload/01, ...    stored bytes of the manifest's files, in order

Two zero blocks end it, and nothing follows. Since the manifest settles all the rest, the reader
makes each header anew and compares it byte for byte: there is no path to sanitize, no link to
refuse, no size to trust. A chunk is checked before it is decompressed, and decompression stops at
the declared size.

This module is pure: bytes come through a `read` callable, and nothing is written anywhere. The
workstation writes packages with the same functions.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import Callable, Iterable, Iterator, List, Tuple

from device_agent.codec import Malformed, canonical, from_dict, parse_json
from device_agent.manifest import CHUNK_BYTES, FORMAT, File, Manifest

BLOCK_BYTES = 512
MANIFEST_MAX_BYTES = 4 * 1024 * 1024
STORED_MAX_BYTES = 8**11 - 1
"""Largest size that the eleven octal digits of a header can say."""

ROLES = ("model", "companion", "float", "golden")
CODECS = ("none", "zlib")
MANIFEST_NAME = "manifest.json"
TRAILER = bytes(2 * BLOCK_BYTES)

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OCTAL = re.compile(rb"[0-7]{11}\0")
_SIZE_FIELD = slice(124, 136)

Read = Callable[[int], bytes]
"""Like the `read` of an unbuffered stream: up to that many bytes, b"" at the end."""


class CorruptPackage(Exception):
    """The bytes are not a well-formed package; the message says where and why."""


def is_package_id(text: str) -> bool:
    """Whether it has the form of a package id: a SHA-256 in lower-case hex."""
    return _SHA256.fullmatch(text) is not None


def is_file_name(text: str) -> bool:
    """Whether it is a plain, portable file name that does not start with a dot."""
    return _FILE_NAME.fullmatch(text) is not None


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


def manifest_member(package_id: str) -> str:
    """Name of the manifest inside the archive."""
    return f"{package_id}/{MANIFEST_NAME}"


def payload_member(package_id: str, index: int) -> str:
    """Name of the stored bytes of the manifest's file number `index`."""
    return f"{package_id}/payload/{index:02d}"


def package_bytes(manifest: Manifest) -> int:
    """Size of the whole package file."""
    sizes = [len(canonical(manifest)), *(file.stored_bytes for file in manifest.files)]
    return sum(BLOCK_BYTES + size + len(padding(size)) for size in sizes) + len(TRAILER)


def write_package(manifest: Manifest, stored: Callable[[File], Iterable[bytes]]) -> Iterator[bytes]:
    """The package's bytes, piece by piece.

    Args:
        manifest: complete, with sizes and hashes of what follows.
        stored: gives a file's stored bytes, in pieces of any size.

    Raises:
        CorruptPackage: the manifest does not hold. That the bytes match it is for `verify`.
    """
    text, package_id = canonical(manifest), manifest.package_id
    parse_manifest(text)
    yield header(manifest_member(package_id), len(text)) + text + padding(len(text))
    for index, file in enumerate(manifest.files):
        yield header(payload_member(package_id, index), file.stored_bytes)
        for piece in stored(file):
            yield piece
        yield padding(file.stored_bytes)
    yield TRAILER


def check_manifest(manifest: Manifest) -> None:
    """Refuse a manifest that no reader may act on.

    Raises:
        CorruptPackage: an unknown format, an unsafe or repeated file name, a role too many or too
            few, sizes or chunk counts that contradict each other.
    """
    if manifest.format != FORMAT:
        raise CorruptPackage(f"found format {manifest.format!r}, expected {FORMAT!r}")
    roles = [file.role for file in manifest.files]
    if len(set(roles)) != len(roles) or not set(roles) <= set(ROLES) or "model" not in roles:
        raise CorruptPackage(f"found roles {roles}, expected 'model' and each role at most once")
    # Compared without case: the device's file system may not tell the names apart.
    names = [file.path.lower() for file in manifest.files]
    if len(set(names)) != len(names) or MANIFEST_NAME in names:
        raise CorruptPackage(f"found file names {names}, expected each once, no {MANIFEST_NAME}")
    for file in manifest.files:
        _check_file(file)


def _check_file(file: File) -> None:
    if not is_file_name(file.path):
        raise CorruptPackage(f"found file name {file.path!r}, expected {_FILE_NAME.pattern}")
    if file.codec not in CODECS:
        raise CorruptPackage(f"{file.path}: found codec {file.codec!r}, expected one of {CODECS}")
    if not (0 <= file.stored_bytes <= STORED_MAX_BYTES and 0 <= file.raw_bytes):
        raise CorruptPackage(
            f"{file.path}: found sizes {file.stored_bytes} and {file.raw_bytes}, "
            f"expected 0 to {STORED_MAX_BYTES}"
        )
    if file.codec == "none" and file.stored_bytes != file.raw_bytes:
        raise CorruptPackage(
            f"{file.path}: found {file.stored_bytes} stored bytes, expected {file.raw_bytes}"
        )
    expected = -(-file.stored_bytes // CHUNK_BYTES)
    if len(file.chunks) != expected:
        raise CorruptPackage(f"{file.path}: found {len(file.chunks)} chunks, expected {expected}")
    for digest in (file.sha256, *file.chunks):
        if not _SHA256.fullmatch(digest):
            raise CorruptPackage(f"{file.path}: found {digest!r}, expected a SHA-256 in hex")


class PackageReader:
    """Reads a package once, front to back, handing out only bytes that have been verified.

    Args:
        read: gives the package's bytes; must be at its end where the package ends.

    Raises:
        CorruptPackage: the manifest is not there, not canonical, or does not hold.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self.manifest = self._read_manifest()
        self.package_id = self.manifest.package_id

    def files(self) -> Iterator[Tuple[File, Iterator[bytes]]]:
        """Each file with its raw bytes in pieces; what the caller leaves of one file is skipped.

        Only when the last file has been asked for past its end is the package known to be whole.

        Raises:
            CorruptPackage: at the first byte that is not as the manifest says.
        """
        for index, file in enumerate(self.manifest.files):
            name = payload_member(self.package_id, index)
            self._expect(header(name, file.stored_bytes), f"header of {name}")
            pieces = _checked(file, _decoded(file, self._chunks(file)))
            yield file, pieces
            for _ in pieces:
                pass
            self._expect(padding(file.stored_bytes), f"padding of {name}")
        self._expect(TRAILER, "end of the archive")
        if self._read(1):
            raise CorruptPackage("found bytes after the end of the archive")

    def _read_manifest(self) -> Manifest:
        head = self._exactly(BLOCK_BYTES, "header of the manifest")
        package_id, size = head[:64].decode("ascii", "replace"), head[_SIZE_FIELD]
        if not (is_package_id(package_id) and _OCTAL.fullmatch(size)):
            raise CorruptPackage("this is not a package: it does not start with a package id")
        length = int(size[:-1], 8)
        if length > MANIFEST_MAX_BYTES:
            raise CorruptPackage(
                f"found a manifest of {length} bytes, expected at most {MANIFEST_MAX_BYTES}"
            )
        if head != header(manifest_member(package_id), length):
            raise CorruptPackage("header of the manifest: not as this format writes it")
        text = self._exactly(length, "manifest")
        if hashlib.sha256(text).hexdigest() != package_id:
            raise CorruptPackage("manifest: its SHA-256 is not the package id")
        self._expect(padding(length), "padding of the manifest")
        return parse_manifest(text)

    def _chunks(self, file: File) -> Iterator[bytes]:
        left = file.stored_bytes
        for index, digest in enumerate(file.chunks):
            where = f"chunk {index} of {file.path}"
            chunk = self._exactly(min(CHUNK_BYTES, left), where)
            if hashlib.sha256(chunk).hexdigest() != digest:
                raise CorruptPackage(f"{where}: its SHA-256 is not the manifest's")
            left -= len(chunk)
            yield chunk

    def _expect(self, expected: bytes, what: str) -> None:
        if self._exactly(len(expected), what) != expected:
            raise CorruptPackage(f"{what}: not as the manifest demands")

    def _exactly(self, count: int, what: str) -> bytes:
        pieces: List[bytes] = []
        missing = count
        while missing:
            piece = self._read(missing)
            if not piece:
                raise CorruptPackage(f"{what}: ended after {count - missing} of {count} bytes")
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)


def parse_manifest(text: bytes) -> Manifest:
    """The manifest in its canonical bytes; any other spelling of it is refused.

    Raises:
        CorruptPackage: malformed, not canonical (which unknown fields are not), or does not hold.
    """
    try:
        manifest = from_dict(Manifest, parse_json(text))
        spelling = canonical(manifest)
    except (Malformed, ValueError, RecursionError) as error:
        raise CorruptPackage(f"manifest: {error}") from error
    if spelling != text:
        raise CorruptPackage("manifest: not in canonical form")
    check_manifest(manifest)
    return manifest


def verify(read: Read) -> Manifest:
    """Read a whole package and check every byte of it.

    Raises:
        CorruptPackage: at the first thing that is wrong.
    """
    reader = PackageReader(read)
    for _, pieces in reader.files():
        for _ in pieces:
            pass
    return reader.manifest


def _decoded(file: File, chunks: Iterator[bytes]) -> Iterator[bytes]:
    return _inflated(file, chunks) if file.codec == "zlib" else chunks


def _inflated(file: File, chunks: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj()
    for chunk in chunks:
        pending, full = chunk, True
        # A full piece may have left output behind in the inflater, even with no input pending.
        while pending or full:
            try:
                piece = inflater.decompress(pending, CHUNK_BYTES)
            except zlib.error as error:
                raise CorruptPackage(f"{file.path}: {error}") from error
            if inflater.unused_data:
                raise CorruptPackage(f"{file.path}: found bytes after its compressed data")
            pending, full = inflater.unconsumed_tail, len(piece) == CHUNK_BYTES
            yield piece
    if not inflater.eof:
        raise CorruptPackage(f"{file.path}: its compressed data end early")


def _checked(file: File, pieces: Iterator[bytes]) -> Iterator[bytes]:
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        size += len(piece)
        if size > file.raw_bytes:
            raise CorruptPackage(f"{file.path}: more than the declared {file.raw_bytes} bytes")
        digest.update(piece)
        yield piece
    if size != file.raw_bytes:
        raise CorruptPackage(f"{file.path}: found {size} bytes, expected {file.raw_bytes}")
    if digest.hexdigest() != file.sha256:
        raise CorruptPackage(f"{file.path}: its SHA-256 is not the manifest's")
