"""The workstation itself as a device: the same interface over subprocesses, without a shell."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import IO

from edgesdk.devices.transport import (
    Closing,
    CommandEnded,
    Completed,
    Moved,
    Process,
    PumpedProcess,
    Streams,
    run_to_end,
)
from edgesdk.units import KIB

_PIPE_BYTES = 64 * KIB
_EXIT_POLL_S = 0.25
_FAREWELL_S = 0.2


class LocalTransport(Closing):
    """A `Transport` to this machine. Commands inherit its environment and directory."""

    def __init__(self) -> None:
        self._open: set[_LocalStreams] = set()

    def start(self, argv: Sequence[str]) -> Process:
        return PumpedProcess(self._streams(argv), f"{argv[0]!r} on this machine")

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline_s: float) -> Completed:
        return run_to_end(self, argv, stdin, deadline_s)

    def close(self) -> None:
        for streams in tuple(self._open):
            streams.close()

    def _streams(self, argv: Sequence[str]) -> Streams:
        try:
            streams = _LocalStreams(argv, self._open.discard)
        except OSError as error:
            return _NeverStarted(f"{argv[0]}: {error.strerror}\n", error)
        self._open.add(streams)
        return streams


class _LocalStreams:
    """`Streams` of a child process in its own process group."""

    def __init__(self, argv: Sequence[str], on_close: Callable[[_LocalStreams], None]) -> None:
        self._child = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._on_close = on_close
        self._stdin, self._stdout, self._stderr = _pipes(self._child)
        os.set_blocking(self._stdin.fileno(), False)

    def move(self, outgoing: memoryview, timeout_s: float) -> Moved:
        if outgoing and self._stdin.closed:
            raise CommandEnded("its input is closed")
        with selectors.PollSelector() as selector:
            for stream in (self._stdout, self._stderr):
                if not stream.closed:
                    selector.register(stream, selectors.EVENT_READ)
            if outgoing:
                selector.register(self._stdin, selectors.EVENT_WRITE)
            if not selector.get_map():
                self._await_exit(timeout_s)
                return Moved()
            # A grandchild may hold the pipes open: come back to look for the exit.
            ready = {key.fileobj for key, _ in selector.select(min(timeout_s, _EXIT_POLL_S))}
        return Moved(
            self._send(outgoing) if self._stdin in ready else 0,
            _receive(self._stdout) if self._stdout in ready else b"",
            _receive(self._stderr) if self._stderr in ready else b"",
        )

    def ended(self) -> bool:
        return self._stdout.closed

    def returncode(self) -> int | None:
        return self._child.poll()

    def close_stdin(self) -> None:
        self._stdin.close()

    def close(self) -> None:
        self._stdin.close()
        try:
            self._child.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
        self._stdout.close()
        self._stderr.close()
        self._on_close(self)

    def _send(self, outgoing: memoryview) -> int:
        try:
            return os.write(self._stdin.fileno(), outgoing[:_PIPE_BYTES])
        except BlockingIOError:
            return 0
        except BrokenPipeError as error:
            raise CommandEnded("its input is closed") from error

    def _await_exit(self, timeout_s: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout_s)


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    assert child.stdin and child.stdout and child.stderr
    return child.stdin, child.stdout, child.stderr


def _receive(stream: IO[bytes]) -> bytes:
    received = os.read(stream.fileno(), _PIPE_BYTES)
    if not received:
        stream.close()
    return received


class _NeverStarted:
    """`Streams` of a program that cannot be started, ending as a shell would end it."""

    def __init__(self, reason: str, error: OSError) -> None:
        self._reason = reason.encode()
        self._code = 127 if isinstance(error, FileNotFoundError) else 126

    def move(self, outgoing: memoryview, timeout_s: float) -> Moved:
        if outgoing:
            raise CommandEnded("it never started")
        reason, self._reason = self._reason, b""
        return Moved(stderr=reason)

    def ended(self) -> bool:
        return True

    def returncode(self) -> int | None:
        return self._code

    def close_stdin(self) -> None:
        """There is none."""

    def close(self) -> None:
        """There is nothing to close."""
