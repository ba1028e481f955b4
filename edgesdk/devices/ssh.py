"""Devices over SSH, by paramiko: only to an enrolled host key, never with a password.

There is no SFTP, no jump host and no reading of ~/.ssh/config.
"""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Iterator, Sequence

import paramiko

from edgesdk.devices.inventory import Address, Device, require_same_key
from edgesdk.devices.ssh_errors import mapped
from edgesdk.devices.ssh_login import find_identities, log_in
from edgesdk.devices.ssh_negotiation import end_session, hang_up, host_key_line, negotiate
from edgesdk.devices.ssh_streams import SshStreams
from edgesdk.devices.transport import (
    Closing,
    Completed,
    Deadline,
    Process,
    PumpedProcess,
    run_to_end,
)
from edgesdk.errors import TransportError
from edgesdk.interruption import Cut, cut_by

CONNECT_DEADLINE_S = 20.0
START_DEADLINE_S = 20.0
_KEEPALIVE_S = 15


class SshTransport(Closing):
    """A `Transport` over one SSH connection. Made by `connect`."""

    def __init__(self, session: paramiko.Transport, address: Address, cut: Cut) -> None:
        self._session = session
        self._address = address
        self._cut = cut

    def start(self, argv: Sequence[str]) -> Process:
        command = shlex.join(argv).encode("utf-8", "surrogateescape")
        doing = f"starting {argv[0]!r} on {self._address}"
        with (
            _limited(self._session, Deadline(START_DEADLINE_S), doing),
            mapped(self._session, self._address),
        ):
            return PumpedProcess(self._execute(command), f"{argv[0]!r} on {self._address}")

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline_s: float) -> Completed:
        return run_to_end(self, argv, stdin, deadline_s)

    def close(self) -> None:
        self._cut.close()
        end_session(self._session)

    def _execute(self, command: bytes) -> SshStreams:
        try:
            channel = self._session.open_session(timeout=2 * START_DEADLINE_S)
        except paramiko.ChannelException as error:
            raise TransportError(
                f"{self._address} refuses to start another command over this connection: "
                f"{error.text}",
                hint="OpenSSH allows 10 at once (MaxSessions).",
            ) from error
        streams = SshStreams(self._session, channel, self._address)
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
    with find_identities(device) as identities:
        session = negotiate(device.address, device.host_key.partition(" ")[0], deadline)
        try:
            cut = cut_by(lambda: hang_up(session.sock))
        except BaseException:
            end_session(session)
            raise
        try:
            require_same_key(device, host_key_line(session.get_remote_server_key()))
            with mapped(session, device.address):
                log_in(session, device, identities, deadline)
        except BaseException:
            cut.close()
            end_session(session)
            raise
    session.set_keepalive(_KEEPALIVE_S)
    return SshTransport(session, device.address, cut)


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
