"""Wheels are unpacked by a hand that trusts nothing in them."""

from __future__ import annotations

import dataclasses
import io
import os
import stat
import zipfile
from pathlib import Path

import pytest
from old_pythons import name, pythons, said

from device_agent.interpreter import read_interpreter
from device_agent.unpacking import BadWheel, fits, parse_name, unpack
from tests.wheel_files import EMPTY_RUNTIME, described, entry, record_hash, wheel_bytes

HERE = read_interpreter()
PI = dataclasses.replace(
    HERE,
    version=(3, 9, 2),
    abi="cp39",
    platform="linux-aarch64",
    machine="aarch64",
    bits=64,
    libc="glibc",
    libc_version=(2, 31),
)


def unpacked(content: bytes, folder: Path, **changes: object) -> Path:
    """The folder with a wheel in it."""
    path, target = folder / "a.whl", folder / "unpacked"
    path.write_bytes(content)
    target.mkdir()
    wheel = dataclasses.replace(described(content), **changes)  # type: ignore[arg-type]
    unpack(str(path), str(target), wheel, HERE)
    return target


def refused(content: bytes, folder: Path, **changes: object) -> str:
    """Why a wheel is refused, by which nothing came to lie outside of its folder."""
    with pytest.raises(BadWheel) as caught:
        unpacked(content, folder, **changes)
    assert sorted(os.listdir(folder)) == ["a.whl", "unpacked"]
    links = [path for path in (folder / "unpacked").rglob("*") if path.is_symlink()]
    assert links == []
    return str(caught.value)


def test_every_file_of_a_wheel_lies_where_it_says(tmp_path: Path) -> None:
    target = unpacked(wheel_bytes(), tmp_path)
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    metadata = "ai_edge_litert-2.3.0.dist-info"
    beside = {f"{metadata}/{each}" for each in ("METADATA", "WHEEL", "RECORD")}
    assert found == {*EMPTY_RUNTIME, *beside}
    assert (target / "ai_edge_litert/interpreter.py").read_bytes() == b"X = 1\n"


def test_libraries_are_imported_and_programs_left_out(tmp_path: Path) -> None:
    data = "ai_edge_litert-2.3.0.data"
    contents = {
        **EMPTY_RUNTIME,
        f"{data}/platlib/ai_edge_litert/native.so": b"\x7fELF",
        f"{data}/purelib/beside.py": b"",
        f"{data}/scripts/run-me": b"#!python\n",
        f"{data}/data/etc/passwd": b"",
    }
    target = unpacked(wheel_bytes(contents=contents), tmp_path)
    assert (target / "ai_edge_litert/native.so").exists()
    assert (target / "beside.py").exists()
    assert not list(target.rglob("run-me")) and not list(target.rglob("passwd"))


