"""The agent's side of a worker process: ask, and know how it ended."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple, Type, TypeVar

from device_agent.channel import Channel, ChannelClosed, FellSilent
from device_agent.codec import BadMessage
from device_agent.failures import AgentFailure
from device_agent.oom import MORE_MEMORY, oom_kills, refused_memory
from device_agent.protocol import ErrorCode, Failure, Progress
from device_agent.worker_messages import REPLIES

_LAST_WORDS_S = 1.0
_STDERR_LINES = 5
_STDERR_LINE_BYTES = 500
_BAD_ALLOC = "std::bad_alloc"
"""What a program in C++ says last that ends for want of memory."""
_SIGNAL_HINTS: Dict[int, str] = {
    signal.SIGKILL: "most often the device ran out of memory: try a smaller model or fewer threads",
    signal.SIGBUS: "the model's file, or the memory under it, failed while it was read: see dmesg",
    signal.SIGFPE: "the runtime divided by zero: try another version of it",
    signal.SIGILL: "the runtime uses instructions that this CPU lacks: try another build of it",
    signal.SIGSEGV: "the runtime crashed: try another version of it",
    signal.SIGABRT: "the runtime gave up: try another version of it",
    signal.SIGTERM: "someone, or a service manager, ended it on the device",
}

_DOING = {
    "Load": "loading",
    "WarmUp": "warming up",
    "TimeBlock": "an inference that was timed",
    "TimeWindow": "an inference that was timed",
    "WarmUpStages": "warming up",
    "TimeStages": "a run from picture to answer that was timed",
    "Classify": "a prediction",
    "ClassifyPictures": "a prediction",
    "Compare": "the check of its golden vectors",
    "TimeOperators": "a profiled inference",
}
"""Request of a worker, by its name, to what it does then."""

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
        self._oom_kills = oom_kills()
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
        silence_s: Optional[float] = None,
    ) -> Tuple[R, bytes]:
        """Send a request and wait for its reply, and the reply's payload if it has one.

        Args:
            silence_s: after this long without a word the worker is hung, and killed; None waits for
                ever.

        Raises:
            AgentFailure: the worker's own; "worker_died", "out_of_memory" or "hung".
        """
        self._channel.patience_s = silence_s
        try:
            self._channel.send(request, payload)
            reply = self._channel.receive()
            while isinstance(reply, Progress):
                on_progress(reply)
                reply = self._channel.receive()
            if isinstance(reply, Failure):
                raise AgentFailure(reply.code, reply.message, reply.hint)
            if not isinstance(reply, expected):
                raise self._death(request)
            return reply, self._channel.payload(getattr(reply, "payload_bytes", 0)).read_all()
        except FellSilent as error:
            self.close()
            raise describe_hang(self._key, request, error.patience_s) from error
        except (ChannelClosed, BadMessage) as error:
            raise self._death(request) from error

    @property
    def pid(self) -> int:
        """Its process's number."""
        return self._process.pid

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

    def _death(self, request: Any) -> AgentFailure:
        try:
            code: Optional[int] = self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self.close()
            code = None
        self._listener.join(_LAST_WORDS_S)
        last_words = self._last_words[-1] if self._last_words else ""
        if code == -signal.SIGKILL and _has_grown(self._oom_kills, oom_kills()):
            return describe_out_of_memory(self._key)
        if _BAD_ALLOC in last_words:
            return refused_memory()
        return describe_death(self._key, code, last_words, _DOING.get(type(request).__name__, ""))

    def _listen(self, stderr: IO[bytes]) -> None:
        with stderr:
            while True:
                line = stderr.readline(_STDERR_LINE_BYTES)
                if not line:
                    return
                if line.strip():
                    self._last_words.append(line.decode("utf-8", "replace").strip())


def describe_death(key: str, code: Optional[int], last_words: str, doing: str = "") -> AgentFailure:
    """What to say about a worker that ended by itself.

    Args:
        key: the model it ran.
        code: exit status, the negative number of the signal that ended it, or None where it broke
            the protocol and was ended.
        last_words: its last line on stderr.
        doing: what it was asked for; "" where that does not matter.
    """
    hint = ""
    if code is None:
        how = "stopped making sense"
    elif code < 0:
        how = f"was ended by {_signal_name(-code)}"
        hint = _SIGNAL_HINTS.get(-code, "")
    else:
        how = f"ended with exit status {code}"
    at = f" in {doing}" if doing else ""
    said = f"; its last words: {last_words}" if last_words else ""
    return AgentFailure(
        ErrorCode.WORKER_DIED, f"the process running model {key!r} {how}{at}{said}", hint
    )


def describe_out_of_memory(key: str) -> AgentFailure:
    """What to say about a worker that the kernel ended because memory ran out."""
    return AgentFailure(
        ErrorCode.OUT_OF_MEMORY,
        f"the device ran out of memory while it ran model {key!r}, and its kernel ended that"
        " process",
        MORE_MEMORY,
    )


def describe_hang(key: str, request: Any, silence_s: float) -> AgentFailure:
    """What to say about a worker that stopped answering, and was killed.

    Args:
        request: what it was asked last.
    """
    return AgentFailure(
        ErrorCode.HUNG,
        f"model {key!r} hung in {_DOING.get(type(request).__name__, 'its work')}: no answer for"
        f" {silence_s:.0f} s, so its process was killed",
        "its runtime or accelerator waits for something that does not come: see dmesg on the"
        " device; an accelerator may need to be replugged, or the board restarted",
    )


def _has_grown(before: Optional[int], after: Optional[int]) -> bool:
    return before is not None and after is not None and after > before


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # A real-time signal.
