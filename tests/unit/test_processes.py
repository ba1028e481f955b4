"""Programs run to their end: how they ended, what they said, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgesdk.processes import CannotStart, Ended, printable, run_to_end

GRANDCHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
open({pid!r}, 'w').write(str(child.pid))
"""


def python(program: str, deadline_s: float = 60, **options: object) -> Ended:
    return run_to_end([sys.executable, "-c", program], deadline_s, **options)  # type: ignore[arg-type]


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, "it outlived the program that started it"
        time.sleep(0.05)


# How it ended


def test_an_end_with_code_0_is_a_success() -> None:
    ended = python("print('done')")
    assert (ended.code, ended.succeeded, ended.killed_by, ended.said) == (0, True, "", "done")


def test_another_code_is_told() -> None:
    ended = python("raise SystemExit(3)")
    assert (ended.code, ended.succeeded) == (3, False)
    assert ended.sentence("The tool", 60) == "The tool ended with exit code 3"


def test_a_crash_names_its_signal() -> None:
    ended = python("import os; os.kill(os.getpid(), 11)")
    assert ended.killed_by == "SIGSEGV"
    assert ended.sentence("The tool", 60) == "The tool crashed (SIGSEGV)"


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    assert Ended(-99, "").killed_by == "signal 99"


def test_the_deadline_ends_it_and_what_it_said_is_kept() -> None:
    begun = time.monotonic()
    ended = python("import time; print('begun', flush=True); time.sleep(600)", deadline_s=1)
    assert time.monotonic() - begun < 10
    assert (ended.code, ended.said) == (None, "begun")
    assert ended.sentence("The tool", 1) == "The tool did not finish within 1 s and was stopped"


def test_what_cannot_be_started_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="No such file or directory"):
        run_to_end([str(tmp_path / "none")], 60)


# Nothing is left


def test_what_it_left_in_the_background_ends_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    assert python(GRANDCHILD.format(pid=str(pid))).succeeded
    wait_until_dead(int(pid.read_text()))


def test_its_children_end_at_the_deadline(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    assert python(GRANDCHILD.format(pid=str(pid)) + "time.sleep(600)", deadline_s=2).code is None
    wait_until_dead(int(pid.read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_when_we_are_interrupted_it_ends_with_its_children(
    tmp_path: Path, number: signal.Signals
) -> None:
    """SIGTERM becomes an exception first, as the command line makes it one."""
    pid = tmp_path / "pid"
    child = GRANDCHILD.format(pid=str(pid)) + "print('ready', flush=True)\ntime.sleep(600)"
    program = f"""
import signal, sys
from edgesdk.processes import run_to_end
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
signal.signal(signal.SIGINT, signal.default_int_handler)
run_to_end([sys.executable, "-c", {child!r}], 600, hear=lambda line: print(line, flush=True))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as ours:
        assert ours.stdout is not None and ours.stdout.readline() == b"ready\n"
        os.kill(ours.pid, number)
        assert ours.wait(20) != 0
    wait_until_dead(int(pid.read_text()))


# What it said


def test_huge_output_is_cut_at_its_front_and_takes_bounded_memory() -> None:
    program = """
import resource, sys
from edgesdk.processes import run_to_end
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
talk = "for _ in range(300): print((('x' * 1023 + chr(10)) * 1024), end='')\\nprint('end')"
ended = run_to_end([sys.executable, "-c", talk], 120)
grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(ended.code, len(ended.said), ended.tail(1)[0], grown_kib)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    code, length, last, grown_kib = done.stdout.split()
    assert (code, last) == (b"0", b"end")
    assert 15 * 2**20 < int(length) <= 16 * 2**20
    assert int(grown_kib) < 128 * 1024


def test_nobody_sees_the_file_that_holds_it(tmp_path: Path) -> None:
    ended = python("import os; print(os.listdir())", directory=tmp_path)
    assert ended.said == "[]"
    assert list(tmp_path.iterdir()) == []


def test_our_stdin_is_not_its_own() -> None:
    reads = "import sys; print(repr(sys.stdin.read()))"
    program = (
        "import sys; from edgesdk.processes import run_to_end\n"
        f"print(run_to_end([sys.executable, '-c', {reads!r}], 60).said)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=b"ours", capture_output=True, check=True
    )
    assert done.stdout == b"''\n"


def test_the_environment_is_the_one_given() -> None:
    ended = python("import os; print(os.environ['GIVEN'])", environ={"GIVEN": "this"})
    assert ended.said == "this"


def test_whole_lines_are_heard_while_it_runs() -> None:
    heard: list[tuple[str, float]] = []
    python(
        "import time; print('first', flush=True); print('sec', end='', flush=True); "
        "time.sleep(1.5); print('ond')",
        hear=lambda line: heard.append((line, time.monotonic())),
    )
    assert [line for line, _ in heard] == ["first", "second"]
    assert heard[1][1] - heard[0][1] > 0.5


def test_a_line_longer_than_what_is_read_at_once_is_heard_in_parts() -> None:
    heard: list[str] = []
    python("print('x' * 200_000); print('end')", hear=heard.append)
    assert "".join(heard) == "x" * 200_000 + "end"


def test_what_a_terminal_would_act_on_is_not_kept() -> None:
    said = "\x1b[1mbold\x1b[0m\a \x1b[?25lone\rtwo\n\tthree ü \u202e\n"
    assert printable(said) == "bold\ufffd one\ntwo\n\tthree ü \ufffd"


def test_the_last_lines_are_without_warnings_and_tracebacks() -> None:
    said = "[W:onnxruntime:, x.cc] careful\nTraceback (most recent call last):\n  File x\nE: no\n\n"
    assert Ended(1, said).last_lines() == ("E: no",)
    assert Ended(1, said).tail(2) == ("File x", "E: no")
