"""Fixtures: a virtual device, and OpenSSH's own server where it is installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Tests import onnxruntime themselves, too; its telemetry must be off before that.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice

pytest.register_assert_rewrite("edgesdk.testing.transport_conformance")

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
SetEnv HOME={directory}/sshd-home
PermitRootLogin prohibit-password
{settings}
"""


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept between runs is kept for these tests only, and so is what they measure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("EDGESDK_HOME", str(tmp_path_factory.mktemp("edgesdk-home")))
        yield


@pytest.fixture
def no_thread_outlives_its_test() -> Iterator[None]:
    """What a test starts, it ends."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 2
    while left := [thread for thread in set(threading.enumerate()) - before if _is_ours(thread)]:
        assert time.monotonic() < deadline, f"threads left running: {left}"
        time.sleep(0.01)


def _is_ours(thread: threading.Thread) -> bool:
    """The session's virtual device has a thread for each command, until that ends."""
    return not thread.name.startswith("asyncio-waitpid")


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
    with _serve_sshd(tmp_path_factory.mktemp("sshd"), "") as device:
        yield device


@pytest.fixture
def sshd_device_with(tmp_path: Path) -> Iterator[Callable[[str], Device]]:
    """Starts OpenSSH's server with a line of configuration of its own."""
    with contextlib.ExitStack() as servers:
        yield lambda settings: servers.enter_context(_serve_sshd(tmp_path, settings))


@contextlib.contextmanager
def _serve_sshd(directory: Path, settings: str) -> Iterator[Device]:
    user = _require_sshd()
    host_key = _make_key(directory / "host_key")
    client_key = _make_key(directory / "client_key")
    (directory / "sshd-home").mkdir(exist_ok=True)
    (directory / "authorized_keys").write_text(client_key + "\n")
    port = _free_port()
    config = directory / "sshd_config"
    config.write_text(_SSHD_CONFIG.format(directory=directory, port=port, settings=settings))
    log = directory / "log"
    with (
        log.open("wb") as stream,
        subprocess.Popen([_SSHD, "-D", "-e", "-f", config], stderr=stream) as server,
    ):
        try:
            _await_port(port, server, log)
            yield Device(
                name="openssh",
                host="127.0.0.1",
                port=port,
                user=user,
                target="raspberry-pi-5",
                host_key=host_key,
                identity_file=str(directory / "client_key"),
            )
        finally:
            server.terminate()


def _require_sshd() -> str:
    """Who may log in: the user who runs the tests."""
    if not _SSHD.exists() or shutil.which("ssh-keygen") is None:
        pytest.skip("OpenSSH's server is not installed")
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError:
        pytest.skip(f"user {os.getuid()} has no account, so sshd lets nobody in")
    if Path(account.pw_shell).name in ("nologin", "false"):
        pytest.skip(f"{account.pw_name} has no login shell, so sshd lets it run nothing")
    if os.getuid() == 0:
        try:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            pytest.skip(f"sshd run by root needs /run/sshd: {error.strerror}")
    return account.pw_name


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
