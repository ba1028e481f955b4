"""Messages over a pair of file descriptors: one JSON line each, some followed by a raw payload.

`guarded_channel` takes over the process's stdin and stdout so that nothing else can read from or
write to them: what a runtime prints goes to stderr. A thread reads ahead, so that the end of the
input is noticed also while the process is busy.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import threading
from typing import Any, Callable, List, Mapping, Optional, Tuple, Type

from device_agent.codec import BadMessage, decode_message, encode_message

LINE_MAX_BYTES = 1024 * 1024
_PIECE_BYTES = 256 * 1024
_PIPE_BYTES = 1024 * 1024
_SET_PIPE_SIZE = 1031
"""F_SETPIPE_SZ of Linux, which `fcntl` names from Python 3.10 on."""
_PIECES_AHEAD = 8


class ChannelClosed(Exception):
    """The other side is gone."""


class FellSilent(ChannelClosed):
    """The other side has said nothing for longer than is waited for.

    Args:
        patience_s: that long.
    """

    def __init__(self, patience_s: float) -> None:
        super().__init__(f"nothing has come for {patience_s} s")
        self.patience_s = patience_s


class WithPayload:
    """A reply that bytes follow."""

    def __init__(self, message: Any, payload: bytes) -> None:
        self.message = message
        self.payload = payload


class Channel:
    """Sends and receives messages; used by one thread.

    Args:
        read_fd: where messages come from. It is the channel's own, which closes it at its end: were
            it closed elsewhere, the reading thread could come to read from what is opened next.
        write_fd: where messages go.
        messages: the classes that may come in, by name.
        on_end: called once, by the reading thread, as soon as the input has ended.

    Attributes:
        patience_s: longest silence of the other side when something of it is waited for; None
            waits for ever. A connection that broke without a word is silent.
    """

    def __init__(
        self,
        read_fd: int,
        write_fd: int,
        messages: Mapping[str, Type[Any]],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._read_fd = read_fd
        _widen(read_fd)
        self._write_fd = write_fd
        self._messages = messages
        self._on_end = on_end
        self.patience_s: Optional[float] = None
        self._pieces: queue.Queue[bytes] = queue.Queue(_PIECES_AHEAD)
        self._rest = b""
        self._ended = False
        threading.Thread(target=self._read_ahead, name="channel", daemon=True).start()

    def send(self, message: Any, payload: bytes = b"") -> None:
        """Send a message and, where it has one, its payload.

        Raises:
            ChannelClosed: nobody reads any more.
        """
        self.send_raw(encode_message(message) + payload)

    def send_raw(self, data: bytes) -> None:
        """Send bytes that are no message, such as the start marker.

        Raises:
            ChannelClosed: nobody reads any more.
        """
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._write_fd, rest) :]
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self) -> Optional[Any]:
        """The next message; None at the end of the input.

        Raises:
            BadMessage: what came is none.
            ChannelClosed: the input ended within a line, or the other side fell silent.
        """
        pieces: List[bytes] = []
        size = 0
        while True:
            piece = self._take(LINE_MAX_BYTES)
            if not piece:
                if pieces:
                    raise ChannelClosed("the input ended within a message")
                return None
            line, newline, rest = piece.partition(b"\n")
            size += len(line)
            if size > LINE_MAX_BYTES:
                raise BadMessage(f"found a line of more than {LINE_MAX_BYTES} bytes")
            pieces.append(line)
            if newline:
                self._rest = rest + self._rest
                return decode_message(b"".join(pieces), self._messages)

    def payload(self, size: int) -> Payload:
        """The payload that follows the message just received."""
        return Payload(self._take, size)

    def _take(self, limit: int) -> bytes:
        if not self._rest and not self._ended:
            self._rest = self._next_piece()
            self._ended = not self._rest
        taken, self._rest = self._rest[:limit], self._rest[limit:]
        return taken

    def _next_piece(self) -> bytes:
        patience_s = self.patience_s
        try:
            return self._pieces.get(timeout=patience_s)
        except queue.Empty as error:
            raise FellSilent(patience_s or 0.0) from error

    def _read_ahead(self) -> None:
        piece = b"any"
        while piece:
            try:
                piece = os.read(self._read_fd, _PIECE_BYTES)
            except OSError:
                piece = b""  # A connection that broke has ended.
            if not piece:
                os.close(self._read_fd)
                self._on_end()
            self._pieces.put(piece)


class Payload:
    """The raw bytes after a message: a bounded stream."""

    def __init__(self, take: Callable[[int], bytes], size: int) -> None:
        self._take = take
        self.left = size

    def read(self, limit: int) -> bytes:
        """Up to `limit` bytes; b"" at its end, or where the input ends too early.

        Raises:
            ChannelClosed: the other side fell silent.
        """
        piece = self._take(min(limit, self.left)) if self.left > 0 else b""
        self.left -= len(piece)
        return piece

    def read_all(self) -> bytes:
        """All that is left.

        Raises:
            ChannelClosed: the input ended too early.
        """
        pieces = []
        while self.left > 0:
            piece = self.read(self.left)
            if not piece:
                raise ChannelClosed("the input ended within a payload")
            pieces.append(piece)
        return b"".join(pieces)

    def skip(self) -> None:
        """Swallow what is left, so that the next message can be read."""
        while self.read(_PIECE_BYTES):
            pass


def _widen(fd: int) -> None:
    """Let a pipe hold more, so that its two ends wait less for one another; others stay."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, _SET_PIPE_SIZE, _PIPE_BYTES)


def guard_standard_streams() -> Tuple[int, int]:
    """Take stdin and stdout for a channel: the descriptors that are now theirs alone.

    Everything else in the process, native code included, finds an empty stdin and writes to stderr
    when it writes to stdout.
    """
    read_fd, write_fd = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return read_fd, write_fd
