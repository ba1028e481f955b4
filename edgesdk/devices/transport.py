"""What every way to a device offers: start a command, talk to it, know how it ended.

`PumpedProcess` holds the one set of rules (deadlines, end of file, flow control) for all carriers;
a carrier only supplies `Streams`. There is no file transfer here and no shell: files travel through
the agent's stdin, and argv stays a list.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from edgesdk.errors import DeadlineExceeded, TransportError
from edgesdk.units import KIB, MIB, format_bytes

STDERR_TAIL_BYTES = 8 * KIB
UNREAD_LIMIT_BYTES = 256 * MIB
_READ_BYTES = 64 * KIB
_LAST_WORDS_S = 1.0
_NOTHING = memoryview(b"")


class CommandEnded(TransportError):
    """The command ended, or closed the stream, before the exchange was over.

    The connection itself may be sound: `wait` still tells the exit code.
    """


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran to its end.

    Args:
        returncode: 0-255, or negative when a signal ended it (over SSH always -1).
        stdout: everything it wrote.
        stderr: the last few KiB it wrote there, undecodable bytes replaced.
    """

    returncode: int
    stdout: bytes
    stderr: str


class Process(Protocol):
    """A running command. Used by one thread at a time. Every deadline is for the whole call.

    All methods that move bytes raise `TransportError` when the connection is lost.
    """

    def write(self, data: bytes, deadline_s: float) -> None:
        """Send all of `data`; what the command writes meanwhile is kept for the next read.

        Raises:
            CommandEnded: it reads no more.
            DeadlineExceeded: it did not take everything in time.
        """

    def read_some(self, limit: int, deadline_s: float) -> bytes:
        """At least one and at most `limit` bytes; b"" at the end of the output.

        Raises:
            DeadlineExceeded: nothing came.
        """

    def read_line(self, limit: int, deadline_s: float) -> bytes:
        """One line without its newline.

        Raises:
            CommandEnded: the output ended first.
            DeadlineExceeded: no whole line came in time.
            TransportError: the line is longer than `limit` bytes.
        """

    def read_exactly(self, count: int, deadline_s: float) -> bytes:
        """Exactly `count` bytes.

        Raises:
            CommandEnded: the output ended first.
            DeadlineExceeded: fewer came in time.
        """

    def close_stdin(self) -> None:
        """Tell the command that nothing more follows."""

    def stderr_tail(self) -> str:
        """The last few KiB of stderr so far; never waits."""

    def wait(self, deadline_s: float) -> int:
        """The exit code (see `Completed.returncode`); output that comes meanwhile stays readable.

        Raises:
            DeadlineExceeded: it still runs.
        """

    def close(self) -> None:
        """End it: its streams are closed, and where the carrier can, it is killed. Never raises."""


