"""What every `Transport` must do, as a suite to inherit.

    class TestMine(TransportConformance):
        @pytest.fixture
        def transport(self): ...

The other side needs a POSIX shell's usual programs (`cat`, `sh`, `sleep`, `printf`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgesdk.devices.transport import STDERR_TAIL_BYTES, CommandEnded, Process, Transport
from edgesdk.errors import DeadlineExceeded, TransportError
from edgesdk.units import MIB

PLENTY_S = 30.0
SHORT_S = 0.3
BIG = bytes(range(256)) * (10 * MIB // 256)

HOSTILE = (
    "$(echo boo)",
    "`echo boo`",
    "; echo boo",
    "&& false",
    "two\nlines",
    "it's",
    'a "quoted" word',
    "-rf",
    "--",
    "*",
    "~",
    "$HOME",
    "back\\slash",
    "",
    " ",
    "\t",
    "ünïcödé",
    "#comment",
    "!1",
)


class TransportConformance:
    """Inherit, override `transport`, run."""

    @pytest.fixture
    def transport(self) -> Transport:
        raise NotImplementedError("override the fixture `transport`")

    # -- run

    def test_run_returns_what_was_written(self, transport: Transport) -> None:
        done = transport.run(["sh", "-c", "printf out; printf err >&2"], deadline_s=PLENTY_S)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"out", "err")

    def test_run_feeds_stdin(self, transport: Transport) -> None:
        done = transport.run(["cat"], stdin=b"\x00\xff\r\n", deadline_s=PLENTY_S)
        assert done.stdout == b"\x00\xff\r\n"

    def test_run_of_a_command_that_ignores_its_stdin(self, transport: Transport) -> None:
        assert transport.run(["true"], stdin=BIG, deadline_s=PLENTY_S).returncode == 0

    @pytest.mark.parametrize("code", [0, 1, 3, 255])
    def test_exit_codes_arrive(self, transport: Transport, code: int) -> None:
        assert transport.run(["sh", "-c", f"exit {code}"], deadline_s=PLENTY_S).returncode == code

    def test_a_missing_program_is_code_127_and_named(self, transport: Transport) -> None:
        done = transport.run(["edgesdk-no-such-program"], deadline_s=PLENTY_S)
        assert done.returncode == 127
        assert "edgesdk-no-such-program" in done.stderr

    def test_death_by_signal_is_no_success(self, transport: Transport) -> None:
        done = transport.run(["sh", "-c", "kill -9 $$"], deadline_s=PLENTY_S)
        assert done.returncode < 0 or done.returncode == 128 + 9

    @pytest.mark.parametrize("word", HOSTILE)
    def test_argv_arrives_intact(self, transport: Transport, word: str) -> None:
        done = transport.run(["printf", "<%s>", word, "end"], deadline_s=PLENTY_S)
        assert done.stdout.decode() == f"<{word}><end>"

    def test_a_program_that_runs_on_is_ended_at_the_deadline(self, transport: Transport) -> None:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            transport.run(["sleep", "6"], deadline_s=SHORT_S)
        assert time.monotonic() - began < 5

    # -- streams

    def test_ten_mebibytes_go_there_and_back(self, transport: Transport) -> None:
        assert transport.run(["cat"], stdin=BIG, deadline_s=PLENTY_S).stdout == BIG

    def test_writing_all_before_reading_does_not_deadlock(self, transport: Transport) -> None:
        process = transport.start(["cat"])
        process.write(BIG, PLENTY_S)
        assert process.read_exactly(len(BIG), PLENTY_S) == BIG
        process.close_stdin()
        assert process.read_some(1, PLENTY_S) == b""
        assert process.wait(PLENTY_S) == 0
        process.close()

    def test_lines_and_blocks_mix(self, transport: Transport) -> None:
        process = transport.start(["sh", "-c", r"printf 'one\n\nthree\0\1rest'"])
        assert process.read_line(100, PLENTY_S) == b"one"
        assert process.read_line(100, PLENTY_S) == b""
        assert process.read_exactly(6, PLENTY_S) == b"three\x00"
        assert process.read_some(1, PLENTY_S) == b"\x01"
        assert process.read_exactly(4, PLENTY_S) == b"rest"
        process.close()

    def test_a_dialogue_line_by_line(self, transport: Transport) -> None:
        process = transport.start(["sh", "-c", 'while read -r a; do echo "got $a"; done'])
        for number in range(20):
            process.write(b"%d\n" % number, PLENTY_S)
            assert process.read_line(100, PLENTY_S) == b"got %d" % number
        process.close_stdin()
        assert process.wait(PLENTY_S) == 0
        process.close()

    def test_a_line_of_just_the_limit_is_read(self, transport: Transport) -> None:
        process = transport.start(["sh", "-c", "echo 12345; echo 123456"])
        assert process.read_line(5, PLENTY_S) == b"12345"
        with pytest.raises(TransportError, match="more than 5 bytes"):
            process.read_line(5, PLENTY_S)
        process.close()

    def test_an_endless_line_is_refused(self, transport: Transport) -> None:
        # Not endless after all: a command that nobody listens to any more runs on.
        process = transport.start(["sh", "-c", "head -c 9000000 /dev/zero | tr '\\0' a"])
        with pytest.raises(TransportError, match="more than 1000 bytes"):
            process.read_line(1000, PLENTY_S)
        process.close()

    def test_a_flood_on_stderr_blocks_nothing(self, transport: Transport) -> None:
        script = "i=0; while [ $i -lt 3000 ]; do echo 'x y z' $i %s >&2; i=$((i+1)); done; echo ok"
        process = transport.start(["sh", "-c", script % ("-" * 1000)])
        assert process.read_line(100, PLENTY_S) == b"ok"
        assert process.wait(PLENTY_S) == 0
        tail = process.stderr_tail()
        assert tail.rstrip().endswith("x y z 2999 " + "-" * 1000)
        assert len(tail) <= STDERR_TAIL_BYTES
        process.close()

    def test_the_flood_may_come_while_we_only_wait(self, transport: Transport) -> None:
        process = transport.start(["sh", "-c", "head -c 5000000 /dev/zero; exit 4"])
        assert process.wait(PLENTY_S) == 4
        assert process.read_exactly(5_000_000, PLENTY_S) == bytes(5_000_000)
        process.close()

    # -- silence and endings

    @pytest.mark.parametrize(
        "act",
        [
            pytest.param(lambda process: process.read_line(100, SHORT_S), id="read_line"),
            pytest.param(lambda process: process.read_exactly(1, SHORT_S), id="read_exactly"),
            pytest.param(lambda process: process.read_some(1, SHORT_S), id="read_some"),
            pytest.param(lambda process: process.wait(SHORT_S), id="wait"),
            pytest.param(lambda process: process.write(4 * BIG, SHORT_S), id="write"),
        ],
    )
    def test_silence_ends_at_the_deadline(
        self, transport: Transport, act: Callable[[Process], object]
    ) -> None:
        process = transport.start(["sleep", "6"])
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            act(process)
        assert SHORT_S * 0.9 < time.monotonic() - began < SHORT_S + 3
        process.close()

    def test_a_trickle_does_not_extend_the_deadline(self, transport: Transport) -> None:
        trickle = "i=0; while [ $i -lt 200 ]; do printf a; sleep 0.05; i=$((i+1)); done"
        process = transport.start(["sh", "-c", trickle])
        with pytest.raises(DeadlineExceeded):
            process.read_line(1000, SHORT_S)
        process.close()

    def test_the_end_instead_of_a_line_carries_the_last_words(self, transport: Transport) -> None:
        process = transport.start(["sh", "-c", "printf half; echo no python here >&2; exit 9"])
        with pytest.raises(CommandEnded, match="no python here"):
            process.read_line(100, PLENTY_S)
        assert process.wait(PLENTY_S) == 9
        process.close()

    def test_the_end_instead_of_a_block(self, transport: Transport) -> None:
        process = transport.start(["printf", "abc"])
        with pytest.raises(CommandEnded, match="3 of 4 bytes"):
            process.read_exactly(4, PLENTY_S)
        process.close()

    def test_writing_to_a_command_that_ended(self, transport: Transport) -> None:
        process = transport.start(["sh", "-c", "echo full up >&2; exit 28"])
        with pytest.raises(CommandEnded, match="full up"):
            process.write(4 * BIG, PLENTY_S)
        assert process.wait(PLENTY_S) == 28
        process.close()

    def test_close_ends_a_command_that_reads_its_stdin(
        self, transport: Transport, tmp_path: Path
    ) -> None:
        gone = tmp_path / "gone"
        process = transport.start(["sh", "-c", 'echo up; cat; touch "$1"', "sh", str(gone)])
        process.read_line(100, PLENTY_S)
        process.close()
        _await(gone.exists)

    def test_closing_the_transport_ends_its_commands(
        self, transport: Transport, tmp_path: Path
    ) -> None:
        gone = tmp_path / "gone"
        process = transport.start(["sh", "-c", 'echo up; cat; touch "$1"', "sh", str(gone)])
        process.read_line(100, PLENTY_S)
        transport.close()
        _await(gone.exists)
        process.close()

    def test_close_twice_is_fine(self, transport: Transport) -> None:
        process = transport.start(["cat"])
        process.close()
        process.close()
        transport.close()
        transport.close()

    # -- concurrency

    def test_processes_do_not_wait_for_each_other(self, transport: Transport) -> None:
        silent = transport.start(["sleep", "6"])
        assert transport.run(["printf", "a"], deadline_s=PLENTY_S).stdout == b"a"
        silent.close()

    def test_five_at_once_from_five_threads(self, transport: Transport) -> None:
        together = threading.Barrier(5)

        def echo(number: int) -> bytes:
            process = transport.start(["cat"])
            together.wait(PLENTY_S)
            process.write(bytes([number]) * MIB, PLENTY_S)
            received = process.read_exactly(MIB, PLENTY_S)
            process.close()
            return received

        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(echo, range(5))) == [bytes([n]) * MIB for n in range(5)]


def _await(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PLENTY_S, "the command still runs"
        time.sleep(0.01)
