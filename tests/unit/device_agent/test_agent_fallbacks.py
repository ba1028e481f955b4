"""Fallbacks are counted: by several processes at once, across kills, at a bounded rate."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from device_agent import fallbacks
from device_agent.fallbacks import COUNTS_LOST, WRITE_EVERY_S, Counter, counts, forget_all_but

ID = "a" * 64
OTHER = "b" * 64


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def counter(root: Path, clock: Clock | None = None) -> Counter:
    return Counter(str(root), ID, clock or Clock())


def test_a_package_that_never_fell_back_has_no_counts(tmp_path: Path) -> None:
    assert counts(str(tmp_path), ID) == {}


def test_reasons_and_packages_are_counted_apart(tmp_path: Path) -> None:
    mine = counter(tmp_path)
    mine.add("load_failed")
    mine.add("run_failed")
    Counter(str(tmp_path), OTHER).add("load_failed")
    assert counts(str(tmp_path), ID) == {"load_failed": 1, "run_failed": 1}
    assert counts(str(tmp_path), OTHER) == {"load_failed": 1}


def test_counts_go_on_where_an_earlier_run_of_the_application_ended(tmp_path: Path) -> None:
    counter(tmp_path).add("load_failed")
    counter(tmp_path).add("load_failed")
    assert counts(str(tmp_path), ID) == {"load_failed": 2}


def test_the_first_of_a_kind_is_on_disk_at_once_and_further_ones_in_time(tmp_path: Path) -> None:
    clock = Clock()
    mine = counter(tmp_path, clock)
    written = tmp_path / "fallbacks" / f"{ID}.json"
    mine.add("load_failed")
    first = written.stat().st_ino
    for _ in range(500):
        mine.add("load_failed")
    assert counts(str(tmp_path), ID) == {"load_failed": 1}
    assert written.stat().st_ino == first
    clock.now += WRITE_EVERY_S
    mine.add("load_failed")
    assert counts(str(tmp_path), ID) == {"load_failed": 502}
    mine.add("load_failed")
    mine.flush()
    assert counts(str(tmp_path), ID) == {"load_failed": 503}


def test_what_is_pending_is_written_also_when_the_application_is_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallbacks, "WRITE_EVERY_S", 0.2)
    mine = Counter(str(tmp_path), ID)
    mine.add("load_failed")
    mine.add("load_failed")
    (timer,) = (each for each in threading.enumerate() if isinstance(each, threading.Timer))
    timer.join(10)
    assert counts(str(tmp_path), ID) == {"load_failed": 2}


COUNT = """
import sys
from device_agent.fallbacks import Counter
for _ in range(int(sys.argv[3])):
    counter = Counter(sys.argv[1], sys.argv[2])
    counter.add("run_failed")
print("done", flush=True)
sys.stdin.read()
"""


def counting(root: Path, times: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", COUNT, str(root), ID, str(times)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )


def test_several_processes_add_up(tmp_path: Path) -> None:
    running = [counting(tmp_path, 40) for _ in range(3)]
    for process in running:
        process.communicate()
    assert counts(str(tmp_path), ID) == {"run_failed": 120}


def test_what_is_written_survives_the_applications_death(tmp_path: Path) -> None:
    process = counting(tmp_path, 2)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert counts(str(tmp_path), ID) == {"run_failed": 2}


ENDING = """
import sys
from device_agent.fallbacks import Counter
counter = Counter(sys.argv[1], sys.argv[2])
for _ in range(5):
    counter.add("run_failed")
"""


def test_an_application_that_ends_without_closing_loses_none(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENDING, str(tmp_path), ID]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3])
    assert counts(str(tmp_path), ID) == {"run_failed": 5}


def test_processes_killed_anywhere_leave_counts_that_can_be_read(tmp_path: Path) -> None:
    for wait_s in (0.05, 0.1, 0.15, 0.2):
        process = counting(tmp_path, 10_000)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1 + wait_s)
        process.kill()
        process.communicate()
        assert COUNTS_LOST not in counts(str(tmp_path), ID)
    before = counts(str(tmp_path), ID).get("run_failed", 0)
    counter(tmp_path).add("run_failed")
    assert counts(str(tmp_path), ID) == {"run_failed": before + 1}


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b'{"load_failed": -1}', b'{"load_failed": true}', b'{"of my own": 3}'],
)
def test_counts_that_cannot_be_read_say_that_they_are_lost_and_count_on(
    tmp_path: Path, text: bytes
) -> None:
    (tmp_path / "fallbacks").mkdir()
    (tmp_path / "fallbacks" / f"{ID}.json").write_bytes(text)
    assert counts(str(tmp_path), ID) == {COUNTS_LOST: 1}
    counter(tmp_path).add("load_failed")
    assert counts(str(tmp_path), ID) == {COUNTS_LOST: 1, "load_failed": 1}


def test_where_nothing_can_be_written_the_model_runs_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "fallbacks").write_text("not a folder")
    clock = Clock()
    mine = counter(tmp_path, clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            mine.add("load_failed")
            clock.now += WRITE_EVERY_S
    (record,) = caplog.records
    assert "not counted on disk" in record.getMessage()
    (tmp_path / "fallbacks").unlink()
    mine.flush()
    assert counts(str(tmp_path), ID) == {"load_failed": 3}


def test_a_link_planted_in_the_place_of_the_counts_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "fallbacks").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "fallbacks" / f"{ID}.json").symlink_to(victim)
    assert counts(str(tmp_path), ID) == {COUNTS_LOST: 1}
    (tmp_path / "fallbacks" / f"{ID}.json.new").symlink_to(victim)
    counter(tmp_path).add("load_failed")
    assert victim.read_text() == "precious"
    assert counts(str(tmp_path), ID) == {COUNTS_LOST: 1, "load_failed": 1}


def test_counts_go_with_their_package(tmp_path: Path) -> None:
    forget_all_but(str(tmp_path), set())
    counter(tmp_path).add("load_failed")
    Counter(str(tmp_path), OTHER).add("load_failed")
    forget_all_but(str(tmp_path), {OTHER})
    assert counts(str(tmp_path), ID) == {}
    assert counts(str(tmp_path), OTHER) == {"load_failed": 1}
