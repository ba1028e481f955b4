"""The streams of a command on a device: `transport.Streams` behind an SSH channel."""

from __future__ import annotations

import contextlib
import threading

import paramiko

from edgesdk.devices.inventory import Address
from edgesdk.devices.ssh_errors import lost, mapped
from edgesdk.devices.ssh_negotiation import WINDOW_BYTES
from edgesdk.devices.transport import CommandEnded, Moved
from edgesdk.units import KIB

_CHUNK_BYTES = 32 * KIB
_WINDOW_WAIT_S = 0.002


class _Bell(threading.Event):
    """Rings when anything arrives on a channel.

    paramiko clears its event whenever one of the two buffers runs empty, which loses the other's
    ring; so only the one who waits may silence it.
    """

    def clear(self) -> None:
        """Not for paramiko."""

    def silence(self) -> None:
        """Be ready for the next ring; look at the buffers after this, not before."""
        super().clear()


class SshStreams:
    """`Streams` of a command behind an SSH channel."""

    def __init__(
        self, session: paramiko.Transport, channel: paramiko.Channel, address: Address
    ) -> None:
        self._session = session
        self._channel = channel
        self._address = address
        self._bell = _Bell()
        channel.in_buffer.set_event(self._bell)
        channel.in_stderr_buffer.set_event(self._bell)
        channel.settimeout(_WINDOW_WAIT_S)

    def move(self, outgoing: memoryview, timeout_s: float) -> Moved:
        with mapped(self._session, self._address):
            self._bell.silence()
            moved = Moved(self._send(outgoing), *self._receive())
            if moved != Moved() or outgoing:
                return moved
            if self.ended():
                self._channel.status_event.wait(timeout_s)
            else:
                self._bell.wait(timeout_s)
            return Moved(0, *self._receive())

    def ended(self) -> bool:
        if self._channel.recv_ready():
            return False
        if self._channel.closed and not self._channel.eof_received:
            self._require_connection()
        return bool(self._channel.eof_received) or self._channel.closed

    def returncode(self) -> int | None:
        if not self._channel.status_event.is_set():
            return None
        if self._channel.exit_status < 0:
            self._require_connection()
        return self._channel.exit_status

    def close_stdin(self) -> None:
        with mapped(self._session, self._address):
            self._channel.shutdown_write()

    def close(self) -> None:
        with contextlib.suppress(paramiko.SSHException, OSError, EOFError):  # closed by its loss
            self._channel.close()

    def _send(self, outgoing: memoryview) -> int:
        if not outgoing:
            return 0
        if self._channel.closed:
            self._require_connection()
            raise CommandEnded("its input is closed")
        try:
            return self._channel.send(bytes(outgoing[:_CHUNK_BYTES]))
        except TimeoutError:
            return 0

    def _receive(self) -> tuple[bytes, bytes]:
        """What is there; never waits. Taking it opens the window for more."""
        channel = self._channel
        return (
            channel.recv(WINDOW_BYTES) if channel.recv_ready() else b"",
            channel.recv_stderr(WINDOW_BYTES) if channel.recv_stderr_ready() else b"",
        )

    def _require_connection(self) -> None:
        # paramiko closes the channels of a lost connection before it calls itself inactive.
        reason = self._session.saved_exception
        if reason is not None or not self._session.is_active():
            raise lost(self._address, reason)
