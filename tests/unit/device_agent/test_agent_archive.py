"""The package format: what is sound is read, and nothing else is."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator

import pytest
from agent_packages import (
    delta_of,
    file_of,
    head_of,
    head_of_package,
    manifest_of,
    noise,
    package_of,
    pieces,
    sealed,
    verify,
)
from hypothesis import given
from hypothesis import strategies as st

from device_agent import archive, documents, reading
from device_agent.archive import Payload
from device_agent.clock import Clock
from device_agent.codec import canonical
from device_agent.documents import CorruptPackage
from device_agent.manifest import CHUNK_BYTES, Compatibility
from device_agent.reading import Chunk, PackageReader
from device_agent.trust import DELTA_NAMESPACE, PACKAGE_NAMESPACE, Untrusted, require_signed
from tests.signers import BELIEVES_OWNER as TRUST
from tests.signers import OWNER

SMALL = package_of({"model": b"weights" * 9, "golden": b"vectors" * 30})
SIGNED = package_of({"model": b"weights" * 9, "golden": b"vectors" * 30}, OWNER)
LARGE = {"model": noise(3 * CHUNK_BYTES + 17), "float": bytes(5 * CHUNK_BYTES)}
NEXT = package_of({"model": b"Weights" * 9, "golden": b"vectors" * 30}, OWNER, version="2")
DELTA = delta_of(
    NEXT, SIGNED, {"model": "bytes-delta", "golden": "same"}, {"model": b"a patch"}, OWNER
)
ANY_TIME = Clock(0, 0)
EVERY_KIND = {"unsigned": SMALL, "signed": SIGNED, "delta": DELTA}


def joined(payloads: Iterator[tuple[Payload, Iterator[bytes]]]) -> dict[str, bytes]:
    return {payload.file.role: b"".join(chunks) for payload, chunks in payloads}


def read_all(content: bytes) -> dict[str, bytes]:
    return joined(PackageReader(io.BytesIO(content).read).payloads())


def test_what_is_written_is_read() -> None:
    assert read_all(package_of(LARGE)) == LARGE


@given(st.binary(max_size=300))
def test_any_content_survives(content: bytes) -> None:
    assert read_all(package_of({"model": content})) == {"model": content}


@pytest.mark.parametrize("size", [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 8 * CHUNK_BYTES])
@pytest.mark.parametrize("make", [bytes, noise])
def test_sizes_about_a_chunk_survive(size: int, make: Callable[[int], bytes]) -> None:
    assert read_all(package_of({"model": make(size)})) == {"model": make(size)}


@pytest.mark.parametrize("content", EVERY_KIND.values(), ids=EVERY_KIND)
def test_a_reader_that_gives_single_bytes_is_enough(content: bytes) -> None:
    stream = io.BytesIO(content)
    assert reading.verify(lambda _: stream.read(1)).manifest.name == "digits"


def test_a_file_that_is_not_read_is_still_verified() -> None:
    reader = PackageReader(io.BytesIO(SMALL).read)
    assert [payload.file.role for payload, _ in reader.payloads()] == ["model", "golden"]


@pytest.mark.parametrize("content", EVERY_KIND.values(), ids=EVERY_KIND)
def test_the_size_is_known_before_it_is_written(content: bytes) -> None:
    assert archive.package_bytes(head_of_package(content)) == len(content)


def members(content: bytes) -> list[str]:
    """Names within the package's folder."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = tar.getmembers()
    assert all(member.isreg() and member.mtime == 0 for member in found)
    package_id = head_of_package(content).package_id
    assert all(member.name.startswith(f"{package_id}/") for member in found)
    return [member.name.partition("/")[2] for member in found]


def test_ordinary_tar_reads_it() -> None:
    assert members(SMALL) == ["manifest.json", "payload/00", "payload/01"]
    assert members(SIGNED) == ["manifest.json", "manifest.json.sig", "payload/00", "payload/01"]
    assert members(DELTA) == [
        *("manifest.json", "manifest.json.sig", "delta.json", "delta.json.sig", "payload/00"),
    ]


