"""What is sent to the device, and the program that receives it."""

from __future__ import annotations

import ast
import hashlib
import io
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import device_agent
from edgesdk.devices.bootstrap import build_agent

AGENT = build_agent()
PACKAGE = Path(device_agent.__file__).parent


def start(folder: Path, stdin: bytes, *, size: int | None = None, digest: str = "") -> bytes:
    """What the first stage says, given some bytes to receive."""
    count = str(len(AGENT.zipapp) if size is None else size)
    argv = [sys.executable, "-I", "-c", AGENT.stage0, "MARK", count, digest or AGENT.sha256, folder]
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=20).stdout


def test_the_same_sources_give_the_same_bytes() -> None:
    build_agent.cache_clear()
    assert build_agent() == AGENT
    assert hashlib.sha256(AGENT.zipapp).hexdigest() == AGENT.sha256


def test_it_holds_the_agent_and_nothing_else() -> None:
    with zipfile.ZipFile(io.BytesIO(AGENT.zipapp)) as zipapp:
        entries = zipapp.infolist()
    expected = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.py")}
    expected.remove("device_agent/stage0.py")
    assert {entry.filename for entry in entries} == {"__main__.py", *expected}
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("python", ["2.7", "3.6"])
def test_a_python_that_is_too_old_is_told_so(tmp_path: Path, python: str) -> None:
    found = sorted(Path.home().glob(f".pyenv/versions/{python}.*/bin/python"))
    if not found:
        pytest.skip(f"there is no Python {python} here")
    program = tmp_path / "agent.pyz"
    program.write_bytes(AGENT.zipapp)
    done = subprocess.run([found[0], program, "installed-local"], capture_output=True, timeout=20)
    assert done.stderr.decode() == f"found Python {python}, expected 3.7 or newer\n"
    assert done.returncode == 1


def test_the_command_stays_short_enough_for_dropbear() -> None:
    """Its MAX_CMD_LEN is 9000 bytes (sysoptions.h)."""
    command = AGENT.command("/usr/bin/python3", "edgesdk-0123456789abcdef", "~/.edgesdk")
    assert len(shlex.join(command)) < 4000


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_the_agent_is_written_in_python_3_7(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 7))


def test_bytes_with_another_hash_are_not_run(tmp_path: Path) -> None:
    assert start(tmp_path, bytes(len(AGENT.zipapp))) == b"\nMARK NEED\n\nMARK DAMAGED\n"
    assert list(tmp_path.iterdir()) == []


def test_an_agent_that_does_not_come_whole_is_not_run(tmp_path: Path) -> None:
    assert start(tmp_path, AGENT.zipapp[:-1]) == b"\nMARK NEED\n"
    assert list(tmp_path.iterdir()) == []


def test_the_agent_is_kept_and_run(tmp_path: Path) -> None:
    assert start(tmp_path, AGENT.zipapp) == b"\nMARK NEED\n\nMARK\n"
    kept = tmp_path / "agent" / f"{AGENT.sha256}.pyz"
    assert kept.read_bytes() == AGENT.zipapp
    assert kept.stat().st_mode & 0o777 == 0o600
    assert start(tmp_path, b"") == b"\nMARK HAVE\n\nMARK\n"


def test_a_link_in_the_agents_place_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"gold")
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / f"{AGENT.sha256}.pyz").symlink_to(tmp_path / "precious")
    assert start(tmp_path, AGENT.zipapp) == b"\nMARK NEED\n\nMARK\n"
    assert (tmp_path / "precious").read_bytes() == b"gold"


def test_nobody_else_can_look_into_the_agents_folder(tmp_path: Path) -> None:
    root = tmp_path / "device"
    assert start(root, AGENT.zipapp) == b"\nMARK NEED\n\nMARK\n"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (root, root / "agent")}
    assert modes == {"device": 0o700, "agent": 0o700}
