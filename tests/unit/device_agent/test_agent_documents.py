"""Manifests and deltas that no reader may act on, whoever signed them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from agent_packages import delta_of, file_of, head_of_package, manifest_of, noise, package_of

from device_agent import documents
from device_agent.documents import CorruptPackage
from device_agent.manifest import CHUNK_BYTES, HealthCheck

BEFORE = package_of({"model": b"weights" * 9, "golden": b"vectors" * 30})
AFTER = package_of({"model": b"Weights" * 9, "golden": b"vectors" * 30}, version="2")
DELTA = delta_of(AFTER, BEFORE, {"model": "bytes-delta", "golden": "same"}, {"model": b"a patch"})

# ---- manifests -----------------------------------------------------------------------------------

UNSAFE_NAMES = ["../x", "/x", "a/b", "a\\b", "", ".", "..", ".x", "-x", "x\0", "x\n", "\xe9", "C:x"]


@pytest.mark.parametrize("path", [*UNSAFE_NAMES, "manifest.json", "manifest.json.sig", "x" * 129])
def test_unsafe_names_are_refused(path: str) -> None:
    entry, _ = file_of("model", b"x", path=path)
    with pytest.raises(CorruptPackage):
        documents.check_manifest(manifest_of(entry))


@pytest.mark.parametrize("field", ["format", "name", "expires"])
def test_what_a_stranger_wrote_is_quoted_in_part(field: str) -> None:
    """Nobody has vouched for it yet, and it may take megabytes of a log."""
    manifest = dataclasses.replace(manifest_of(file_of("model", b"x")[0]), **{field: "A" * 10**6})
    with pytest.raises(CorruptPackage, match=r"(?s)found .* expected ") as caught:
        documents.check_manifest(manifest)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_unsafe_package_names_are_refused(name: str) -> None:
    """It names a link on the device."""
    with pytest.raises(CorruptPackage, match="found package name"):
        documents.check_manifest(manifest_of(file_of("model", b"x")[0], name=name))


@pytest.mark.parametrize(
    "change",
    [
        {"role": "golden"},
        {"role": "other"},
        {"raw_bytes": -1},
        {"raw_bytes": 8**11},
        {"raw_bytes": CHUNK_BYTES + 1},
        {"raw_bytes": 0},
        {"sizes": ()},
        {"sizes": (0,)},
        {"sizes": (-1,)},
        {"sizes": (2,)},
        {"sizes": (1, 1)},
        {"chunks": ()},
        {"chunks": ("0" * 64, "0" * 64)},
        {"chunks": ("0" * 63,)},
        {"sha256": "0" * 63},
        {"sha256": "G" * 64},
    ],
    ids=str,
)
def test_files_that_contradict_themselves_are_refused(change: dict[str, object]) -> None:
    entry, _ = file_of("model", b"x", **change)
    with pytest.raises(CorruptPackage):
        documents.check_manifest(manifest_of(entry))


@pytest.mark.parametrize("content", [b"", b"x", noise(70_000)], ids=["empty", "small", "large"])
def test_a_plain_file_whose_last_chunk_ends_another_one_is_refused(content: bytes) -> None:
    entry, _ = file_of("model", content, sha256="0" * 64)
    with pytest.raises(CorruptPackage, match=r"model\.bin: its SHA-256 is not that of its last"):
        documents.check_manifest(manifest_of(entry))


@pytest.mark.parametrize("second", ["MODEL.BIN", "model.bin"])
def test_names_that_differ_in_case_alone_are_refused(second: str) -> None:
    files = [file_of("model", b"x")[0], file_of("golden", b"y", path=second)[0]]
    with pytest.raises(CorruptPackage, match="file names"):
        documents.check_manifest(manifest_of(*files))


@pytest.mark.parametrize("role", ["model", "companion"])
def test_a_role_twice_is_refused(role: str) -> None:
    files = [file_of(role, b"x")[0], file_of(role, b"y", path="other")[0]]
    if role != "model":
        files.append(file_of("model", b"z")[0])
    with pytest.raises(CorruptPackage, match="roles"):
        documents.check_manifest(manifest_of(*files))


def test_a_companion_comes_beside_a_model_only() -> None:
    files = [file_of("model", b"x")[0], file_of("companion", b"y")[0]]
    documents.check_manifest(manifest_of(*files))
    with pytest.raises(CorruptPackage, match="expected 'model'"):
        documents.check_manifest(manifest_of(files[1]))


def test_another_format_is_refused() -> None:
    with pytest.raises(CorruptPackage, match="edgepkg/2"):
        documents.check_manifest(manifest_of(file_of("model", b"x")[0], format="edgepkg/2"))


@pytest.mark.parametrize(("sequence", "least"), [(-1, 0), (0, -1), (3, 4)])
def test_sequences_that_make_no_sense_are_refused(sequence: int, least: int) -> None:
    entry, _ = file_of("model", b"x")
    with pytest.raises(CorruptPackage, match=f"found sequence {sequence} and min_sequence {least}"):
        documents.check_manifest(manifest_of(entry, sequence=sequence, min_sequence=least))


@pytest.mark.parametrize("expires", ["", "tomorrow", "2027-06-30", "2027-02-30T00:00:00Z"])
def test_a_date_that_is_none_is_refused(expires: str) -> None:
    with pytest.raises(CorruptPackage, match="expiry"):
        documents.check_manifest(manifest_of(file_of("model", b"x")[0], expires=expires))


@pytest.mark.parametrize(
    ("health", "message"),
    [
        (HealthCheck(command=("true",), command_seconds=0.0), "may take 0 s"),
        (HealthCheck(command=("true",), command_seconds=-1.0), "may take -1 s"),
        (HealthCheck(command=("true",), command_seconds=1e300), r"may take 1e\+300 s"),
        (HealthCheck(max_parity_mismatch_percent=101.0), "101.0 percent"),
    ],
)
def test_health_checks_that_cannot_be_obeyed_are_refused(health: HealthCheck, message: str) -> None:
    with pytest.raises(CorruptPackage, match=message):
        documents.check_manifest(manifest_of(file_of("model", b"x")[0], health=health))


# ---- deltas --------------------------------------------------------------------------------------


def spoilt_delta(change: dict[str, object]) -> Callable[[], None]:
    head = head_of_package(DELTA)
    assert head.delta is not None
    model = dataclasses.replace(head.delta.files[0], **change)
    delta = dataclasses.replace(head.delta, files=(model, head.delta.files[1]))
    return lambda: documents.check_delta(delta, head.manifest)


@pytest.mark.parametrize(
    "change",
    [
        {"codec": "bsdiff"},
        {"codec": "same"},
        {"codec": "full"},
        {"stored_bytes": 0, "chunks": ()},
        {"stored_bytes": -1},
        {"stored_bytes": 8**11},
        {"stored_bytes": CHUNK_BYTES + 1},
        {"base_bytes": -1},
        {"base_bytes": 8**11},
        {"base_sha256": ""},
        {"base_sha256": "../x"},
        {"chunks": ()},
        {"chunks": ("x" * 64,)},
        {"path": "golden.bin"},
        {"path": "../x"},
    ],
    ids=str,
)
def test_deltas_that_contradict_themselves_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(CorruptPackage):
        spoilt_delta(change)()


@pytest.mark.parametrize(
    "change",
    [
        {"format": "edgedelta/2"},
        {"package_id": "0" * 64},
        {"base": ""},
        {"base": "x"},
        {"files": ()},
    ],
    ids=str,
)
def test_the_delta_of_another_package_is_refused(change: dict[str, object]) -> None:
    head = head_of_package(DELTA)
    assert head.delta is not None
    with pytest.raises(CorruptPackage):
        documents.check_delta(dataclasses.replace(head.delta, **change), head.manifest)