@given(st.integers(0, documents.STORED_MAX_BYTES))
def test_headers_are_those_of_the_tar_library(size: int) -> None:
    info = tarfile.TarInfo("a/b")
    info.size = size
    assert archive.header("a/b", size) == info.tobuf(tarfile.USTAR_FORMAT)


# ---- the head ------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", EVERY_KIND.values(), ids=EVERY_KIND)
def test_the_head_needs_nothing_of_the_rest(content: bytes) -> None:
    text = archive.head_bytes(head_of_package(content))
    assert content.startswith(text)
    # A reader must look at the member behind it, but may find none.
    assert reading.read_head(io.BytesIO(text).read) == head_of_package(content)


def test_the_head_holds_the_signatures_and_the_delta() -> None:
    head = head_of_package(DELTA)
    assert head.signatures.startswith(b"-----BEGIN SSH SIGNATURE-----")
    assert head.delta_signatures not in (b"", head.signatures)
    assert head.delta is not None and [each.codec for each in head.delta.files] == [
        *("bytes-delta", "same"),
    ]
    assert head_of_package(SMALL).signatures == b""


def test_a_delta_has_the_id_and_the_signature_of_the_package_it_makes() -> None:
    head, full = head_of_package(DELTA), head_of_package(NEXT)
    assert (head.package_id, head.signatures) == (full.package_id, full.signatures)


def test_only_what_a_delta_carries_is_a_payload() -> None:
    (payload,) = archive.payloads(head_of_package(DELTA))
    assert (payload.file.role, payload.codec, payload.stored_bytes) == ("model", "bytes-delta", 7)
    assert read_all(DELTA) == {"model": b"a patch"}


def test_a_delta_of_the_very_same_files_carries_nothing() -> None:
    same = delta_of(NEXT, NEXT, {"model": "same", "golden": "same"}, {}, OWNER)
    assert archive.payloads(head_of_package(same)) == ()
    assert read_all(same) == {}
    assert archive.package_bytes(head_of_package(same)) == len(same)


# ---- resuming ------------------------------------------------------------------------------------


def boundaries(content: bytes) -> list[tuple[int, int, int]]:
    """Number of the payload, number of the chunk, offset; the ends of payloads included."""
    return [
        (number, index, archive.chunk_offset(payload, index))
        for number, payload in enumerate(archive.payloads(head_of_package(content)))
        for index in range(len(payload.sizes) + 1)
    ]


def rest_of(content: bytes, offset: int) -> dict[str, bytes]:
    rest, head = io.BytesIO(content[offset:]), head_of_package(content)
    return joined(unpacked(reading.resumed(rest.read, head, offset, before(content, offset))))


def before(content: bytes, offset: int) -> hashlib._Hash:
    """The SHA-256 of what comes before `offset` of the payload that it lies in."""
    starts = [payload.start for payload in archive.payloads(head_of_package(content))]
    return hashlib.sha256(content[max(start for start in starts if start <= offset) : offset])


def unpacked(
    payloads: Iterator[tuple[Payload, Iterator[Chunk]]],
) -> Iterator[tuple[Payload, Iterator[bytes]]]:
    return ((payload, (each.unpack() for each in chunks)) for payload, chunks in payloads)


def test_the_rest_from_any_chunk_on_is_the_rest_of_the_whole() -> None:
    content = package_of({**LARGE, "golden": b""})
    roles = ["model", "float", "golden"]
    whole = read_all(content)
    found = boundaries(content)
    assert len(found) == 5 + 6 + 1
    for number, index, offset in found:
        expected = {role: whole[role] for role in roles[number:]}
        expected[roles[number]] = expected[roles[number]][index * CHUNK_BYTES :]
        assert rest_of(content, offset) == expected


