"""Devices over SSH, by paramiko: only to an enrolled host key, never with a password.

Every failure of paramiko or of the socket becomes one of our errors here and nowhere else. There is
no SFTP, no jump host and no reading of ~/.ssh/config.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import random
import shlex
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import IncompatiblePeer

from edgesdk.devices.inventory import Address, Device, require_same_key
from edgesdk.devices.transport import (
    CommandEnded,
    Completed,
    Deadline,
    Moved,
    Process,
    PumpedProcess,
    run_to_end,
)
from edgesdk.errors import AuthenticationFailed, DeadlineExceeded, TransportError
from edgesdk.units import KIB, MIB

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CONNECT_DEADLINE_S = 20.0
START_DEADLINE_S = 20.0
_KEEPALIVE_S = 15
_STALL_S = 15.0
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
"""Linux has it."""
_WINDOW_BYTES = 8 * MIB
_CHUNK_BYTES = 32 * KIB
_WINDOW_WAIT_S = 0.002
_MARGIN_S = 0.1
_CONNECT_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.1
_DEFAULT_IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")

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

# paramiko logs what we raise; without a handler Python would print it a second time.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class SshTransport:
    """A `Transport` over one SSH connection. Made by `connect`."""

    def __init__(self, session: paramiko.Transport, address: Address) -> None:
        self._session = session
        self._address = address

    def start(self, argv: Sequence[str]) -> Process:
        command = shlex.join(argv).encode("utf-8", "surrogateescape")
        doing = f"starting {argv[0]!r} on {self._address}"
        with (
            _limited(self._session, Deadline(START_DEADLINE_S), doing),
            _mapped(self._session, self._address),
        ):
            return PumpedProcess(self._execute(command), f"{argv[0]!r} on {self._address}")

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline_s: float) -> Completed:
        return run_to_end(self, argv, stdin, deadline_s)

    def close(self) -> None:
        end_session(self._session)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _execute(self, command: bytes) -> _SshStreams:
        try:
            channel = self._session.open_session(timeout=2 * START_DEADLINE_S)
        except paramiko.ChannelException as error:
            raise TransportError(
                f"{self._address} refuses to start another command over this connection: "
                f"{error.text}",
                hint="OpenSSH allows 10 at once (MaxSessions).",
            ) from error
        streams = _SshStreams(self._session, channel, self._address)
        channel.exec_command(command)
        return streams


def connect(device: Device, *, deadline_s: float = CONNECT_DEADLINE_S) -> SshTransport:
    """Log in on an enrolled device.

    Raises:
        HostKeyMismatch: it answers with another key than the enrolled one; nothing was sent to it.
        AuthenticationFailed: no key of ours is accepted.
        DeadlineExceeded: it is silent.
        TransportError: its name is unknown, its port is closed, it hangs up or speaks no SSH.
    """
    deadline = Deadline(deadline_s)
    try:
        return _connected(device, deadline)
    except TransportError as error:
        error.connected = False
        raise


def _connected(device: Device, deadline: Deadline) -> SshTransport:
    with _identities(device) as identities:
        session = negotiate(device.address, device.host_key.partition(" ")[0], deadline)
        try:
            require_same_key(device, host_key_line(session.get_remote_server_key()))
            with _mapped(session, device.address):
                _log_in(session, device, identities, deadline)
        except BaseException:
            end_session(session)
            raise
    session.set_keepalive(_KEEPALIVE_S)
    return SshTransport(session, device.address)


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
            time.sleep(pause_s)
    raise AssertionError("the last attempt returns or raises")


def end_session(session: paramiko.Transport) -> None:
    """Close a connection and its thread. Never raises; twice is fine."""
    with contextlib.suppress(OSError):  # not connected any more
        # Wakes its thread, which looks for the end ten times a second otherwise.
        session.sock.shutdown(socket.SHUT_RDWR)
    session.close()
    session.packetizer.complete_handshake()  # ends a timer that a failed key exchange leaves behind
    session.sock.close()
    if session.is_alive() and session is not threading.current_thread():
        session.join()


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
        _await_greeting(sock, address, deadline)
        session = _session(sock, preferred_key, deadline)
    except BaseException:
        sock.close()
        raise
    try:
        with _mapped(session, address):
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
    session = paramiko.Transport(sock, default_window_size=_WINDOW_BYTES)
    options = session.get_security_options()
    options.ciphers = _CIPHERS
    options.digests = _MACS
    options.key_types = sorted(_HOST_KEY_TYPES, key=lambda kind: not _same_key(kind, preferred_key))
    # These end as if the line had been lost: ours has to strike first, and says what happened.
    session.banner_timeout = session.handshake_timeout = deadline.left_s() + _MARGIN_S
    session.daemon = True
    return session


def _same_key(signature: str, key: str) -> bool:
    """RSA keys sign under other names than their own."""
    return signature == key or (key == "ssh-rsa" and signature.startswith("rsa-sha2-"))


@contextlib.contextmanager
def _mapped(session: paramiko.Transport, address: Address) -> Iterator[None]:
    """The boundary: whatever paramiko or the socket raises inside becomes ours."""
    try:
        yield
    except IncompatiblePeer as error:
        raise TransportError(
            f"{address} and this machine have no algorithm in common: {error}",
            hint="The SSH server of the device is too old; only AES with SHA-2 is offered.",
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise _lost(address, error) from error


def _lost(address: Address, reason: BaseException | None) -> TransportError:
    said = (reason.strerror if isinstance(reason, OSError) else None) or str(reason or "")
    because = f": {said}" if said else ""
    return TransportError(f"the connection to {address} was lost{because}")


@contextlib.contextmanager
def _limited(session: paramiko.Transport, deadline: Deadline, doing: str) -> Iterator[None]:
    """A deadline for calls of paramiko that have none: it closes the connection."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        session.close()

    timer = threading.Timer(deadline.left_s(), expire)
    timer.start()
    try:
        yield
    except TransportError as error:
        if expired.is_set():
            raise deadline.exceeded(doing) from error
        raise
    finally:
        timer.cancel()
        timer.join()


