"""The way to a device's SSH server: a socket, and keys exchanged with whoever answers.

Who that is, and whether we may log in, is not asked here.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import threading
import time
from typing import TYPE_CHECKING

import paramiko

from edgesdk.devices.inventory import Address
from edgesdk.devices.ssh_errors import mapped
from edgesdk.devices.transport import Deadline
from edgesdk.errors import DeadlineExceeded, TransportError
from edgesdk.interruption import cut_by, pause
from edgesdk.units import MIB

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STALL_S = 15.0
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
"""Linux has it."""
WINDOW_BYTES = 8 * MIB
MARGIN_S = 0.1
_CONNECT_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.1

# What is not named here (CBC, 3DES, MD5, SHA-1) is never offered. AES-GCM first: a third faster.
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
_HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


def negotiate(address: Address, preferred_key: str, deadline: Deadline) -> paramiko.Transport:
    """Exchange keys with whoever answers there: no check of who it is, and no login.

    A server that hangs up before its first line is overloaded (OpenSSH's MaxStartups): it is asked
    again a few times, at random intervals.

    Args:
        preferred_key: type of the host key to ask for first, e.g. "ssh-ed25519".

    Raises:
        DeadlineExceeded: silence.
        TransportError: everything else that keeps the two from agreeing on keys.
    """
    for attempt in range(_CONNECT_ATTEMPTS):
        try:
            return _negotiate_once(address, preferred_key, deadline)
        except _HungUp:
            pause_s = _FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.5)
            if attempt + 1 == _CONNECT_ATTEMPTS or pause_s > deadline.left_s():
                raise
            pause(pause_s)
    raise AssertionError("the last attempt returns or raises")


def end_session(session: paramiko.Transport) -> None:
    """Close a connection and its thread. Never raises; twice is fine."""
    hang_up(session.sock)  # Wakes its thread, which looks for the end ten times a second else.
    session.close()
    session.packetizer.complete_handshake()  # ends a timer that a failed key exchange leaves behind
    session.sock.close()
    if session.is_alive() and session is not threading.current_thread():
        session.join()


def hang_up(sock: socket.socket | paramiko.Channel) -> None:
    """Whoever waits for something of it finds it lost, here and over there."""
    with contextlib.suppress(OSError):  # not connected any more
        sock.shutdown(socket.SHUT_RDWR)


def host_key_line(key: paramiko.PKey) -> str:
    """A public key as it is written in files: "ssh-ed25519 AAAA..."."""
    return f"{key.get_name()} {key.get_base64()}"


class _HungUp(TransportError):
    """It closed the connection before saying anything: too busy, or too often asked."""


class _PromptSocket(socket.socket):
    """A socket that acknowledges at once, and gives up when the other side takes nothing for long.

    paramiko sends with no limit of its own, so a line that fills up would block it for ever. And
    OpenSSH's server holds a small packet back until the last one is acknowledged (Nagle), which
    systems put off by 40 ms for want of anything to say: at each step of starting a command.
    """

    _stuck_since: float | None = None

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        piece = super().recv(size, flags)
        if _QUICKACK is not None:  # It holds for a few packets only.
            self.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        return piece

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        try:
            sent = super().send(data, flags)
        except TimeoutError as error:
            self._stuck_since = self._stuck_since or time.monotonic()
            if time.monotonic() - self._stuck_since > _STALL_S:
                raise ConnectionAbortedError(
                    errno.ETIMEDOUT, f"the other side has taken nothing for {_STALL_S:g} s"
                ) from error
            raise
        self._stuck_since = None
        return sent


def _negotiate_once(address: Address, preferred_key: str, deadline: Deadline) -> paramiko.Transport:
    sock = _dial(address, deadline)
    try:
        with contextlib.closing(cut_by(lambda: hang_up(sock))):
            _await_greeting(sock, address, deadline)
        session = _session(sock, preferred_key, deadline)
    except BaseException:
        sock.close()
        raise
    try:
        with contextlib.closing(cut_by(lambda: hang_up(sock))), mapped(session, address):
            session.start_client(timeout=deadline.left_s())
        if not session.initial_kex_done:
            raise deadline.exceeded(f"agreeing on keys with {address}")
    except BaseException:
        end_session(session)
        raise
    return session


def _dial(address: Address, deadline: Deadline) -> socket.socket:
    where = (address.host, address.port)
    try:
        plain = socket.create_connection(where, timeout=max(deadline.left_s(), 0.001))
    except socket.gaierror as error:
        raise TransportError(
            f"the name {address.host!r} cannot be resolved: {error.strerror}",
            hint="Check its spelling, or enrol the device by its IP address.",
        ) from error
    except TimeoutError as error:
        raise _silent(address, deadline) from error
    except ConnectionRefusedError as error:
        raise TransportError(
            f"nothing listens on port {address.port} of {address.host}",
            hint="Is the SSH server of the device running, and on this port?",
        ) from error
    except ConnectionResetError as error:
        raise _hung_up(address) from error
    except OSError as error:
        raise TransportError(f"{address} cannot be reached: {error.strerror}") from error
    sock = _PromptSocket(fileno=plain.detach())
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _await_greeting(sock: socket.socket, address: Address, deadline: Deadline) -> None:
    """Look at the first line without taking it: paramiko reports all its troubles alike."""
    sock.settimeout(max(deadline.left_s(), 0.001))
    try:
        greeting = sock.recv(80, socket.MSG_PEEK)
    except TimeoutError as error:
        raise _silent(address, deadline) from error
    except OSError as error:
        raise _hung_up(address) from error
    if not greeting or b"MaxStartups" in greeting:
        raise _hung_up(address)
    if greeting[:4] != b"SSH-"[: len(greeting)]:
        raise TransportError(
            f"port {address.port} of {address.host} does not speak SSH; it says {greeting!r}"
        )


def _silent(address: Address, deadline: Deadline) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{address} did not answer within {deadline.seconds:g} s",
        hint="Is the device switched on, and is this its address?",
    )


def _hung_up(address: Address) -> _HungUp:
    return _HungUp(
        f"{address} closed the connection before saying anything",
        hint="Its SSH server may be overloaded (MaxStartups) or refuse this address; "
        "try again in a minute.",
    )


def _session(sock: socket.socket, preferred_key: str, deadline: Deadline) -> paramiko.Transport:
    session = paramiko.Transport(sock, default_window_size=WINDOW_BYTES)
    options = session.get_security_options()
    options.ciphers = _CIPHERS
    options.digests = _MACS
    options.key_types = sorted(_HOST_KEY_TYPES, key=lambda kind: not _same_key(kind, preferred_key))
    # These end as if the line had been lost: ours has to strike first, and says what happened.
    session.banner_timeout = session.handshake_timeout = deadline.left_s() + MARGIN_S
    session.daemon = True
    return session


def _same_key(signature: str, key: str) -> bool:
    """RSA keys sign under other names than their own."""
    return signature == key or (key == "ssh-rsa" and signature.startswith("rsa-sha2-"))