def test_a_delta_of_the_very_same_files_is_resumed_at_its_end() -> None:
    same = delta_of(NEXT, NEXT, {"model": "same", "golden": "same"}, {}, OWNER)
    head = head_of_package(same)
    rest = io.BytesIO(same[len(archive.head_bytes(head)) :])
    assert joined(unpacked(reading.resumed(rest.read, head, len(archive.head_bytes(head))))) == {}


def test_what_is_resumed_must_go_on_from_what_came() -> None:
    content = package_of(LARGE)
    head, offset = head_of_package(content), boundaries(content)[1][2]
    for came in (None, hashlib.sha256(), hashlib.sha256(b"another beginning")):
        with pytest.raises(CorruptPackage, match=r"chunk 1 of model\.bin: its SHA-256"):
            joined(unpacked(reading.resumed(io.BytesIO(content[offset:]).read, head, offset, came)))


def test_each_byte_of_a_plain_file_is_hashed_once() -> None:
    plain, _ = file_of("model", LARGE["model"])
    ends = [CHUNK_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES, len(LARGE["model"])]
    expected = [hashlib.sha256(LARGE["model"][:end]).hexdigest() for end in ends]
    assert list(plain.chunks) == expected
    assert plain.chunks[-1] == plain.sha256
    packed, stored = file_of("float", LARGE["float"])
    assert list(packed.chunks) == [hashlib.sha256(each).hexdigest() for each in stored]


def test_only_the_start_of_a_chunk_is_resumed_at() -> None:
    starts = {offset for _, _, offset in boundaries(SMALL)}
    for offset in set(range(len(SMALL))) - starts:
        with pytest.raises(
            CorruptPackage, match=f"no chunk of the package starts at byte {offset}"
        ):
            reading.resumed(io.BytesIO(SMALL[offset:]).read, head_of_package(SMALL), offset)


def test_what_is_resumed_is_verified_to_its_end() -> None:
    *_, (_, _, offset) = boundaries(SMALL)
    for spoilt in (SMALL[:-1], SMALL + b"\0", SMALL[:-1] + b"x"):
        with pytest.raises(CorruptPackage):
            rest = io.BytesIO(spoilt[offset:])
            joined(unpacked(reading.resumed(rest.read, head_of_package(SMALL), offset)))


# ---- damage --------------------------------------------------------------------------------------


def believed(content: bytes) -> None:
    """Check every byte and every signature.

    Raises:
        CorruptPackage, Untrusted: something is not as it was sealed.
    """
    head = reading.verify(io.BytesIO(content).read)
    require_signed(TRUST, canonical(head.manifest), head.signatures, PACKAGE_NAMESPACE, ANY_TIME)
    if head.delta is not None:
        text = canonical(head.delta)
        require_signed(TRUST, text, head.delta_signatures, DELTA_NAMESPACE, ANY_TIME)


def with_flip(content: bytes, position: int) -> bytes:
    flipped = content[position] ^ 1 << (position % 8)
    return content[:position] + bytes([flipped]) + content[position + 1 :]


def test_each_flipped_byte_is_refused() -> None:
    for position in range(len(SMALL)):
        with pytest.raises(CorruptPackage):
            verify(with_flip(SMALL, position))


def test_each_flipped_byte_of_a_signed_delta_is_refused() -> None:
    """By the archive or, in a signature or what a delta says of its base, by the signature."""
    believed(DELTA)
    for position in range(len(DELTA)):
        with pytest.raises((CorruptPackage, Untrusted)):
            believed(with_flip(DELTA, position))


def test_each_truncation_is_refused() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(CorruptPackage):
            verify(SMALL[:length])


def test_truncations_of_a_signed_delta_are_refused() -> None:
    ends = {at + step for at in range(0, len(DELTA), 512) for step in (-1, 0, 1)}
    for length in sorted({*range(0, len(DELTA), 37), *ends} & {*range(len(DELTA))}):
        with pytest.raises(CorruptPackage):
            verify(DELTA[:length])


