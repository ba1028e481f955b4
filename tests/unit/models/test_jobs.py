"""Jobs that crash, hang, print garbage or end early: each is one sentence."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgesdk.errors import ConversionError, EdgeSDKError, ModelError, ToolchainMissing
from edgesdk.models import jobs
from edgesdk.models.jobs import Answer, Job, Task, run_job
from edgesdk.models.types import TensorSpec

TASK = Task("tflite", Path("net.keras"), "net.keras")
ANSWERS = "import json, sys; result = json.load(open(sys.argv[2]))['result']; "
OK = "{'ok': {'inputs': [], 'outputs': [], 'sha256': '', 'versions': {}}}"


class Fake:
    """Runs this program in place of a toolkit's job."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._program = folder / "fake.py"
        self._folder = folder / "work"
        self._folder.mkdir()
        monkeypatch.setattr(jobs, "JOBS", self._program)

    def run(self, program: str, deadline_s: float = 60) -> Answer:
        self._program.write_text(program)
        job = Job("from_tensorflow", sys.executable, "edgesdk[keras]", deadline_s)
        return run_job(job, TASK, self._folder)

    def error(self, program: str, deadline_s: float = 60) -> EdgeSDKError:
        with pytest.raises(EdgeSDKError) as caught:
            self.run(program, deadline_s)
        assert "\n" not in caught.value.message
        assert list(self._folder.iterdir()) == []
        return caught.value


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(tmp_path, monkeypatch)


def test_an_answer_is_read(fake: Fake) -> None:
    tensor = "{'name': 'x', 'shape': [1, 3], 'dtype': 'float32'}"
    answer = fake.run(
        ANSWERS
        + f"""
open(result, 'w').write(json.dumps({{'ok': {{
    'inputs': [{tensor}], 'outputs': [], 'sha256': 'abc', 'versions': {{'tensorflow': '2.21.0'}}
}}}}))"""
    )
    assert answer == Answer(
        (TensorSpec("x", (1, 3), "float32"),), (), "abc", {"tensorflow": "2.21.0"}
    )


def test_what_a_job_prints_is_no_answer(fake: Fake) -> None:
    fake.run(f"print('\\x00garbage'); {ANSWERS} open(result, 'w').write(json.dumps({OK}))")


def test_a_crash_names_the_signal(fake: Fake) -> None:
    error = fake.error("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert isinstance(error, ConversionError)
    assert error.message == (
        "converting net.keras to tflite (from_tensorflow) crashed: "
        "its process was killed by SIGSEGV"
    )


def test_a_kill_may_be_for_want_of_memory(fake: Fake) -> None:
    error = fake.error("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert error.hint == "the system may be out of memory"


def test_a_hang_ends_at_the_deadline_with_its_children(fake: Fake, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
open({str(pid)!r}, 'w').write(str(child.pid))
time.sleep(600)"""
    error = fake.error(program, deadline_s=2)
    assert "did not end within 2 s and was stopped" in error.message
    _await_end(int(pid.read_text()))


def _await_end(pid: int) -> None:
    status = Path(f"/proc/{pid}/stat")
    deadline = time.monotonic() + 10
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the job's child outlived it"
        time.sleep(0.05)


def test_the_end_of_what_a_job_printed_is_shown(fake: Fake) -> None:
    error = fake.error(
        "import sys\nfor i in range(50): print('line', i, file=sys.stderr)\nsys.exit(3)"
    )
    assert "ended with status 3 and without an answer" in error.message
    assert error.details == tuple(f"line {i}" for i in range(42, 50))


def test_what_a_terminal_would_act_on_is_not_shown(fake: Fake) -> None:
    error = fake.error("import sys; sys.exit('\\x1b[1mbold\\x1b[0m \\x07bell')")
    assert error.details == ("bold \N{REPLACEMENT CHARACTER}bell",)


@pytest.mark.parametrize(
    "written",
    ["nonsense", "[]", "{}", "{'ok': {}}", "{'ok': {'inputs': 3}}", "{'refused': {'kind': 'x'}}"],
)
def test_an_answer_of_another_shape_is_refused(fake: Fake, written: str) -> None:
    error = fake.error(f"{ANSWERS} open(result, 'w').write({written!r}.replace(chr(39), chr(34)))")
    assert isinstance(error, ConversionError)
    assert "answered what is no answer of a job" in error.message


@pytest.mark.parametrize(
    ("kind", "error"), [("model", ModelError), ("conversion", ConversionError)]
)
def test_a_refusal_is_the_error_of_its_kind(
    fake: Fake, kind: str, error: type[EdgeSDKError]
) -> None:
    refused = {"kind": kind, "message": "no", "hint": "do", "details": ["it"]}
    found = fake.error(f"{ANSWERS} open(result, 'w').write(json.dumps({{'refused': {refused}}}))")
    assert type(found) is error
    assert (found.message, found.hint, found.details) == ("no", "do", ("it",))


def test_a_toolkit_that_is_missing_names_the_extra(fake: Fake) -> None:
    refused = {"kind": "missing", "message": "tensorflow", "hint": "", "details": []}
    found = fake.error(f"{ANSWERS} open(result, 'w').write(json.dumps({{'refused': {refused}}}))")
    assert isinstance(found, ToolchainMissing)
    assert found.message == (
        "converting net.keras to tflite needs tensorflow, which is not installed"
    )
    assert found.hint == 'install it with: pip install "edgesdk[keras]"'


def test_a_python_that_does_not_start_is_said(tmp_path: Path) -> None:
    job = Job("from_tensorflow", str(tmp_path / "python"), "edgesdk[keras]", 60)
    with pytest.raises(ToolchainMissing, match="cannot be started: No such file"):
        run_job(job, TASK, tmp_path)


def test_the_job_without_its_toolkit_says_so(tmp_path: Path) -> None:
    """The real script, by a Python that has numpy and nothing else."""
    packages = Path(np.__file__).parent.parent
    (tmp_path / "lib").mkdir()
    for found in packages.glob("numpy*"):
        (tmp_path / "lib" / found.name).symlink_to(found)
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}/lib" exec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    job = Job("from_torch", str(bare), "edgesdk[torch]", 60)
    with pytest.raises(ToolchainMissing, match="needs torch, which is not installed"):
        run_job(job, TASK, tmp_path)
