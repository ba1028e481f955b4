"""The package format: what is sound is read, and nothing else is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable

import pytest
from agent_packages import file_of, manifest_of, package_of, sealed, verify
from hypothesis import given
from hypothesis import strategies as st

from device_agent import archive
from device_agent.archive import CorruptPackage, PackageReader
from device_agent.codec import canonical
from device_agent.manifest import CHUNK_BYTES, Compatibility

SMALL = package_of({"model": b"weights" * 9, "golden": b"vectors" * 30}, codec="zlib")
LARGE = {"model": os.urandom(3 * CHUNK_BYTES + 17), "float": bytes(5 * CHUNK_BYTES)}


def read_all(content: bytes) -> dict[str, bytes]:
    reader = PackageReader(io.BytesIO(content).read)
    return {file.role: b"".join(pieces) for file, pieces in reader.files()}


@pytest.mark.parametrize("codec", ["none", "zlib"])
def test_what_is_written_is_read(codec: str) -> None:
    assert read_all(package_of(LARGE, codec)) == LARGE


@given(st.binary(max_size=300), st.sampled_from(["none", "zlib"]))
def test_any_content_survives(content: bytes, codec: str) -> None:
    assert read_all(package_of({"model": content}, codec)) == {"model": content}


@pytest.mark.parametrize("size", [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 8 * CHUNK_BYTES])
def test_compressed_sizes_about_a_chunk_survive(size: int) -> None:
    assert read_all(package_of({"model": bytes(size)}, "zlib")) == {"model": bytes(size)}


def test_a_reader_that_gives_single_bytes_is_enough() -> None:
    stream = io.BytesIO(SMALL)
    assert archive.verify(lambda _: stream.read(1)).name == "digits"


def test_a_file_that_is_not_read_is_still_verified() -> None:
    reader = PackageReader(io.BytesIO(SMALL).read)
    assert [file.role for file, _ in reader.files()] == ["model", "golden"]


def test_the_size_is_known_before_it_is_written() -> None:
    assert archive.package_bytes(verify(SMALL)) == len(SMALL)


def test_ordinary_tar_reads_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(SMALL)) as tar:
        members = tar.getmembers()
    package_id = verify(SMALL).package_id
    assert [member.name for member in members] == [
        f"{package_id}/manifest.json",
        f"{package_id}/payload/00",
        f"{package_id}/payload/01",
    ]
    assert all(member.isreg() and member.mtime == 0 for member in members)


@given(st.integers(0, archive.STORED_MAX_BYTES))
def test_headers_are_those_of_the_tar_library(size: int) -> None:
    info = tarfile.TarInfo("a/b")
    info.size = size
    assert archive.header("a/b", size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_each_flipped_byte_is_refused() -> None:
    for position in range(len(SMALL)):
        spoilt = bytearray(SMALL)
        spoilt[position] ^= 1 << (position % 8)
        with pytest.raises(CorruptPackage):
            verify(bytes(spoilt))


def test_each_truncation_is_refused() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(CorruptPackage):
            verify(SMALL[:length])


@pytest.mark.parametrize("extra", [b"\0", bytes(512), SMALL])
def test_nothing_may_follow(extra: bytes) -> None:
    with pytest.raises(CorruptPackage, match="after the end"):
        verify(SMALL + extra)


def test_a_chunk_is_checked_before_it_is_decompressed() -> None:
    spoilt = SMALL.replace(zlib.compress(b"weights" * 9, 9), b"\xff" * 17)
    with pytest.raises(CorruptPackage, match="chunk 0 of model"):
        verify(spoilt[: len(SMALL)].ljust(len(SMALL), b"\0"))


def test_a_bomb_stops_at_the_declared_size() -> None:
    entry, stored = file_of("model", b"x" * 1000, codec="zlib", stored=zlib.compress(bytes(10**8)))
    reader = PackageReader(io.BytesIO(sealed(manifest_of(entry), {entry: stored})).read)
    seen = 0
    with pytest.raises(CorruptPackage, match="more than the declared 1000 bytes"):
        for _, pieces in reader.files():
            for piece in pieces:
                seen += len(piece)
    assert seen <= 1000


@pytest.mark.parametrize(
    ("raw", "stored", "message"),
    [
        (b"x" * 99, zlib.compress(b"x" * 98), "found 98 bytes, expected 99"),
        (b"x" * 99, zlib.compress(b"y" * 99), "its SHA-256"),
        (b"x" * 99, zlib.compress(b"x" * 99) + b"more", "after its compressed data"),
        (b"x" * 99, zlib.compress(b"x" * 99)[:-1], "end early"),
        (b"x" * 99, b"not zlib", "incorrect header"),
    ],
)
def test_content_that_is_not_as_declared_is_refused(
    raw: bytes, stored: bytes, message: str
) -> None:
    entry, stored = file_of("model", raw, codec="zlib", stored=stored)
    with pytest.raises(CorruptPackage, match=message):
        verify(sealed(manifest_of(entry), {entry: stored}))


UNSAFE_NAMES = ["../x", "/x", "a/b", "a\\b", "", ".", "..", ".x", "-x", "x\0", "x\n", "\xe9", "C:x"]


@pytest.mark.parametrize("path", [*UNSAFE_NAMES, "manifest.json", "x" * 129])
def test_unsafe_names_are_refused(path: str) -> None:
    entry, stored = file_of("model", b"x", path=path)
    with pytest.raises(CorruptPackage):
        sealed(manifest_of(entry), {entry: stored})


@pytest.mark.parametrize(
    "change",
    [
        {"role": "golden"},
        {"role": "other"},
        {"codec": "xz"},
        {"raw_bytes": -1},
        {"stored_bytes": -1},
        {"stored_bytes": 8**11},
        {"raw_bytes": 2},
        {"chunks": ()},
        {"sha256": "0" * 63},
        {"sha256": "G" * 64},
    ],
    ids=str,
)
def test_files_that_contradict_themselves_are_refused(change: dict[str, object]) -> None:
    entry, _ = file_of("model", b"x", **change)
    with pytest.raises(CorruptPackage):
        archive.check_manifest(manifest_of(entry))


@pytest.mark.parametrize("second", ["MODEL.BIN", "model.bin"])
def test_names_that_differ_in_case_alone_are_refused(second: str) -> None:
    files = [file_of("model", b"x")[0], file_of("golden", b"y", path=second)[0]]
    with pytest.raises(CorruptPackage, match="file names"):
        archive.check_manifest(manifest_of(*files))


@pytest.mark.parametrize("role", ["model", "companion"])
def test_a_role_twice_is_refused(role: str) -> None:
    files = [file_of(role, b"x")[0], file_of(role, b"y", path="other")[0]]
    if role != "model":
        files.append(file_of("model", b"z")[0])
    with pytest.raises(CorruptPackage, match="roles"):
        archive.check_manifest(manifest_of(*files))


def test_a_companion_comes_beside_a_model_only() -> None:
    files = [file_of("model", b"x")[0], file_of("companion", b"y")[0]]
    archive.check_manifest(manifest_of(*files))
    with pytest.raises(CorruptPackage, match="expected 'model'"):
        archive.check_manifest(manifest_of(files[1]))


def test_another_format_is_refused() -> None:
    with pytest.raises(CorruptPackage, match="edgepkg/2"):
        archive.check_manifest(manifest_of(file_of("model", b"x")[0], format="edgepkg/2"))


def with_manifest(text: bytes) -> bytes:
    """A package whose manifest is this text, with the id that belongs to it."""
    package_id = hashlib.sha256(text).hexdigest()
    return (
        archive.header(f"{package_id}/manifest.json", len(text)) + text + archive.padding(len(text))
    )


def edited(change: Callable[[dict[str, object]], None]) -> bytes:
    data = json.loads(canonical(verify(SMALL)))
    change(data)
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


OTHER_MANIFESTS = {
    "empty": (b"", "not JSON"),
    "not text": (b"\xff", "not JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "NaN": (b'{"a":NaN}', "not JSON"),
    "a number": (b"1" * 10_000, "not JSON|found int"),
    "no fields": (b"{}", "missing"),
    "newline": (canonical(verify(SMALL)) + b"\n", "canonical"),
    "unknown field": (edited(lambda data: data.update(unknown=1)), "canonical"),
    "float for int": (edited(lambda data: data.update(sequence=1.0)), "sequence"),
    "int for float": (edited(lambda data: data.update(gates={"x": 1})), "canonical"),
    "too large": (edited(lambda data: data.update(gates={"x": 10**400})), "too large"),
    "field missing": (edited(lambda data: data.pop("limits")), "limits: missing"),
}


@pytest.mark.parametrize(("text", "message"), OTHER_MANIFESTS.values(), ids=OTHER_MANIFESTS.keys())
def test_other_manifests_are_refused(text: bytes, message: str) -> None:
    with pytest.raises(CorruptPackage, match=message):
        verify(with_manifest(text))


def test_a_manifest_of_any_size_is_not_read() -> None:
    head = archive.header("0" * 64 + "/manifest.json", archive.MANIFEST_MAX_BYTES + 1)
    with pytest.raises(CorruptPackage, match="expected at most 4194304"):
        verify(head)


def test_members_in_another_order_are_refused() -> None:
    blocks = [SMALL[start : start + 512] for start in range(0, len(SMALL), 512)]
    first = next(i for i, block in enumerate(blocks) if b"payload/00" in block)
    second = next(i for i, block in enumerate(blocks) if b"payload/01" in block)
    swapped = blocks[:first] + blocks[second:-2] + blocks[first:second] + blocks[-2:]
    with pytest.raises(CorruptPackage, match="header of"):
        verify(b"".join(swapped))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, b"3", b"L"])
def test_members_of_another_kind_are_refused(kind: bytes) -> None:
    head = archive.header(f"{verify(SMALL).package_id}/payload/00", 17)
    info = tarfile.TarInfo.frombuf(head, "ascii", "strict")
    info.type = kind
    start = SMALL.index(b"payload/00") // 512 * 512
    spoilt = SMALL[:start] + info.tobuf(tarfile.USTAR_FORMAT)[:512] + SMALL[start + 512 :]
    with pytest.raises(CorruptPackage, match="header of"):
        verify(spoilt)


def test_the_writer_refuses_what_no_reader_takes() -> None:
    entry, stored = file_of("model", b"x")
    gates: dict[str, object] = {"whole number": 1}
    with pytest.raises(CorruptPackage, match="canonical"):
        sealed(manifest_of(entry, gates=gates), {entry: stored})


def test_the_id_does_not_depend_on_how_it_is_stored_elsewhere() -> None:
    other = package_of({"model": b"a"}, compatibility=Compatibility("x", (), "litert", ""))
    assert verify(other).package_id == hashlib.sha256(canonical(verify(other))).hexdigest()