def test_what_can_be_run_stays_so(tmp_path: Path) -> None:
    contents = {**EMPTY_RUNTIME}
    tool = (entry("ai_edge_litert/tool", stat.S_IFREG | 0o755), b"#!/bin/sh\n")
    record = {"ai_edge_litert/tool": record_hash(b"#!/bin/sh\n")}
    target = unpacked(wheel_bytes(contents=contents, record=record, more=[tool]), tmp_path)
    assert os.access(target / "ai_edge_litert/tool", os.X_OK)
    assert (target / "ai_edge_litert/__init__.py").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "path",
    [
        "../outside.py",
        "/tmp/outside.py",
        "ai_edge_litert/../../outside.py",
        "ai_edge_litert//outside.py",
        "./outside.py",
        "ai_edge_litert\\..\\outside.py",
        "C:/outside.py",
        "ai_edge_litert/\x1b[2J.py",
        "ai_edge_litert-2.3.0.data/purelib/../../../outside.py",
        "a/" * 600 + "b",
    ],
)
def test_no_file_goes_anywhere_else(tmp_path: Path, path: str) -> None:
    odd = [(entry(path), b"evil")]
    content = wheel_bytes(more=odd, record={path: record_hash(b"evil")})
    assert "path" in refused(content, tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    odd = [(entry("ai_edge_litert/link", kind | 0o777), b"/etc/passwd")]
    content = wheel_bytes(more=odd, record={"ai_edge_litert/link": record_hash(b"/etc/passwd")})
    assert "is a link or a device" in refused(content, tmp_path)


def test_a_file_that_is_not_the_recorded_one_is_refused(tmp_path: Path) -> None:
    content = wheel_bytes(record={"ai_edge_litert/interpreter.py": record_hash(b"other")})
    assert "its hash is not the one in RECORD" in refused(content, tmp_path)


@pytest.mark.parametrize("digest", [None, "", "md5=rL0Y20zC-Fzt72VPzMSk2A"])
def test_a_file_without_a_strong_hash_is_refused(tmp_path: Path, digest: str | None) -> None:
    content = wheel_bytes(record={"ai_edge_litert/interpreter.py": digest})
    assert "has no hash in RECORD" in refused(content, tmp_path)


def test_a_recorded_file_that_is_missing_is_missed(tmp_path: Path) -> None:
    content = wheel_bytes(record={"ai_edge_litert/gone.py": record_hash(b"")})
    assert "is in RECORD and not in the wheel" in refused(content, tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_file_twice_is_refused(tmp_path: Path) -> None:
    content = wheel_bytes(more=[(entry("ai_edge_litert/__init__.py"), b"")])
    assert "twice" in refused(content, tmp_path)


def test_two_ways_to_one_place_are_refused(tmp_path: Path) -> None:
    twin = "ai_edge_litert-2.3.0.data/purelib/ai_edge_litert/interpreter.py"
    contents = {**EMPTY_RUNTIME, twin: b"X = 2\n"}
    assert "twice" in refused(wheel_bytes(contents=contents), tmp_path)


def test_a_file_cannot_be_a_folder_too(tmp_path: Path) -> None:
    contents = {**EMPTY_RUNTIME, "ai_edge_litert/interpreter.py/x.py": b""}
    assert "a file and a folder" in refused(wheel_bytes(contents=contents), tmp_path)


def test_a_bomb_is_refused_before_it_inflates(tmp_path: Path) -> None:
    contents = {**EMPTY_RUNTIME, "ai_edge_litert/bomb": bytes(64 * 2**20)}
    content = wheel_bytes(contents=contents)
    assert len(content) < 2**20
    assert "expected the 1000 announced" in refused(content, tmp_path, unpacked_bytes=1000)
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_a_bomb_that_lies_about_its_size_is_cut_off(tmp_path: Path) -> None:
    bomb = bytes(8 * 2**20)
    content = bytearray(wheel_bytes(contents={**EMPTY_RUNTIME, "ai_edge_litert/bomb": bomb}))
    size, lie = len(bomb).to_bytes(4, "little"), (100).to_bytes(4, "little")
    assert content.count(size) == 2, "in its own header and in the directory"
    refused(bytes(content.replace(size, lie)), tmp_path)
    written = sum(path.stat().st_size for path in (tmp_path / "unpacked").rglob("bomb"))
    assert written <= 100


@pytest.mark.parametrize(
    ("file", "tags"),
    [
        ("ai_edge_litert-2.3.0-cp26-cp26-linux_pdp11.whl", ("py3-none-any",)),
        ("ai_edge_litert-2.3.0-py3-none-any.whl", ("cp26-cp26-linux_pdp11",)),
        ("ai_edge_litert-2.3.0-py3-none-any.whl", ()),
    ],
    ids=["name", "own word", "no word"],
)
def test_a_wheel_for_other_devices_is_refused(
    tmp_path: Path, file: str, tags: tuple[str, ...]
) -> None:
    assert "expected" in refused(wheel_bytes(tags=tags), tmp_path, file=file)


def test_metadata_of_another_distribution_are_refused(tmp_path: Path) -> None:
    wrong = "numpy-2.3.0-py3-none-any.whl"
    assert "expected numpy-2.3.0" in refused(wheel_bytes(), tmp_path, file=wrong)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", bytes(1000)])
def test_what_is_no_zip_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.whl"
    path.write_bytes(content)
    with pytest.raises(BadWheel, match="no zip file"):
        unpack(str(path), str(tmp_path), described(wheel_bytes()), HERE)


def test_a_damaged_byte_is_noticed(tmp_path: Path) -> None:
    noise = {**EMPTY_RUNTIME, "ai_edge_litert/weights": os.urandom(5000)}
    content = bytearray(wheel_bytes(contents=noise))
    content[content.find(b"ai_edge_litert/weights") + 3000] ^= 1
    path = tmp_path / "a.whl"
    path.write_bytes(content)
    (tmp_path / "unpacked").mkdir()
    with pytest.raises(BadWheel):
        unpack(str(path), str(tmp_path / "unpacked"), described(wheel_bytes(contents=noise)), HERE)


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    content = bytearray(wheel_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        start = archive.start_dir
    content[start + 8] |= 1
    assert "encrypted" in refused(bytes(content), tmp_path)


@pytest.mark.parametrize(
    ("tag", "answer"),
    [
        ("py3-none-any", True),
        ("py39-none-any", True),
        ("py310-none-any", False),
        ("py2-none-any", False),
        ("cp39-cp39-manylinux_2_17_aarch64", True),
        ("cp39-cp39-manylinux2014_aarch64", True),
        ("cp37-abi3-manylinux_2_17_aarch64", True),
        ("cp310-abi3-manylinux_2_17_aarch64", False),
        ("cp38-cp38-manylinux_2_17_aarch64", False),
        ("cp39-cp39-manylinux_2_17_x86_64", False),
        ("cp39-cp39-musllinux_1_2_aarch64", False),
        ("cp39-cp39-macosx_11_0_arm64", False),
        ("cp39-cp39-linux_aarch64", True),
    ],
)
def test_which_tags_can_be_of_a_pi(tag: str, answer: bool) -> None:
    python, abi, platform = tag.split("-")
    assert fits(python, abi, platform, PI) is answer


def test_a_musl_board_takes_musl_wheels_only() -> None:
    alpine = dataclasses.replace(PI, libc="musl", libc_version=(1, 2))
    assert fits("cp39", "cp39", "musllinux_1_2_aarch64", alpine)
    assert not fits("cp39", "cp39", "manylinux_2_17_aarch64", alpine)


@pytest.mark.parametrize("file", ["numpy.whl", "../numpy-1-py3-none-any.whl", "numpy-1.tar.gz", ""])
def test_names_of_no_wheel_are_refused(file: str) -> None:
    with pytest.raises(BadWheel):
        parse_name(file)


@pytest.mark.parametrize("python", pythons(), ids=name)
def test_every_python_unpacks(python: Path, tmp_path: Path) -> None:
    content = wheel_bytes()
    (tmp_path / "a.whl").write_bytes(content)
    (tmp_path / "out").mkdir()
    wheel = described(content)
    program = (
        "import sys; from device_agent.unpacking import unpack\n"
        "from device_agent.interpreter import read_interpreter\n"
        "from device_agent.runtime_messages import WheelFile\n"
        f"wheel = WheelFile({wheel.file!r}, {wheel.sha256!r}, {wheel.size_bytes}, "
        f"{wheel.unpacked_bytes})\n"
        f"unpack({str(tmp_path / 'a.whl')!r}, {str(tmp_path / 'out')!r}, wheel, read_interpreter())"
    )
    said(python, program, "")
    assert (tmp_path / "out/ai_edge_litert/interpreter.py").read_bytes() == b"X = 1\n"
