"""A TCP proxy on 127.0.0.1 that breaks connections on purpose. It knows nothing of SSH."""

from __future__ import annotations

import select
import socket
import struct
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from edgesdk.units import KIB

_PIECE_BYTES = 64 * KIB
_TICK_S = 0.05
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST


class FaultProxy:
    """Forwards to `host:port`, until a connection's client has sent so many bytes.

    Args:
        cut_after_bytes: then both ends are reset; 0 resets at once, as an overloaded sshd does.
        stall_after_bytes: then nothing moves any more, either way; 0 is a host that is silent.
        faulty_connections: so many connections suffer, later ones do not; None is all.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        cut_after_bytes: int | None = None,
        stall_after_bytes: int | None = None,
        faulty_connections: int | None = None,
    ) -> None:
        self.accepted = 0
        self._device = (host, port)
        self._cut_after_bytes = cut_after_bytes
        self._stall_after_bytes = stall_after_bytes
        self._faulty_connections = faulty_connections
        self._frozen = threading.Event()
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_TICK_S)
        self._threads = [threading.Thread(target=self._accept, name="fault-proxy")]

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

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
            thread = threading.Thread(
                target=self._forward, args=(client, self._is_faulty()), name="fault-proxy"
            )
            self.accepted += 1
            self._threads.append(thread)
            thread.start()

    def _is_faulty(self) -> bool:
        return self._faulty_connections is None or self.accepted < self._faulty_connections

    def _forward(self, client: socket.socket, faulty: bool) -> None:
        with client, socket.create_connection(self._device) as device:
            up = _Direction(client, device)
            down = _Direction(device, client)
            while not self._stopping.is_set() and not (up.ended and down.ended):
                if faulty and _reached(self._cut_after_bytes, up.moved_bytes):
                    for end in (client, device):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    return
                stalled = faulty and _reached(self._stall_after_bytes, up.moved_bytes)
                if stalled or self._frozen.is_set():
                    self._stopping.wait()
                    return
                _step(up, down, self._allowance(up.moved_bytes) if faulty else _PIECE_BYTES)

    def _allowance(self, moved_bytes: int) -> int:
        """Bytes the client may still send before the fault, so that it strikes exactly there."""
        limits = (self._cut_after_bytes, self._stall_after_bytes)
        left = [limit - moved_bytes for limit in limits if limit is not None]
        return min([_PIECE_BYTES, *left])


def _reached(limit: int | None, moved_bytes: int) -> bool:
    return limit is not None and moved_bytes >= limit


@dataclass
class _Direction:
    """One half of a connection, with what is read and not yet sent on."""

    source: socket.socket
    sink: socket.socket
    waiting: bytes = b""
    moved_bytes: int = 0
    ended: bool = field(default=False)

    def read(self, limit: int) -> None:
        try:
            self.waiting = self.source.recv(limit)
        except OSError:  # reset by that end: nothing more comes
            self.waiting = b""
        if not self.waiting:
            self.end()

    def send(self) -> None:
        try:
            sent = self.sink.send(self.waiting)
        except OSError:  # nobody takes it any more
            self.end()
            return
        self.waiting = self.waiting[sent:]
        self.moved_bytes += sent

    def end(self) -> None:
        self.ended = True
        self.waiting = b""
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError:  # already gone
            return


def _step(up: _Direction, down: _Direction, allowance: int) -> None:
    """Move what can be moved, neither direction waiting for the other."""
    open_now = [direction for direction in (up, down) if not direction.ended]
    readable, writable, _ = select.select(
        [direction.source for direction in open_now if not direction.waiting],
        [direction.sink for direction in open_now if direction.waiting],
        [],
        _TICK_S,
    )
    for direction in open_now:
        if direction.source in readable and not direction.waiting:
            direction.read(allowance if direction is up else _PIECE_BYTES)
        elif direction.sink in writable and direction.waiting:
            direction.send()