@pytest.mark.parametrize("extra", [b"\0", bytes(512), SMALL])
def test_nothing_may_follow(extra: bytes) -> None:
    with pytest.raises(CorruptPackage, match="after the end"):
        verify(SMALL + extra)


def test_a_chunk_is_checked_before_it_is_decompressed() -> None:
    stored = zlib.compress(b"weights" * 9, 9)
    spoilt = SMALL.replace(stored, b"\xff" * len(stored))
    with pytest.raises(CorruptPackage, match=r"chunk 0 of model.bin: its SHA-256"):
        verify(spoilt)


def test_a_bomb_stops_at_the_declared_size(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zlib.compress(bytes(60_000), 9)
    made: list[int] = []

    class Counting:
        def __init__(self) -> None:
            self._inflater = decompressobj()

        def decompress(self, data: bytes, limit: int) -> bytes:
            made.append(limit)
            return self._inflater.decompress(data, limit)

        def __getattr__(self, name: str) -> object:
            return getattr(self._inflater, name)

    decompressobj = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Counting)
    entry, stored = file_of("model", b"x" * 1000, stored=[bomb])
    with pytest.raises(CorruptPackage, match="does not unpack to 1000 bytes"):
        verify(sealed(head_of(manifest_of(entry)), {entry.path: stored}))
    assert made == [1001]


def test_a_bomb_within_a_bomb_is_no_larger() -> None:
    """The limit is a chunk's: whatever a manifest declares, 64 KiB at a time."""
    entry, stored = file_of("model", bytes(CHUNK_BYTES), stored=[zlib.compress(bytes(10**8), 9)])
    with pytest.raises(CorruptPackage, match=f"expected 1 to {CHUNK_BYTES}"):
        documents.check_manifest(manifest_of(entry))
    assert stored


@pytest.mark.parametrize(
    ("raw", "stored", "message"),
    [
        (b"x" * 99, zlib.compress(b"x" * 98), "does not unpack to 99 bytes"),
        (b"x" * 99, zlib.compress(b"x" * 100), "does not unpack to 99 bytes"),
        (b"x" * 99, zlib.compress(b"y" * 99), "model.bin: its SHA-256"),
        (b"x" * 99, zlib.compress(b"x" * 99) + b"more", "does not unpack"),
        (b"x" * 99, zlib.compress(b"x" * 99)[:-1], "does not unpack"),
        (b"x" * 99, b"not zlib", "incorrect header"),
        (b"x" * 99, b"y" * 99, "model.bin: its SHA-256"),
    ],
)
def test_content_that_is_not_as_declared_is_refused(
    raw: bytes, stored: bytes, message: str
) -> None:
    entry, chunks = file_of("model", raw, stored=[stored])
    with pytest.raises(CorruptPackage, match=message):
        verify(sealed(head_of(manifest_of(entry)), {entry.path: chunks}))


def test_each_chunk_unpacks_by_itself() -> None:
    raw = bytes(CHUNK_BYTES) + noise(CHUNK_BYTES) + b"end"
    entry, chunks = file_of("model", raw)
    assert [len(chunk) < len(piece) for chunk, piece in zip(chunks, pieces(raw), strict=True)] == [
        *(True, False, False),
    ]
    assert entry.stored_bytes == sum(map(len, chunks))
    # Other bytes in the place of a chunk of its very size are found by that chunk's hash alone.
    spoilt = [chunks[0], noise(CHUNK_BYTES, 1), chunks[2]]
    reader = PackageReader(
        io.BytesIO(sealed(head_of(manifest_of(entry)), {entry.path: spoilt})).read
    )
    seen = []
    with pytest.raises(CorruptPackage, match=r"chunk 1 of model.bin"):
        for _, found in reader.payloads():
            for chunk in found:
                seen.append(chunk)
    assert seen == [bytes(CHUNK_BYTES)]