@dataclass(frozen=True, slots=True)
class _Identities:
    """Keys to log in with, in order, and what was found but cannot be used."""

    keys: tuple[tuple[str, paramiko.PKey], ...]
    unusable: tuple[str, ...]


@contextlib.contextmanager
def _identities(device: Device) -> Iterator[_Identities]:
    """The device's own identity file, else ssh-agent and then ~/.ssh.

    An identity file that is locked is looked for in ssh-agent, which is where people unlock it.
    """
    files = _identity_files(device)
    loaded = [(str(path), _load_identity(path)) for path in files]
    unlocked = tuple((name, key) for name, key in loaded if isinstance(key, paramiko.PKey))
    unusable = tuple(f"{name}: {key}" for name, key in loaded if isinstance(key, str))
    if device.identity_file is not None and unlocked:
        yield _Identities(unlocked, ())
        return
    agent = paramiko.Agent()
    try:
        held = tuple(("ssh-agent", key) for key in agent.get_keys())
        yield _Identities(_without_doubles(held + unlocked), unusable)
    finally:
        agent.close()


def _identity_files(device: Device) -> tuple[Path, ...]:
    if device.identity_file is None:
        candidates = (Path.home() / ".ssh" / name for name in _DEFAULT_IDENTITIES)
        return tuple(path for path in candidates if path.exists())
    path = Path(device.identity_file).expanduser()
    if not path.is_file():
        raise AuthenticationFailed(
            f"the identity file of device {device.name} is not there: {path}",
            hint="Enrol the device again with the private key that it accepts.",
        )
    return (path,)


def _load_identity(path: Path) -> paramiko.PKey | str:
    """The key, or why it cannot be used. Its contents are never shown."""
    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        return "locked by a passphrase; unlock it with `ssh-add`"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, paramiko.SSHException, UnknownKeyType, UnsupportedAlgorithm):
        return "not a private key that can be used"


def _without_doubles(
    keys: Sequence[tuple[str, paramiko.PKey]],
) -> tuple[tuple[str, paramiko.PKey], ...]:
    first = {pair[1].fingerprint: pair for pair in reversed(keys)}
    return tuple(pair for pair in keys if first[pair[1].fingerprint] is pair)


def _log_in(
    session: paramiko.Transport, device: Device, identities: _Identities, deadline: Deadline
) -> None:
    tried = []
    for name, key in identities.keys:
        tried.append(f"{name}: {key.get_name()} {key.fingerprint}")
        session.auth_timeout = deadline.left_s() + _MARGIN_S
        try:
            if not session.auth_publickey(device.user, key):
                return
        except paramiko.SSHException as error:
            if not deadline.left_s():
                raise deadline.exceeded(f"logging in on {device.address}") from error
            if not session.is_active() and len(tried) == 1:
                raise _lost(device.address, error) from error
        if not session.is_active():  # OpenSSH hangs up after six keys
            tried.append("then it hung up")
            break
    raise AuthenticationFailed(
        f"{device.host} does not let user {device.user!r} in with "
        + ("any of these keys" if tried else "a key: there is none to try"),
        hint="Is it the right user? To install your key there: "
        f"ssh-copy-id -p {device.port} {device.user}@{device.host}",
        details=(*tried, *identities.unusable),
    )


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


class _SshStreams:
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
        with _mapped(self._session, self._address):
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
        with _mapped(self._session, self._address):
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
            channel.recv(_WINDOW_BYTES) if channel.recv_ready() else b"",
            channel.recv_stderr(_WINDOW_BYTES) if channel.recv_stderr_ready() else b"",
        )

    def _require_connection(self) -> None:
        # paramiko closes the channels of a lost connection before it calls itself inactive.
        reason = self._session.saved_exception
        if reason is not None or not self._session.is_active():
            raise _lost(self._address, reason)
