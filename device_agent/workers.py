"""The agent's side of a worker process: ask, and know how it ended."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple, Type, TypeVar

from device_agent.channel import Channel, ChannelClosed
from device_agent.codec import BadMessage
from device_agent.failures import AgentFailure
from device_agent.protocol import ErrorCode, Failure, Progress
from device_agent.worker_messages import REPLIES

_LAST_WORDS_S = 1.0
_STDERR_LINES = 5
_STDERR_LINE_BYTES = 500
_SIGNAL_HINTS: Dict[int, str] = {
    signal.SIGKILL: "most often the device ran out of memory: try a smaller model or fewer threads",
    signal.SIGILL: "the runtime uses instructions that this CPU lacks: try another build of it",
    signal.SIGSEGV: "the runtime crashed: try another version of it",
    signal.SIGABRT: "the runtime gave up: see its last words",
}

R = TypeVar("R")
OnProgress = Callable[[Progress], None]


def worker_command(program: str) -> List[str]:
    """The argv that starts a worker from the agent's own zipapp."""
    return [sys.executable, program, "worker"]


class Worker:
    """A running worker process.

    Args:
        key: how messages call it.
        command: the argv that starts it, as `worker_command` makes it.

    Raises:
        AgentFailure: "worker_died": the device cannot start another process.
    """

    def __init__(self, key: str, command: Sequence[str]) -> None:
        self._key = key
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            )
        except OSError as error:
            raise AgentFailure(
                ErrorCode.WORKER_DIED,
                f"a process for model {key!r} cannot be started: {error.strerror}",
                "the device is short of memory, of processes or of open files: see ulimit -a there",
            ) from error
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin and stdout and stderr
        self._channel = Channel(os.dup(stdout.fileno()), stdin.fileno(), REPLIES)
        stdout.close()
        self._last_words: Deque[str] = collections.deque(maxlen=_STDERR_LINES)
        self._listener = threading.Thread(target=self._listen, args=(stderr,), daemon=True)
        self._listener.start()

    def ask(
        self,
        request: Any,
        expected: Type[R],
        payload: bytes = b"",
        on_progress: OnProgress = lambda _: None,
    ) -> Tuple[R, bytes]:
        """Send a request and wait for its reply, and the reply's payload if it has one.

        Raises:
            AgentFailure: the worker's own, or "worker_died".
        """
        try:
            self._channel.send(request, payload)
            reply = self._channel.receive()
            while isinstance(reply, Progress):
                on_progress(reply)
                reply = self._channel.receive()
            if isinstance(reply, Failure):
                raise AgentFailure(reply.code, reply.message, reply.hint)
            if not isinstance(reply, expected):
                raise self._death()
            return reply, self._channel.payload(getattr(reply, "payload_bytes", 0)).read_all()
        except (ChannelClosed, BadMessage) as error:
            raise self._death() from error

    def kill(self) -> None:
        """End it now; twice is fine, and any thread may."""
        self._process.kill()

    def close(self) -> None:
        """End it and wait until it is gone; twice is fine."""
        self.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._listener.join(_LAST_WORDS_S)

    def _death(self) -> AgentFailure:
        try:
            code: Optional[int] = self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self.close()
            code = None
        self._listener.join(_LAST_WORDS_S)
        return describe_death(self._key, code, self._last_words[-1] if self._last_words else "")

    def _listen(self, stderr: IO[bytes]) -> None:
        with stderr:
            while True:
                line = stderr.readline(_STDERR_LINE_BYTES)
                if not line:
                    return
                if line.strip():
                    self._last_words.append(line.decode("utf-8", "replace").strip())


def describe_death(key: str, code: Optional[int], last_words: str) -> AgentFailure:
    """What to say about a worker that ended by itself.

    Args:
        key: the model it ran.
        code: exit status, the negative number of the signal that ended it, or None where it broke
            the protocol and was ended.
        last_words: its last line on stderr.
    """
    hint = ""
    if code is None:
        how = "stopped making sense"
    elif code < 0:
        how = f"was ended by {_signal_name(-code)}"
        hint = _SIGNAL_HINTS.get(-code, "")
    else:
        how = f"ended with exit status {code}"
    said = f"; its last words: {last_words}" if last_words else ""
    return AgentFailure(
        ErrorCode.WORKER_DIED, f"the process running model {key!r} {how}{said}", hint
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # A real-time signal.