class Closing(ABC):
    """What a `with` statement closes at its end."""

    @abstractmethod
    def close(self) -> None:
        """Never raises; twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Transport(Protocol):
    """A way to one device. Several processes may run over it at once, each from its own thread."""

    def start(self, argv: Sequence[str]) -> Process:
        """Start a command; each item of `argv` arrives as it is, whatever characters it holds."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline_s: float) -> Completed:
        """Start a command, feed it `stdin`, and collect its output until it ends.

        Raises:
            DeadlineExceeded: it had not ended in time; it is closed.
            TransportError: the connection was lost.
        """

    def close(self) -> None:
        """Close it and every process started over it. Never raises; twice is fine."""

    def __enter__(self) -> Self:
        """The transport itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""


def run_to_end(
    transport: Transport, argv: Sequence[str], stdin: bytes, deadline_s: float
) -> Completed:
    """`Transport.run`, for any transport, on top of its `start`."""
    deadline = Deadline(deadline_s)
    with contextlib.closing(transport.start(argv)) as process:
        with contextlib.suppress(CommandEnded):  # a command may ignore its input
            process.write(stdin, deadline.left_s())
        process.close_stdin()
        output = _read_to_end(process, deadline)
        code = process.wait(deadline.left_s())
        return Completed(code, output, process.stderr_tail())


def _read_to_end(process: Process, deadline: Deadline) -> bytes:
    output = bytearray()
    while piece := process.read_some(_READ_BYTES, deadline.left_s()):
        output += piece
        _refuse_flood(len(output))
    return bytes(output)


def _refuse_flood(size: int) -> None:
    if size > UNREAD_LIMIT_BYTES:
        raise TransportError(
            f"the command wrote more than {format_bytes(UNREAD_LIMIT_BYTES)} that nobody read"
        )


class Deadline:
    """A point in time, from a number of seconds from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds that remain; 0 when it has passed."""
        return max(0.0, self._end - time.monotonic())

    def exceeded(self, doing: str) -> DeadlineExceeded:
        """The error for what was being done when it passed."""
        return DeadlineExceeded(f"{doing}: no answer within {self.seconds:g} s")


@dataclass(frozen=True, slots=True)
class Moved:
    """What one `Streams.move` did."""

    sent: int = 0
    stdout: bytes = b""
    stderr: bytes = b""


class Streams(Protocol):
    """The streams of one started command, as a carrier offers them."""

    def move(self, outgoing: memoryview, timeout_s: float) -> Moved:
        """Send some of `outgoing` and take what has arrived; back as soon as anything moved.

        It may come back earlier with nothing, but does not spin: once the output has ended it waits
        for the exit instead.

        Raises:
            CommandEnded: the command reads no more, and `outgoing` is not empty.
            TransportError: the connection is lost.
        """

    def ended(self) -> bool:
        """Whether stdout is at its end: everything it held has been moved."""

    def returncode(self) -> int | None:
        """The exit code, None while it runs."""

    def close_stdin(self) -> None:
        """No more input."""

    def close(self) -> None:
        """Release everything, ending the command. Never raises; twice is fine."""


class PumpedProcess:
    """A `Process` over any `Streams`.

    Nothing runs in the background: bytes move both ways inside each call, so memory grows only
    while the caller writes or waits, and a command that floods an idle caller is held back.
    """

    def __init__(self, streams: Streams, name: str) -> None:
        self._streams = streams
        self._name = name
        self._unread = bytearray()
        self._stderr = bytearray()

    def write(self, data: bytes, deadline_s: float) -> None:
        deadline = Deadline(deadline_s)
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._pump(rest, deadline).sent :]
            except CommandEnded as error:
                raise self._ended("stopped reading") from error
            if rest and not deadline.left_s():
                raise deadline.exceeded(f"writing to {self._name} ({len(rest)} bytes left)")

    def read_some(self, limit: int, deadline_s: float) -> bytes:
        self._fill(1, Deadline(deadline_s))
        return self._take(min(limit, len(self._unread)))

    def read_exactly(self, count: int, deadline_s: float) -> bytes:
        if not self._fill(count, Deadline(deadline_s)):
            raise self._ended(f"ended after {len(self._unread)} of {count} bytes")
        return self._take(count)

    def read_line(self, limit: int, deadline_s: float) -> bytes:
        deadline = Deadline(deadline_s)
        searched = 0
        while (end := self._unread.find(b"\n", searched, limit + 1)) < 0:
            searched = len(self._unread)
            if searched > limit:
                raise TransportError(f"{self._name} sent a line of more than {limit} bytes")
            if not self._fill(searched + 1, deadline):
                raise self._ended("ended in the middle of a line" if searched else "ended")
        return self._take(end + 1)[:-1]

    def close_stdin(self) -> None:
        self._streams.close_stdin()

    def stderr_tail(self) -> str:
        return self._stderr.decode(errors="replace")

    def wait(self, deadline_s: float) -> int:
        deadline = Deadline(deadline_s)
        while (code := self._streams.returncode()) is None:
            if not deadline.left_s():
                raise deadline.exceeded(f"waiting for {self._name} to end")
            self._pump(_NOTHING, deadline)
        self._collect_rest(deadline.left_s())
        return code

    def close(self) -> None:
        self._streams.close()

    def _pump(self, outgoing: memoryview, deadline: Deadline) -> Moved:
        moved = self._streams.move(outgoing, deadline.left_s())
        self._unread += moved.stdout
        self._stderr += moved.stderr
        del self._stderr[:-STDERR_TAIL_BYTES]
        _refuse_flood(len(self._unread))
        return moved

    def _fill(self, count: int, deadline: Deadline) -> bool:
        """Whether `count` unread bytes are there; False when the output ended before."""
        while len(self._unread) < count:
            if self._streams.ended():
                return False
            if not deadline.left_s():
                raise deadline.exceeded(f"reading from {self._name}")
            self._pump(_NOTHING, deadline)
        return True

    def _take(self, count: int) -> bytes:
        taken = bytes(self._unread[:count])
        del self._unread[:count]
        return taken

    def _collect_rest(self, limit_s: float) -> None:
        """What it left on the way: the exit code may overtake it.

        Not for long, because children that outlive the command may hold its output open.
        """
        grace = Deadline(min(limit_s, _LAST_WORDS_S))
        while not self._streams.ended() and grace.left_s():
            self._pump(_NOTHING, grace)
        while (moved := self._pump(_NOTHING, Deadline(0))).stdout or moved.stderr:
            pass

    def _ended(self, what: str) -> CommandEnded:
        # Its last words often come a moment after the end of stdout, and say why.
        with contextlib.suppress(DeadlineExceeded):
            self.wait(_LAST_WORDS_S)
        return CommandEnded(
            f"{self._name} {what}", details=tuple(self.stderr_tail().splitlines()[-5:])
        )
