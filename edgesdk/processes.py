"""Programs that may crash, hang or talk without end: each in a session of its own, to its end.

What a program says goes to a file that nobody sees, so that memory does not grow with it. When the
call is over, by the program's end, by the deadline or by an exception in our own process (Ctrl-C
is one), so is the program's whole process group: what it left running in the background is killed.
Out of reach are children that made a session of their own, and our own end by SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesdk.interruption import check
from edgesdk.text import plain

_SAID_BYTES = 16 * 2**20
_PIECE_BYTES = 2**16
_LISTEN_S = 0.2
_LAST_LINES = 10
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ODD = re.compile(r"[^\n\t\x20-\x7e]")
_NOISE = re.compile(r"LIBNATIVE|\[W:onnxruntime|^\s|^Traceback ")
"""Warnings of the vendors' libraries, and where in our code Python was."""

Hear = Callable[[str], None]


class CannotStart(OSError):
    """There is no such program, or the system does not run it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    Args:
        code: its exit code; minus the signal's number where one killed it; None where it did not
            end by the deadline.
        said: the last of what it wrote to stdout and stderr, at most 16 MiB, printable: lines and
            tabs are left, colours are gone.
    """

    code: int | None
    said: str

    @property
    def succeeded(self) -> bool:
        """It ended by itself, with code 0."""
        return self.code == 0

    @property
    def killed_by(self) -> str:
        """Name of the signal that killed it, e.g. "SIGSEGV"; empty where none did."""
        return _signal_name(-self.code) if self.code is not None and self.code < 0 else ""

    def sentence(self, who: str, deadline_s: float) -> str:
        """How it failed, e.g. "Qualcomm's compiler crashed (SIGSEGV)"."""
        if self.code is None:
            return f"{who} did not finish within {deadline_s:g} s and was stopped"
        if self.killed_by:
            return f"{who} crashed ({self.killed_by})"
        return f"{who} ended with exit code {self.code}"

    def tail(self, count: int) -> tuple[str, ...]:
        """The last lines that are not empty, without the space around them."""
        lines = (line.strip() for line in self.said.splitlines())
        return tuple([line for line in lines if line][-count:])

    def last_lines(self) -> tuple[str, ...]:
        """The last lines without warnings and without Python's own account of an exception."""
        lines = (line.rstrip() for line in self.said.splitlines())
        return tuple([line for line in lines if line and not _NOISE.search(line)][-_LAST_LINES:])


def run_to_end(
    argv: Sequence[str],
    deadline_s: float,
    *,
    directory: Path | None = None,
    scratch: Path | None = None,
    environ: Mapping[str, str] | None = None,
    hear: Hear = lambda _: None,
) -> Ended:
    """Run a program; it and its process group have ended when this returns or raises.

    Args:
        argv: the program and its arguments; no shell sees them. Its stdin is closed.
        directory: its working folder; ours by default.
        scratch: a folder on a disk with room for what it says; `directory`, or else the system's
            folder for temporary files, by default. Nothing is left there.
        environ: its environment; ours by default.
        hear: is given each whole line soon after it was written, as it was written.

    Raises:
        CannotStart: the program cannot be started.
        OSError: there is no room for what it says.
    """
    with tempfile.TemporaryFile(dir=scratch or directory) as log:
        with _started(argv, log.fileno(), directory, environ) as process:
            code = _wait(process, deadline_s, _Ear(log.fileno(), hear))
        return Ended(code, _said(log.fileno()))


@contextlib.contextmanager
def _started(
    argv: Sequence[str], log: int, directory: Path | None, environ: Mapping[str, str] | None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose group ends with the block, whatever happens in it."""
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    except OSError as error:
        raise CannotStart(error.errno, error.strerror, error.filename) from error
    try:
        yield process
    finally:
        # Also after a normal end, as it may have left others; the group's number is theirs then.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], deadline_s: float, ear: _Ear) -> int | None:
    """The exit code; None when the deadline passed."""
    deadline = time.monotonic() + deadline_s
    while (left_s := deadline - time.monotonic()) > 0:
        check()
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(min(left_s, _LISTEN_S))
            ear.listen()
            return code
        ear.listen()
    return None


class _Ear:
    """Hands on the whole lines of a file that grows."""

    def __init__(self, log: int, hear: Hear) -> None:
        self._log = log
        self._hear = hear
        self._heard_bytes = 0

    def listen(self) -> None:
        """Hand on what is new; a line longer than a piece is handed on in parts."""
        while piece := os.pread(self._log, _PIECE_BYTES, self._heard_bytes):
            whole = piece[: piece.rfind(b"\n") + 1]
            if not whole and len(piece) < _PIECE_BYTES:
                return
            for line in (whole or piece).splitlines():
                self._hear(line.decode("utf-8", "replace"))
            self._heard_bytes += len(whole or piece)


def _said(log: int) -> str:
    size = os.fstat(log).st_size
    start = max(0, size - _SAID_BYTES)
    return printable(os.pread(log, size - start, start).decode("utf-8", "replace"))


def printable(text: str) -> str:
    """What a program wrote, without colours and what else a terminal would act on."""
    lines = "\n".join(_COLOUR.sub("", text).splitlines())
    return _ODD.sub(lambda found: plain(found[0]), lines)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