# ---- manifests -----------------------------------------------------------------------------------


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
    "empty": (b"", "expected 1 to"),
    "not text": (b"\xff", "not JSON"),
    "deep": (b"[" * 4000, "not JSON"),
    "deeper": (b"[" * 100_000, "more values than any package"),
    "wide": (b"[" + b"0," * 300_000 + b"0]", "more values than any package"),
    "many names": (
        edited(lambda data: data.update(gates={str(number): 0.5 for number in range(5000)})),
        "more values than any package",
    ),
    "NaN": (b'{"a":NaN}', "not JSON"),
    "a number": (b"1" * 10_000, "not JSON|found int"),
    "no fields": (b"{}", "missing"),
    "newline": (canonical(verify(SMALL)) + b"\n", "canonical"),
    "unknown field": (edited(lambda data: data.update(unknown=1)), "canonical"),
    "float for int": (edited(lambda data: data.update(sequence=1.0)), "sequence"),
    "int for float": (edited(lambda data: data.update(gates={"x": 1})), "canonical"),
    "too large": (edited(lambda data: data.update(gates={"x": 10**400})), "too large"),
    "field missing": (edited(lambda data: data.pop("limits")), "limits: missing"),
    "default left out": (edited(lambda data: data.pop("expires")), "canonical"),
}


@pytest.mark.parametrize(("text", "message"), OTHER_MANIFESTS.values(), ids=OTHER_MANIFESTS.keys())
def test_other_manifests_are_refused(text: bytes, message: str) -> None:
    with pytest.raises(CorruptPackage, match=message):
        verify(with_manifest(text))


# ---- members -------------------------------------------------------------------------------------


def member(content: bytes, name: str, text: bytes) -> bytes:
    """A well-formed member of that package."""
    full = f"{head_of_package(content).package_id}/{name}"
    return archive.header(full, len(text)) + text + archive.padding(len(text))


def split(content: bytes) -> dict[str, bytes]:
    """The members of a package, with headers and padding, by name; the trailer last, as ""."""
    found, at = {}, 0
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for each in tar.getmembers():
            size = 512 + each.size + len(archive.padding(each.size))
            found[each.name.partition("/")[2]] = content[at : at + size]
            at += size
    return {**found, "": content[at:]}


def put_together(content: bytes, *names: str) -> bytes:
    parts = split(content)
    return b"".join(parts[name] for name in names)


def test_a_package_is_the_sum_of_its_members() -> None:
    for content in EVERY_KIND.values():
        assert put_together(content, *split(content)) == content


M, MS, D, DS = "manifest.json", "manifest.json.sig", "delta.json", "delta.json.sig"
ONE, TWO, END = "payload/00", "payload/01", ""
OTHER_ORDERS = {
    "payloads swapped": (SIGNED, (M, MS, TWO, ONE, END)),
    "a payload twice": (SIGNED, (M, MS, ONE, ONE, TWO, END)),
    "a payload missing": (SIGNED, (M, MS, ONE, END)),
    "the signature first": (SIGNED, (MS, M, ONE, TWO, END)),
    "the signature last": (SIGNED, (M, ONE, TWO, MS, END)),
    "the signature twice": (SIGNED, (M, MS, MS, ONE, TWO, END)),
    "the manifest twice": (SIGNED, (M, M, MS, ONE, TWO, END)),
    "no manifest": (SIGNED, (MS, ONE, TWO, END)),
    "no end": (SIGNED, (M, MS, ONE, TWO)),
    "the end twice": (SIGNED, (M, MS, ONE, TWO, END, END)),
    "the delta before the signature": (DELTA, (M, D, MS, DS, ONE, END)),
    "the delta twice": (DELTA, (M, MS, D, D, DS, ONE, END)),
    "the delta's signature first": (DELTA, (M, MS, DS, D, ONE, END)),
    "the delta's signature without it": (DELTA, (M, MS, DS, ONE, END)),
    "the delta's signature twice": (DELTA, (M, MS, D, DS, DS, ONE, END)),
    "the delta behind its payload": (DELTA, (M, MS, ONE, D, DS, END)),
    "a delta's payload without it": (DELTA, (M, MS, ONE, END)),
}


