"""The user's own check: what ends it, what is kept of its words, and what it may not cost."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("word", ["a\0b", "\ud800"])
def test_a_word_that_no_program_can_be_given_is_no_crash(tmp_path: Path, word: str) -> None:
    with pytest.raises(AgentFailure, match="cannot be started") as caught:
        run_command(("true", word), str(tmp_path), "model", 5.0)
    assert caught.value.code == "unhealthy"


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AgentFailure, match="'no-such-program' cannot be started: No such file"):
        run_command(("no-such-program",), str(tmp_path), "model", 5.0)
