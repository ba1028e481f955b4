"""A TCP proxy on 127.0.0.1 that breaks connections on purpose. It knows nothing of SSH."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from edgesdk.units import KIB

_PIECE_BYTES = 64 * KIB
_SLICE_S = 0.02
"""At a limited rate, what may pass in this time goes in one piece."""
_TICK_S = 0.05
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST


@dataclass(frozen=True, slots=True)
class Faults:
    """What a connection suffers; None where it does not.

    Args:
        cut_after_bytes: from the client; then both ends are reset; 0 resets at once, as an
            overloaded sshd does.
        cut_after_bytes_down: the same, counted on the way to the client.
        stall_after_bytes: from the client; then nothing moves any more, either way; 0 is a host
            that is silent.
        stall_s: how long; None is for good.
        latency_s: each way, for every byte.
        bytes_per_second: the client's, at most.
    """

    cut_after_bytes: int | None = None
    cut_after_bytes_down: int | None = None
    stall_after_bytes: int | None = None
    stall_s: float | None = None
    latency_s: float = 0.0
    bytes_per_second: int | None = None


class FaultProxy:
    """Forwards to `host:port`, with faults.

    Args:
        faulty_connections: so many connections suffer, later ones do not; None is all.
        faults: the rest are those of `Faults`.

    Attributes:
        accepted: connections so far.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        cut_after_bytes: int | None = None,
        cut_after_bytes_down: int | None = None,
        stall_after_bytes: int | None = None,
        stall_s: float | None = None,
        latency_s: float = 0.0,
        bytes_per_second: int | None = None,
        faulty_connections: int | None = None,
    ) -> None:
        self.accepted = 0
        self._device = (host, port)
        self._faults = Faults(
            cut_after_bytes,
            cut_after_bytes_down,
            stall_after_bytes,
            stall_s,
            latency_s,
            bytes_per_second,
        )
        self._faulty_connections = faulty_connections
        self._frozen = threading.Event()
        self._stopping = threading.Event()
        self._lines: list[_Line] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_TICK_S)
        self._threads = [threading.Thread(target=self._accept, name="fault-proxy")]

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def moved_bytes(self) -> int:
        """What all clients have sent, as far as it was passed on."""
        return sum(line.up.moved_bytes for line in self._lines)

    @property
    def moved_bytes_down(self) -> int:
        """What was passed on to all clients."""
        return sum(line.down.moved_bytes for line in self._lines)

    def freeze(self) -> None:
        """From now on nothing moves, on any connection; all stay open."""
        self._frozen.set()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        while self._threads:
            self._threads.pop(0).join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            faults = self._faults if self._is_faulty() else Faults()
            self.accepted += 1
            thread = threading.Thread(
                target=self._forward, args=(client, faults), name="fault-proxy"
            )
            self._threads.append(thread)
            thread.start()

    def _is_faulty(self) -> bool:
        return self._faulty_connections is None or self.accepted < self._faulty_connections

    def _forward(self, client: socket.socket, faults: Faults) -> None:
        with client, socket.create_connection(self._device) as device:
            line = _Line(_Direction(client, device), _Direction(device, client), faults)
            self._lines.append(line)
            while not self._stopping.is_set() and not line.ended:
                if line.is_to_be_cut:
                    for end in (client, device):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    return
                if self._frozen.is_set():
                    self._stopping.wait()
                    return
                if line.is_to_stall:
                    self._stopping.wait(faults.stall_s)
                    line.stalled = True
                line.step()


@dataclass
class _Direction:
    """One half of a connection, with what is read and not yet sent on."""

    source: socket.socket
    sink: socket.socket
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    moved_bytes: int = 0
    ended: bool = False
    ending: bool = False

    @property
    def due_s(self) -> float:
        """When the first of what waits may go; for ever where nothing does."""
        return self.waiting[0][0] if self.waiting else float("inf")

    def read(self, limit: int, due_s: float) -> None:
        try:
            piece = self.source.recv(limit)
        except OSError:  # reset by that end: nothing more comes
            piece = b""
        if piece:
            self.waiting.append((due_s, piece))
        else:
            self.ending = True

    def send(self) -> None:
        due_s, piece = self.waiting.popleft()
        try:
            sent = self.sink.send(piece)
        except OSError:  # nobody takes it any more
            self.waiting.clear()
            self.ending = True
            return
        if sent < len(piece):
            self.waiting.appendleft((due_s, piece[sent:]))
        self.moved_bytes += sent

    def end(self) -> None:
        """Pass the end on, once all before it has been."""
        self.ended = True
        with contextlib.suppress(OSError):  # already gone
            self.sink.shutdown(socket.SHUT_WR)


@dataclass
class _Line:
    """One connection."""

    up: _Direction
    down: _Direction
    faults: Faults
    stalled: bool = False

    @property
    def ended(self) -> bool:
        return self.up.ended and self.down.ended

    @property
    def is_to_be_cut(self) -> bool:
        return _reached(self.faults.cut_after_bytes, self.up.moved_bytes) or _reached(
            self.faults.cut_after_bytes_down, self.down.moved_bytes
        )

    @property
    def is_to_stall(self) -> bool:
        return not self.stalled and _reached(self.faults.stall_after_bytes, self.up.moved_bytes)

    def step(self) -> None:
        """Move what can be moved, neither direction waiting for the other."""
        now_s = time.monotonic()
        both = (self.up, self.down)
        reading = [way for way in both if not way.ending and self._room(way) > 0]
        sending = [way for way in both if way.due_s <= now_s]
        soonest_s = min(way.due_s for way in both)
        readable, writable, _ = select.select(
            [way.source for way in reading],
            [way.sink for way in sending],
            [],
            _TICK_S if sending else min(_TICK_S, max(soonest_s - now_s, 0.0)),
        )
        for way in both:
            if way.sink in writable:
                way.send()
            if way.source in readable:
                way.read(self._room(way), self._due_s(way))
            if way.ending and not way.waiting and not way.ended:
                way.end()

    def _room(self, way: _Direction) -> int:
        """Bytes that may be taken now, so that a fault strikes exactly where it should."""
        waiting = sum(len(piece) for _, piece in way.waiting)
        if way is self.down:
            limits = [self.faults.cut_after_bytes_down]
        else:
            stall = None if self.stalled else self.faults.stall_after_bytes
            limits = [self.faults.cut_after_bytes, stall]
        left = [limit - way.moved_bytes - waiting for limit in limits if limit is not None]
        most = _PIECE_BYTES
        if way is self.up and self.faults.bytes_per_second is not None:
            most = max(1, int(self.faults.bytes_per_second * _SLICE_S)) if not waiting else 0
        elif waiting and not self.faults.latency_s:
            most = 0
        return max(0, min([most, *left]))

    def _due_s(self, way: _Direction) -> float:
        wait_s = self.faults.latency_s
        if way is self.up and self.faults.bytes_per_second is not None:
            wait_s += _SLICE_S
        return time.monotonic() + wait_s


def _reached(limit: int | None, moved_bytes: int) -> bool:
    return limit is not None and moved_bytes >= limit
