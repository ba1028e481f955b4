"""Fixtures: a virtual device, and OpenSSH's own server where it is installed."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice

_SSHD = Path("/usr/sbin/sshd")
_SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups {max_startups}
"""


@pytest.fixture(autouse=True)
def no_thread_outlives_its_test() -> Iterator[None]:
    """What a test starts, it ends."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 2
    while left := [t for t in threading.enumerate() if t not in before and t.is_alive()]:
        assert time.monotonic() < deadline, f"threads left running: {left}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def session_virtual_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualDevice]:
    """One virtual device for all tests that leave nothing behind on it."""
    with VirtualDevice(tmp_path_factory.mktemp("virtual")) as device:
        yield device


@pytest.fixture
def virtual_device(tmp_path: Path) -> Iterator[VirtualDevice]:
    """A fresh virtual device."""
    with VirtualDevice(tmp_path / "virtual") as device:
        yield device


@pytest.fixture(scope="session")
def sshd_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """OpenSSH's server on this machine, run by and letting in the user who runs the tests."""
    yield from _serve_sshd(tmp_path_factory.mktemp("sshd"), max_startups="10:30:100")


@pytest.fixture
def crowded_sshd_device(tmp_path: Path) -> Iterator[Device]:
    """OpenSSH's server, refusing every connection while two others have not logged in."""
    yield from _serve_sshd(tmp_path, max_startups="2:100:2")


def _serve_sshd(directory: Path, max_startups: str) -> Iterator[Device]:
    _require_sshd()
    host_key = _make_key(directory / "host_key")
    client_key = _make_key(directory / "client_key")
    (directory / "authorized_keys").write_text(client_key + "\n")
    port = _free_port()
    config = directory / "sshd_config"
    config.write_text(
        _SSHD_CONFIG.format(directory=directory, port=port, max_startups=max_startups)
    )
    with subprocess.Popen(
        [_SSHD, "-D", "-e", "-f", config], stderr=(directory / "log").open("wb")
    ) as server:
        try:
            _await_port(port, server, directory / "log")
            yield Device(
                name="openssh",
                host="127.0.0.1",
                port=port,
                user=getpass.getuser(),
                target="raspberry-pi-5",
                host_key=host_key,
                identity_file=str(directory / "client_key"),
            )
        finally:
            server.terminate()


def _require_sshd() -> None:
    if not _SSHD.exists() or shutil.which("ssh-keygen") is None:
        pytest.skip("OpenSSH's server is not installed")
    account = pwd.getpwuid(os.getuid())
    if Path(account.pw_shell).name in ("nologin", "false"):
        pytest.skip(f"{account.pw_name} has no login shell, so sshd lets it run nothing")
    if os.getuid() == 0:
        try:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            pytest.skip(f"sshd run by root needs /run/sshd: {error.strerror}")


def _make_key(path: Path) -> str:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True
    )
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _await_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    pytest.skip(f"sshd does not start here: {log.read_text().strip()}")
