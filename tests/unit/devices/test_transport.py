"""`PumpedProcess` over streams made of values; what needs a real carrier is in the conformance."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgesdk.devices import transport
from edgesdk.devices.local import LocalTransport
from edgesdk.devices.transport import CommandEnded, Moved, Process, PumpedProcess, run_to_end
from edgesdk.errors import TransportError


class Script:
    """`Streams` that give out pieces one by one, then end with `code`."""

    def __init__(self, *pieces: bytes, stderr: bytes = b"", code: int = 0) -> None:
        self.received = b""
        self.closed = False
        self._pieces = list(pieces)
        self._stderr = stderr
        self._code = code

    def move(self, outgoing: memoryview, timeout_s: float) -> Moved:
        self.received += outgoing
        if self._pieces:
            return Moved(len(outgoing), self._pieces.pop(0))
        stderr, self._stderr = self._stderr, b""
        return Moved(len(outgoing), stderr=stderr)

    def ended(self) -> bool:
        return not self._pieces

    def returncode(self) -> int | None:
        return None if self._pieces else self._code

    def close_stdin(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_a_line_is_found_over_pieces() -> None:
    process = PumpedProcess(Script(b"a", b"b", b"c\nd", b"\n"), "it")
    assert [process.read_line(3, 1), process.read_line(1, 1)] == [b"abc", b"d"]


def test_output_while_writing_is_kept_in_order() -> None:
    process = PumpedProcess(Script(b"1", b"2", b"3"), "it")
    process.write(b"x", 1)
    process.write(b"y", 1)
    assert process.read_exactly(3, 1) == b"123"


def test_last_words_after_the_end_of_stdout_are_in_the_error() -> None:
    process = PumpedProcess(Script(stderr=b"a\nb\nc\nd\ne\nno space left\n", code=1), "it")
    with pytest.raises(CommandEnded) as caught:
        process.read_line(10, 1)
    assert caught.value.details == ("b", "c", "d", "e", "no space left")


def test_only_the_tail_of_stderr_is_kept() -> None:
    process = PumpedProcess(Script(stderr=b"x" * 100_000 + b"end"), "it")
    assert process.wait(1) == 0
    assert process.stderr_tail() == "x" * (transport.STDERR_TAIL_BYTES - 3) + "end"


def test_a_flood_that_nobody_reads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "UNREAD_LIMIT_BYTES", 10)
    process = PumpedProcess(Script(b"123456", b"789012"), "it")
    with pytest.raises(TransportError, match="more than 10 B that nobody read"):
        process.wait(1)


def test_run_closes_what_it_started() -> None:
    script = Script(b"out", code=3)

    class OneProcess(LocalTransport):
        def start(self, argv: Sequence[str]) -> Process:
            return PumpedProcess(script, "it")

    done = run_to_end(OneProcess(), ["it"], b"in", 1)
    assert (done.returncode, done.stdout, script.received) == (3, b"out", b"in")
    assert script.closed
