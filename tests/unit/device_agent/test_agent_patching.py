"""A patch applied in a process of its own, which may fail, hang or be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from device_store import fails

from device_agent import delta, patch_worker, patching
from device_agent.patching import apply_patch
from edgesdk.devices.bootstrap import build_agent


@pytest.fixture
def paths(tmp_path: Path) -> tuple[str, str, str, int]:
    """A base, a patch and the file to make, and its size."""
    (tmp_path / "base").write_bytes(b"old")
    (tmp_path / "patch").write_bytes(b"a patch")
    return str(tmp_path / "base"), str(tmp_path / "patch"), str(tmp_path / "new"), 4


Stand = Callable[[str], str]


@pytest.fixture
def stand_in(tmp_path: Path) -> Stand:
    """Makes a program that stands in for the agent's, with these lines for its work."""

    def make(lines: str) -> str:
        program = tmp_path / "program.py"
        program.write_text(
            "import os, signal, sys, time\n"
            "command, base, patch, path, size = sys.argv[1:]\n"
            "assert (command, size) == ('patch', '4')\n"
            "open(path, 'wb').write(b'half')\n" + lines
        )
        return str(program)

    return make


def test_what_the_process_makes_is_there(paths: tuple[str, str, str, int], stand_in: Stand) -> None:
    apply_patch(stand_in("open(path, 'wb').write(open(base, 'rb').read() + b'!')"), *paths)
    assert Path(paths[2]).read_bytes() == b"old!"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("raise MemoryError", "MemoryError"),
        ("sys.exit('BadDelta: no such block')", "BadDelta: no such block"),
        ("sys.exit(1)", "failed"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
    ],
)
def test_a_process_that_dies_leaves_nothing_and_asks_for_the_full_package(
    paths: tuple[str, str, str, int], stand_in: Stand, lines: str, words: str
) -> None:
    failure = fails("delta_failed", lambda: apply_patch(stand_in(lines), *paths))
    assert failure.message == f"the delta could not be applied on the device: {words}"
    assert failure.hint == "push the full package"
    assert not os.path.exists(paths[2])


def test_a_process_that_hangs_is_ended(
    paths: tuple[str, str, str, int], stand_in: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patching, "LONGEST_S", 0.5)
    failure = fails("delta_failed", lambda: apply_patch(stand_in("time.sleep(300)"), *paths))
    assert "it was not done after 0.5 s" in failure.message
    assert not os.path.exists(paths[2])


def test_a_device_without_processes_asks_for_the_full_package(
    paths: tuple[str, str, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", none)
    assert (
        "no process for it can be started"
        in fails("delta_failed", lambda: apply_patch("program", *paths)).message
    )


def test_the_agent_itself_is_the_program(paths: tuple[str, str, str, int], tmp_path: Path) -> None:
    """With what is no patch: that it says so, and leaves nothing, is what all patches share."""
    program = tmp_path / "agent.pyz"
    program.write_bytes(build_agent().zipapp)
    failure = fails("delta_failed", lambda: apply_patch(str(program), *paths))
    assert "BadDelta" in failure.message
    assert not os.path.exists(paths[2])


@pytest.mark.parametrize("error", [delta.BadDelta("no"), MemoryError(), OSError(28, "full")])
def test_what_goes_wrong_is_the_last_line_that_is_said(
    paths: tuple[str, str, str, int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(delta, "apply", fail)
    monkeypatch.setattr(delta, "new_size", lambda _: 4)
    monkeypatch.setattr(patch_worker, "volunteer_for_the_oom_killer", lambda: None)
    assert patch_worker.main([*map(str, paths)]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(type(error).__name__)


def test_the_process_is_the_first_to_go_when_memory_is_short(
    paths: tuple[str, str, str, int], tmp_path: Path
) -> None:
    script = (
        "import sys\n"
        "from device_agent import delta, patch_worker\n"
        "delta.apply = lambda patch, base, write: write(open('/proc/self/oom_score_adj', 'rb')"
        ".read())\n"
        "delta.new_size = lambda patch: 4\n"
        "sys.exit(patch_worker.main(sys.argv[1:]))\n"
    )
    subprocess.run([sys.executable, "-c", script, *map(str, paths)], check=True)
    assert int(Path(paths[2]).read_bytes()) >= 900


def test_a_patch_of_another_size_writes_nothing(
    paths: tuple[str, str, str, int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a few hundred bytes of patch can make is limited by the disk alone."""
    no_streams = bytes([4, *[1, 0] * 4])
    Path(paths[1]).write_bytes(b"EDB\x01" + bytes([0x80, 0x80, 0x80, 0x10, 3, 0]) + no_streams)
    monkeypatch.setattr(patch_worker, "volunteer_for_the_oom_killer", lambda: None)
    assert patch_worker.main([*map(str, paths)]) == 1
    words = "BadDelta: the patch makes 33554432 bytes, expected 4"
    assert capsys.readouterr().err.splitlines()[-1] == words
    assert not os.path.exists(paths[2])
