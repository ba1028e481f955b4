"""Facts about reading package files: not one byte goes unchecked."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent import archive
from device_agent.archive import Head, store_chunk
from edgesdk.errors import ExitCode, PackageError
from edgesdk.package.building import build_package
from edgesdk.package.reading import read_contents, read_package, read_sealed
from edgesdk.values.package import Budget, Package, Release
from tests.unit.package.artifacts import make_artifact


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of two payloads, one compressed and one not, and little more."""
    folder = tmp_path_factory.mktemp("small")
    contents = {"model": b"0123456789", "golden": bytes(300), "float": b"f"}
    artifact = make_artifact(folder / "artifact", **contents)
    output = folder / "p.edgepkg"
    build_package(artifact, folder / "artifact", output, Release(), Budget(), {}, signer=None)
    return output


Read = Callable[[Path], Package]

WAYS = pytest.mark.parametrize("read", [read_package, read_sealed])


def read_bytes(folder: Path, content: bytes, read: Read = read_package) -> Package:
    path = folder / "read.edgepkg"
    path.write_bytes(content)
    return read(path)


@WAYS
def test_both_ways_give_the_package(small: Path, read: Read) -> None:
    assert read(small) == dataclasses.replace(read_package(small), path=small)
    assert read(small).size_bytes == small.stat().st_size


@WAYS
def test_every_flipped_byte_is_found(small: Path, tmp_path: Path, read: Read) -> None:
    sound = small.read_bytes()
    path = tmp_path / "damaged.edgepkg"
    path.write_bytes(sound)
    unnoticed = []
    with path.open("r+b", buffering=0) as stream:
        for place, byte in enumerate(sound):
            os.pwrite(stream.fileno(), bytes([byte ^ 1 << place % 8]), place)
            try:
                read(path)
                unnoticed.append(place)
            except PackageError:
                os.pwrite(stream.fileno(), bytes([byte]), place)
    assert unnoticed == []


@WAYS
def test_every_truncation_is_found(small: Path, tmp_path: Path, read: Read) -> None:
    sound = small.read_bytes()
    for length in range(0, len(sound), 31):
        with pytest.raises(PackageError, match="is not a sound package"):
            read_bytes(tmp_path, sound[:length], read)


@pytest.mark.parametrize("more", [b"\0", b"x", bytes(512), bytes(10240)])
def test_anything_after_the_end_is_found(small: Path, tmp_path: Path, more: bytes) -> None:
    with pytest.raises(PackageError, match="found bytes after the end of the archive"):
        read_bytes(tmp_path, small.read_bytes() + more)


@settings(max_examples=200)
@given(st.data())
def test_no_edit_of_a_few_bytes_goes_unnoticed(
    small: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    sound = small.read_bytes()
    start = data.draw(st.integers(0, len(sound)))
    end = data.draw(st.integers(start, min(len(sound), start + 20)))
    other = sound[:start] + data.draw(st.binary(max_size=20)) + sound[end:]
    if other != sound:
        with pytest.raises(PackageError):
            read_bytes(tmp_path_factory.getbasetemp(), other)


@pytest.mark.parametrize("content", [b"", b"no package", bytes(4096), b"PK\x03\x04" * 500])
def test_what_is_no_package_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PackageError) as caught:
        read_bytes(tmp_path, content)
    assert caught.value.message.startswith(f"{tmp_path / 'read.edgepkg'} is not a sound package: ")
    assert caught.value.hint == "build or copy it again"
    assert caught.value.exit_code == ExitCode.BAD_INPUT


@pytest.mark.parametrize("name", ["missing.edgepkg", ""])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(PackageError, match=r"cannot be read: (No such file|Is a directory)"):
        read_package(tmp_path / name)


def test_only_unpacking_shows_that_a_manifest_contradicts_itself(
    small: Path, tmp_path: Path
) -> None:
    """Its signer's mistake, or malice: the device, which unpacks, refuses it."""
    sound = read_package(small)
    file = sound.manifest.file("golden")
    assert file is not None
    lying = dataclasses.replace(file, sha256="0" * 64)
    files = tuple(lying if each == file else each for each in sound.manifest.files)
    head = Head(dataclasses.replace(sound.manifest, files=files))
    stored = {"model.bin": b"0123456789", "golden.bin": store_chunk(bytes(300))}
    pieces = archive.write_package(head, lambda payload: [stored[payload.file.path]])
    path = tmp_path / "lying.edgepkg"
    path.write_bytes(b"".join(pieces))
    assert read_sealed(path).manifest == head.manifest
    with pytest.raises(PackageError, match=r"golden\.bin: its SHA-256 is not the manifest's"):
        read_package(path)


def test_the_files_come_back_by_their_names(small: Path) -> None:
    assert read_contents(small) == {"model.bin": b"0123456789", "golden.bin": bytes(300)}


def test_what_is_damaged_has_no_files(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.edgepkg"
    path.write_bytes(small.read_bytes()[:-1])
    with pytest.raises(PackageError, match="is not a sound package"):
        read_contents(path)
