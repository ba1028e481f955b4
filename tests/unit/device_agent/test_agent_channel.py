"""Messages over descriptors: bounded, guarded, and aware of the end of the input."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from device_agent.channel import LINE_MAX_BYTES, Channel, ChannelClosed
from device_agent.codec import BadMessage, encode_message
from device_agent.package_messages import Current, Install
from device_agent.protocol import MESSAGES, Goodbye

pytestmark = pytest.mark.filterwarnings("error")


class Wire:
    """A channel and the other ends of its two pipes."""

    def __init__(self) -> None:
        read_fd, self.input = os.pipe()
        self.output, write_fd = os.pipe()
        self.ended = threading.Event()
        self._descriptors = [self.output, write_fd]
        self.channel = Channel(read_fd, write_fd, MESSAGES, self.ended.set)

    def say(self, data: bytes) -> None:
        os.write(self.input, data)

    def end(self) -> None:
        if self.input >= 0:
            os.close(self.input)
            self.input = -1

    def close(self) -> None:
        self.end()
        self.ended.wait(5)
        for descriptor in self._descriptors:
            os.close(descriptor)


@pytest.fixture
def wire() -> Iterator[Wire]:
    opened = Wire()
    yield opened
    opened.close()


def test_messages_come_one_by_one(wire: Wire) -> None:
    wire.say(encode_message(Current()) + encode_message(Goodbye()))
    assert wire.channel.receive() == Current()
    assert wire.channel.receive() == Goodbye()
    wire.end()
    assert wire.channel.receive() is None
    assert wire.channel.receive() is None


def test_a_message_may_come_in_pieces(wire: Wire) -> None:
    line = encode_message(Install("0" * 64, 5))
    threading.Thread(target=lambda: [wire.say(bytes([byte])) for byte in line]).start()
    assert wire.channel.receive() == Install("0" * 64, 5)


def test_a_payload_is_not_taken_for_messages(wire: Wire) -> None:
    wire.say(encode_message(Install("0" * 64, 5)) + b"a\nb\nc" + encode_message(Current()))
    assert wire.channel.receive() == Install("0" * 64, 5)
    payload = wire.channel.payload(5)
    assert payload.read(2) == b"a\n"
    assert payload.read_all() == b"b\nc"
    assert payload.read(1) == b""
    assert wire.channel.receive() == Current()


def test_what_is_left_of_a_payload_can_be_skipped(wire: Wire) -> None:
    wire.say(encode_message(Install("0" * 64, 5)) + b"a\nb\nc" + encode_message(Current()))
    assert wire.channel.receive() == Install("0" * 64, 5)
    wire.channel.payload(5).skip()
    assert wire.channel.receive() == Current()


def test_a_large_payload_comes_whole(wire: Wire) -> None:
    data = os.urandom(3 * 2**20)

    def say() -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(wire.input, rest) :]

    threading.Thread(target=say).start()
    assert wire.channel.payload(len(data)).read_all() == data


def test_an_input_that_ends_within_a_payload(wire: Wire) -> None:
    wire.say(b"abc")
    wire.end()
    with pytest.raises(ChannelClosed, match="within a payload"):
        wire.channel.payload(4).read_all()


def test_an_input_that_ends_within_a_message(wire: Wire) -> None:
    wire.say(b'{"type":')
    wire.end()
    with pytest.raises(ChannelClosed, match="within a message"):
        wire.channel.receive()


def test_a_line_without_end_is_refused(wire: Wire) -> None:
    def say() -> None:
        for _ in range(LINE_MAX_BYTES // 2**16 + 1):
            wire.say(b"x" * 2**16)

    threading.Thread(target=say, daemon=True).start()
    with pytest.raises(BadMessage, match=r"a line of more than 1048576 bytes"):
        wire.channel.receive()


def test_the_end_is_noticed_while_nobody_reads(wire: Wire) -> None:
    wire.say(encode_message(Current()))
    wire.end()
    assert wire.ended.wait(5)
    assert wire.channel.receive() == Current()


def test_nobody_listens(wire: Wire) -> None:
    os.close(wire.output)
    wire._descriptors.remove(wire.output)
    with pytest.raises(ChannelClosed):
        wire.channel.send(Current())


GUARDED = """
import os, subprocess, sys
from device_agent.channel import guard_standard_streams
read_fd, write_fd = guard_standard_streams()
print("printed", flush=True)
os.write(1, b"native\\n")
subprocess.run(["echo", "child"])
assert sys.stdin.read() == ""
os.write(write_fd, b"ours:" + os.read(read_fd, 99))
"""


def test_what_others_print_cannot_get_into_the_channel() -> None:
    done = subprocess.run([sys.executable, "-c", GUARDED], input=b"hello", capture_output=True)
    assert done.stdout == b"ours:hello"
    assert done.stderr == b"printed\nnative\nchild\n"
