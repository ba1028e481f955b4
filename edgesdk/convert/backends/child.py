"""Vendor code in a process of its own: what it says, how it ended, and an end to it in any case."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SAID_BYTES = 16 * 2**20
_DETAILS = 10
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOISE = re.compile(r"LIBNATIVE|\[W:onnxruntime|^\s|^Traceback ")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child process ended.

    Args:
        code: its exit code; minus the signal's number where one killed it; None where it did not
            end by the deadline.
        said: the last of what it wrote to stdout and stderr.
    """

    code: int | None
    said: str

    @property
    def succeeded(self) -> bool:
        """It ended by itself, with code 0."""
        return self.code == 0

    def sentence(self, who: str, deadline_s: float) -> str:
        """How it failed, e.g. "Qualcomm's compiler crashed (SIGSEGV)"."""
        if self.code is None:
            return f"{who} did not finish within {deadline_s:g} s and was stopped"
        if self.code < 0:
            return f"{who} crashed ({_signal_name(-self.code)})"
        return f"{who} ended with exit code {self.code}"

    def last_lines(self) -> tuple[str, ...]:
        """What it said last: neither warnings nor where in our code Python was."""
        lines = _COLOUR.sub("", self.said).splitlines()
        told = [line.rstrip() for line in lines if line.strip() and not _NOISE.search(line)]
        return tuple(told[-_DETAILS:])


def run_child(command: Sequence[str], directory: Path, deadline_s: float) -> Ended:
    """Run a command with `directory` as its working folder; it and its children end here."""
    process = subprocess.Popen(
        list(command),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=deadline_s)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        _kill(process)
        said, _ = process.communicate()
        code = None
    except BaseException:
        _kill(process)
        process.communicate()
        raise
    return Ended(code, said[-_SAID_BYTES:].decode("utf-8", "replace"))


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
