"""Facts about the compiled agent: who makes it, who uses it, and what is never believed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgesdk.devices.bootstrap import build_agent


class Board:
    """A folder with an agent, run by some Python."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "agent"
        self.folder.mkdir(parents=True, mode=0o700)
        self.program = self.folder / "a.pyz"
        self.program.write_bytes(build_agent().zipapp)

    def serve(self, *flags: str) -> str:
        """What a session without a host says on stderr."""
        argv = [sys.executable, *flags, self.program, "serve", "MARK", self.root / "store"]
        done = subprocess.run(argv, input=b"", capture_output=True, timeout=60)
        assert done.stdout == b"\nMARK\n", done.stderr
        assert done.returncode == 0
        return done.stderr.decode()

    def compiled(self) -> Path | None:
        found = [path for path in self.folder.iterdir() if path != self.program]
        assert len(found) <= 1
        return found[0] if found else None

    def uses_it(self) -> bool:
        """Whether the session module is imported from what is compiled."""
        said = self.serve("-v")
        (line,) = [each for each in said.splitlines() if "import 'device_agent.session'" in each]
        return str(self.program) not in line


def is_whole(path: Path) -> bool:
    header, _, content = path.read_bytes().partition(b"\n")
    return header.decode() == hashlib.sha256(content).hexdigest()


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_the_first_session_compiles_the_agent_and_the_next_one_imports_that(board: Board) -> None:
    board.serve()
    made = board.compiled()
    assert made is not None and made.name.startswith(f"a.{sys.implementation.cache_tag}-")
    assert made.stat().st_mode & 0o777 == 0o600
    before = made.stat()
    assert board.uses_it()
    assert made.stat() == before


def test_every_module_of_the_agent_is_in_it(board: Board) -> None:
    board.serve()
    made = board.compiled()
    assert made is not None
    with zipfile.ZipFile(made) as compiled, zipfile.ZipFile(board.program) as sources:
        expected = {f"{name}c" for name in sources.namelist() if name != "__main__.py"}
        assert set(compiled.namelist()) == expected


@pytest.mark.parametrize("at", [0, 64, 65, 5000, -1])
def test_a_byte_that_rotted_is_noticed_and_it_is_compiled_anew(board: Board, at: int) -> None:
    board.serve()
    made = board.compiled()
    assert made is not None
    rotten = bytearray(made.read_bytes())
    rotten[at] ^= 1
    made.write_bytes(rotten)
    board.serve()
    assert is_whole(made)
    assert board.uses_it()


@pytest.mark.parametrize("length", [0, 64, 65, 4096])
def test_one_that_a_power_cut_tore_is_compiled_anew(board: Board, length: int) -> None:
    board.serve()
    made = board.compiled()
    assert made is not None
    made.write_bytes(made.read_bytes()[:length])
    board.serve()
    assert is_whole(made)
    assert board.uses_it()


def test_a_folder_that_others_may_write_to_is_not_used(board: Board) -> None:
    board.serve()
    board.folder.chmod(0o777)
    assert not board.uses_it()
    made = board.compiled()
    assert made is not None
    made.unlink()
    board.serve()
    assert board.compiled() is None


def test_a_folder_that_takes_nothing_is_no_reason_to_fail(board: Board) -> None:
    board.serve()
    made = board.compiled()
    assert made is not None
    made.unlink()
    made.mkdir()
    (made / "something").touch()
    assert not board.uses_it()


def test_commands_on_the_device_neither_make_nor_use_it(board: Board) -> None:
    argv = [sys.executable, board.program, "installed-local", "--root", board.root / "store"]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    assert board.compiled() is None
