"""OpenSSH's server as a process of ours: its keys, its settings, its start and its end.

Where it runs, on this machine or behind emulation, is its caller's business.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from edgesdk.errors import DeviceError
from edgesdk.processes import printable

HOST = "127.0.0.1"
_POLL_S = 0.02
_DIAL_S = 1.0
_LAST_LINES = 5
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Keys:
    """Whom a server lets in and who it is; the private halves are files that only we can read.

    Args:
        host_file: private key of the server.
        host_line: its public half, "ssh-ed25519 AAAA...".
        client_file: private key that it lets in.
        client_line: its public half.
    """

    host_file: Path
    host_line: str
    client_file: Path
    client_line: str


def make_keys(directory: Path) -> Keys:
    """Fresh keys in files of `directory`."""
    host, client = directory / "host_key", directory / "client_key"
    return Keys(host, _make_key(host), client, _make_key(client))


def _make_key(path: Path) -> str:
    private = Ed25519PrivateKey.generate()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return public.decode()


def config(
    *,
    port: int,
    user: str,
    host_key: str,
    authorized_keys: str,
    sftp: str,
    environment: dict[str, str],
    settings: str = "",
) -> str:
    """The text of an sshd_config that lets in one user, with a key, on the loopback only.

    Args:
        host_key, authorized_keys: paths as the server sees them.
        sftp: the command of its file transfer.
        environment: set for every login, over what the system sets.
        settings: further lines, which cannot override those.
    """
    settled = " ".join(f'"{name}={value}"' for name, value in environment.items())
    return f"""\
ListenAddress {HOST}
Port {port}
HostKey "{host_key}"
AuthorizedKeysFile "{authorized_keys}"
AllowUsers {user}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
StrictModes no
PrintMotd no
PrintLastLog no
PidFile none
Subsystem sftp {sftp}
SetEnv {settled}
{settings}
"""


def free_port(wanted: int = 0) -> int:
    """A port of the loopback that nobody listens on now: the wanted one, or any for 0.

    Raises:
        DeviceError: the wanted one is taken.
    """
    try:
        with socket.create_server((HOST, wanted)) as listener:
            port: int = listener.getsockname()[1]
    except OSError as error:
        raise DeviceError(f"the device cannot listen on port {wanted}: {error.strerror}") from error
    return port


@contextlib.contextmanager
def served(argv: Sequence[str], port: int, log: Path, deadline_s: float) -> Iterator[Server]:
    """A server that answers at `port`, gone when the block ends.

    Args:
        argv: ends, with all it started, when its stdin does.
        log: takes what it says.

    Raises:
        DeviceError: it ended or did not listen; with the last of what it said.
    """
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=stream, stderr=stream, start_new_session=True
        ) as process,
    ):
        server = Server(process, log)
        try:
            server.await_port(port, deadline_s)
            yield server
        finally:
            server.end()


class Server:
    """A started server."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def wait(self) -> None:
        """Return when it has ended."""
        self._process.wait()

    def await_port(self, port: int, deadline_s: float) -> None:
        """Return when it listens.

        Raises:
            DeviceError: it ended first, or does not in time.
        """
        deadline = time.monotonic() + deadline_s
        while self._process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection((HOST, port), timeout=_DIAL_S).close()
                return
            if time.monotonic() > deadline:
                raise self.failed(f"does not listen on port {port} after {deadline_s:g} s")
            time.sleep(_POLL_S)
        raise self.failed(f"did not start (exit code {self._process.returncode})")

    def failed(self, how: str) -> DeviceError:
        """The error for it, with the last of what it said."""
        said = printable(self._log.read_text(errors="replace"))
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return DeviceError(f"OpenSSH's server {how}", details=lines[-_LAST_LINES:])

    def end(self) -> None:
        """Let go of its stdin; kill what does not mind."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