@pytest.mark.parametrize(("content", "order"), OTHER_ORDERS.values(), ids=OTHER_ORDERS)
def test_members_in_another_order_are_refused(content: bytes, order: tuple[str, ...]) -> None:
    with pytest.raises(CorruptPackage):
        verify(put_together(content, *order))


def test_signatures_may_be_taken_off_but_not_moved_to_another_member() -> None:
    """Whether a package must be signed is not for the archive to say."""
    assert verify(put_together(SIGNED, M, ONE, TWO, END)) == verify(SIGNED)
    assert head_of_package(put_together(DELTA, M, D, ONE, END)).delta_signatures == b""


@pytest.mark.parametrize(
    ("before", "name", "most"),
    [
        (b"", M, documents.MANIFEST_MAX_BYTES),
        (put_together(DELTA, M), MS, documents.SIGNATURES_MAX_BYTES),
        (put_together(DELTA, M, MS), D, documents.MANIFEST_MAX_BYTES),
        (put_together(DELTA, M, MS, D), DS, documents.SIGNATURES_MAX_BYTES),
    ],
    ids=[M, MS, D, DS],
)
@pytest.mark.parametrize("size", ["none", "too much"])
def test_a_member_of_any_size_is_not_read(before: bytes, name: str, most: int, size: str) -> None:
    package_id = head_of_package(DELTA).package_id
    count = 0 if size == "none" else most + 1
    head = archive.header(f"{package_id}/{name}", count)
    read = io.BytesIO(before + head + bytes(1024)).read
    with pytest.raises(CorruptPackage, match=f"{name}: found {count} bytes, expected 1 to {most}"):
        reading.read_head(read)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, b"3", b"L"])
@pytest.mark.parametrize("name", [M, MS, D, DS, ONE])
def test_members_of_another_kind_are_refused(kind: bytes, name: str) -> None:
    parts = split(DELTA)
    info = tarfile.TarInfo.frombuf(parts[name][:512], "ascii", "strict")
    info.type = kind
    parts[name] = info.tobuf(tarfile.USTAR_FORMAT)[:512] + parts[name][512:]
    with pytest.raises(CorruptPackage):
        verify(b"".join(parts.values()))


def test_members_of_another_package_are_refused() -> None:
    """No mix and match: each carries the id in its name."""
    for name in (MS, ONE, TWO):
        parts = {**split(SIGNED), name: split(NEXT)[name]}
        with pytest.raises(CorruptPackage):
            verify(b"".join(parts.values()))


# ---- deltas --------------------------------------------------------------------------------------


def test_a_delta_that_is_not_canonical_is_refused() -> None:
    text = canonical(head_of_package(DELTA).delta)
    for other in (text + b" ", text.replace(b'":', b'": ', 1), b"{}", b"\xff"):
        spoilt = put_together(DELTA, M, MS) + member(DELTA, D, other)
        with pytest.raises(CorruptPackage, match=r"^delta: "):
            reading.read_head(io.BytesIO(spoilt).read)


def test_the_writer_refuses_what_no_reader_takes() -> None:
    entry, stored = file_of("model", b"x")
    for unfit in (manifest_of(entry, name="../x"), manifest_of(entry, sequence=-1)):
        with pytest.raises(CorruptPackage):
            sealed(head_of(unfit), {entry.path: stored})


def test_the_id_is_the_hash_of_the_manifest() -> None:
    other = package_of({"model": b"a"}, compatibility=Compatibility("x", (), "litert", ""))
    assert verify(other).package_id == hashlib.sha256(canonical(verify(other))).hexdigest()
