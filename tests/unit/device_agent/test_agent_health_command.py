"""The user's own check: what ends it, what is kept of its words, and what it may not cost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from device_agent import children
from device_agent.failures import AgentFailure
from device_agent.health import run_command


def shell(script: str, folder: Path, longest_s: float = 20.0) -> tuple[int, str]:
    return run_command(("sh", "-c", script), str(folder), str(folder / "model"), longest_s)


def test_its_status_and_its_last_words_are_told(tmp_path: Path) -> None:
    assert shell("echo $EDGESDK_MODEL; pwd >&2; exit 3", tmp_path) == (
        3,
        f"{tmp_path}/model\n{tmp_path}",
    )
    assert shell("exit 0", tmp_path) == (0, "")
    assert shell("kill -9 $$", tmp_path) == (-9, "")


def test_what_it_says_does_not_fill_the_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    script = f"{sys.executable} -c 'print(\"x\" * 200_000_000)'; echo end"
    status, words = shell(script, tmp_path)
    assert (status, words[-5:], len(words)) == (0, "x\nend", 200)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 50_000


@pytest.mark.parametrize("script", ["sleep 60", "yes", "exec >&- 2>&-; sleep 60", "sleep 60 &"])
def test_it_ends_in_time_with_its_children(tmp_path: Path, script: str) -> None:
    began = time.monotonic()
    with pytest.raises(AgentFailure, match=r"not done after 0\.5 s") as caught:
        shell(script, tmp_path, 0.5)
    assert caught.value.code == "unhealthy"
    assert time.monotonic() - began < 10


# ---- what leaves its session ---------------------------------------------------------------------

ESCAPES = {
    "a session of its own": "setsid {escape} & sleep 60",
    "one in one": "setsid sh -c 'setsid {escape} & sleep 60' & sleep 60",
    "a daemon": "(setsid {escape} >&- 2>&- &) & sleep 60",
    "a daemon of a command that is done": "(setsid {escape} >&- 2>&- &) & {started}",
    "its output with it": "(setsid {escape} &) & {started}",
}
STARTED = "while [ ! -s escaped ]; do sleep 0.01; done"


def escape(folder: Path, how: str) -> str:
    """A command that starts a program which writes its id to a file and stays."""
    program = folder / "escape"
    program.write_text("#!/bin/sh\necho $$ > started; mv started escaped; exec sleep 60\n")
    program.chmod(0o755)
    return ESCAPES[how].format(escape="./escape", started=STARTED)


def runs(pid: int) -> bool:
    """Whether it is there, and not only because nobody asked how it ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != b"Z"


@pytest.mark.parametrize("how", ESCAPES)
def test_what_made_a_session_of_its_own_ends_with_it(tmp_path: Path, how: str) -> None:
    if how == "a daemon of a command that is done":
        assert shell(escape(tmp_path, how), tmp_path) == (0, "")
    else:
        with pytest.raises(AgentFailure, match="not done after 1 s"):
            shell(escape(tmp_path, how), tmp_path, 1.0)
    assert not runs(int((tmp_path / "escaped").read_text()))


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    """The workers of other models."""
    worker = subprocess.Popen(["sh", "-c", "sleep 60 & wait"])
    try:
        shell(escape(tmp_path, "a daemon of a command that is done"), tmp_path)
        assert runs(worker.pid)
    finally:
        worker.kill()
        worker.wait()


def test_it_ends_with_the_session_of_its_host(tmp_path: Path) -> None:
    script = escape(tmp_path, "a session of its own")
    with ThreadPoolExecutor(1) as threads:
        checking = threads.submit(shell, script, tmp_path)
        while not (tmp_path / "escaped").exists():
            time.sleep(0.01)
        children.kill_all()
        assert not runs(int((tmp_path / "escaped").read_text()))
        assert checking.result()[0] == -9


def test_no_orphan_is_adopted_afterwards(tmp_path: Path) -> None:
    shell("exit 0", tmp_path)
    look = "sleep 0.2; cut -d' ' -f4 /proc/$$/stat > parent"
    subprocess.run(["sh", "-c", '(sh -c "$0" &)', look], cwd=tmp_path, check=True)
    while not (parent := tmp_path / "parent").exists() or not parent.read_text():
        time.sleep(0.01)
    assert int(parent.read_text()) != os.getpid()


def test_without_ctypes_its_own_session_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert shell("sleep 60 >&- 2>&- & exit 3", tmp_path) == (3, "")


# ---- what cannot be run --------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["a\0b", "\ud800"])
def test_a_word_that_no_program_can_be_given_is_no_crash(tmp_path: Path, word: str) -> None:
    with pytest.raises(AgentFailure, match="cannot be started") as caught:
        run_command(("true", word), str(tmp_path), "model", 5.0)
    assert caught.value.code == "unhealthy"


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AgentFailure, match="'no-such-program' cannot be started: No such file"):
        run_command(("no-such-program",), str(tmp_path), "model", 5.0)
