"""What the user reads when the way to a device fails: one test a sentence."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgesdk.devices import ssh, ssh_negotiation
from edgesdk.devices.inventory import Device, host_key_fingerprint
from edgesdk.devices.ssh import connect
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import AuthenticationFailed, DeadlineExceeded, HostKeyMismatch, TransportError
from edgesdk.interruption import Interruption, Signalled
from edgesdk.testing.fault_proxy import FaultProxy
from edgesdk.units import MIB

pytestmark = pytest.mark.usefixtures("no_thread_outlives_its_test", "own_home")

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILJm5T2tCoqvnzMvFjoTKvtcOHZpMj7gvPJQXpd9eiX2"


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an empty .ssh and no ssh-agent."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def board(session_virtual_device: VirtualDevice) -> Device:
    return session_virtual_device.as_device("board", "raspberry-pi-5")


@contextlib.contextmanager
def _listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def _through(proxy: FaultProxy, board: Device) -> Device:
    return replace(board, port=proxy.port)


class TestReaching:
    def test_a_closed_port(self, board: Device) -> None:
        with _listener() as listener:
            port = listener.getsockname()[1]
        with pytest.raises(TransportError, match=f"nothing listens on port {port} of 127.0.0.1"):
            connect(replace(board, port=port))

    def test_a_name_that_nobody_knows(self, board: Device) -> None:
        with pytest.raises(TransportError, match=r"the name 'board\.invalid' cannot be resolved"):
            connect(replace(board, host="board.invalid"))

    def test_a_silent_host(self, board: Device) -> None:
        with _listener() as listener:
            silent = replace(board, port=listener.getsockname()[1])
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.3 s"):
                connect(silent, deadline_s=0.3)
            assert time.monotonic() - began < 2

    @pytest.mark.parametrize("after_bytes", [1, 30, 1000])
    def test_a_host_that_falls_silent_while_we_connect(
        self, board: Device, after_bytes: int
    ) -> None:
        with FaultProxy(board.host, board.port, stall_after_bytes=after_bytes) as proxy:
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                connect(_through(proxy, board), deadline_s=0.5)
            assert time.monotonic() - began < 3

    def test_a_host_that_falls_silent_before_the_login(
        self, board: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with FaultProxy(board.host, board.port) as proxy:
            monkeypatch.setattr(ssh, "require_same_key", lambda *_: proxy.freeze())
            with pytest.raises(DeadlineExceeded, match="logging in on edge@127"):
                connect(_through(proxy, board), deadline_s=0.5)

    def test_something_else_on_the_port(self, board: Device) -> None:
        with _listener() as listener:
            mail = replace(board, port=listener.getsockname()[1])
            answer = threading.Thread(target=_say, args=(listener, b"220 mail.example ESMTP\r\n"))
            answer.start()
            with pytest.raises(TransportError, match="does not speak SSH; it says b'220 mail"):
                connect(mail)
            answer.join()

    def test_no_algorithm_in_common(self, sshd_device_with: Callable[[str], Device]) -> None:
        old = sshd_device_with("Ciphers aes256-cbc")
        with pytest.raises(TransportError, match="no algorithm in common"):
            connect(old)


class TestOverload:
    def test_two_resets_then_success(self, board: Device) -> None:
        with (
            FaultProxy(board.host, board.port, cut_after_bytes=0, faulty_connections=2) as proxy,
            connect(_through(proxy, board)) as transport,
        ):
            assert transport.run(["true"], deadline_s=10).returncode == 0
            assert proxy.accepted == 3

    def test_resets_for_ever_are_reported(
        self, board: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ssh_negotiation, "_FIRST_PAUSE_S", 0.001)
        with FaultProxy(board.host, board.port, cut_after_bytes=0) as proxy:
            with pytest.raises(TransportError, match="closed the connection before saying"):
                connect(_through(proxy, board))
            assert 2 < proxy.accepted < 10

    def test_retries_stay_within_the_deadline(self, board: Device) -> None:
        with FaultProxy(board.host, board.port, cut_after_bytes=0) as proxy:
            began = time.monotonic()
            with pytest.raises(TransportError):
                connect(_through(proxy, board), deadline_s=0.5)
            assert time.monotonic() - began < 1

    def test_a_crowded_sshd_lets_us_in_later(
        self, sshd_device_with: Callable[[str], Device]
    ) -> None:
        crowded = sshd_device_with("MaxStartups 2:100:2")
        others = [_occupy(crowded), _occupy(crowded)]
        leaving = threading.Timer(0.4, _close, others)
        leaving.start()
        with connect(crowded) as transport:
            assert transport.run(["true"], deadline_s=10).returncode == 0
        leaving.join()


class TestHostKey:
    def test_another_key_stops_before_the_login(self, virtual_device: VirtualDevice) -> None:
        true_key = virtual_device.host_key
        device = virtual_device.as_device("board", "raspberry-pi-5")
        with pytest.raises(HostKeyMismatch) as caught:
            connect(replace(device, host_key=OTHER_KEY))
        assert host_key_fingerprint(OTHER_KEY) in str(caught.value)
        assert host_key_fingerprint(true_key) in str(caught.value)
        assert list(virtual_device.home.iterdir()) == []
        assert virtual_device.logins == 0

    def test_a_key_of_another_type_is_another_key(self, board: Device) -> None:
        rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQ=="
        with pytest.raises(HostKeyMismatch, match="enrolled: ssh-rsa"):
            connect(replace(board, host_key=rsa))


class TestLogin:
    def test_a_wrong_user(self, board: Device) -> None:
        with pytest.raises(AuthenticationFailed, match="does not let user 'root' in") as caught:
            connect(replace(board, user="root"))
        assert f"ssh-copy-id -p {board.port} root@127.0.0.1" in caught.value.hint

    def test_a_key_it_does_not_know(self, board: Device, tmp_path: Path) -> None:
        fingerprint = _make_key(tmp_path / "stranger")
        with pytest.raises(AuthenticationFailed) as caught:
            connect(replace(board, identity_file=str(tmp_path / "stranger")))
        assert fingerprint in str(caught.value)
        _assert_no_secret(caught.value, tmp_path / "stranger")

    def test_no_key_at_all(self, board: Device) -> None:
        with pytest.raises(AuthenticationFailed, match="there is none to try"):
            connect(replace(board, identity_file=None))

    def test_an_identity_file_that_is_not_there(self, board: Device) -> None:
        with pytest.raises(AuthenticationFailed, match="is not there: /nowhere/key"):
            connect(replace(board, identity_file="/nowhere/key"))

    def test_an_identity_file_that_is_no_key(self, board: Device, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("certainly not")
        with pytest.raises(AuthenticationFailed, match="not a private key that can be used"):
            connect(replace(board, identity_file=str(tmp_path / "key")))

    def test_a_locked_identity_file(self, board: Device, tmp_path: Path) -> None:
        _make_key(tmp_path / "locked", passphrase="hunter2")
        with pytest.raises(AuthenticationFailed, match=r"locked by a passphrase.*ssh-add"):
            connect(replace(board, identity_file=str(tmp_path / "locked")))

    def test_a_default_identity_is_used(self, board: Device, own_home: Path) -> None:
        assert board.identity_file is not None
        _make_key(own_home / ".ssh" / "id_ecdsa")
        shutil.copy(board.identity_file, own_home / ".ssh" / "id_ed25519")
        connect(replace(board, identity_file=None)).close()

    def test_the_agent_is_used(self, board: Device, agent: Callable[[str], None]) -> None:
        assert board.identity_file is not None
        agent(board.identity_file)
        connect(replace(board, identity_file=None)).close()

    def test_a_locked_identity_file_is_unlocked_by_the_agent(
        self, board: Device, tmp_path: Path, agent: Callable[[str], None]
    ) -> None:
        assert board.identity_file is not None
        agent(board.identity_file)
        locked = tmp_path / "locked"
        shutil.copy(board.identity_file, locked)
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-P", "", "-N", "hunter2", "-f", locked], check=True
        )
        connect(replace(board, identity_file=str(locked))).close()

    def test_too_many_keys(
        self,
        sshd_device_with: Callable[[str], Device],
        tmp_path: Path,
        agent: Callable[[str], None],
    ) -> None:
        device = sshd_device_with("MaxAuthTries 2")
        for number in range(4):
            _make_key(tmp_path / f"key-{number}")
            agent(str(tmp_path / f"key-{number}"))
        with pytest.raises(AuthenticationFailed, match="then it hung up"):
            connect(replace(device, identity_file=None))


class TestLine:
    def test_a_cut_while_writing(self, board: Device) -> None:
        with (
            FaultProxy(board.host, board.port, cut_after_bytes=300_000) as proxy,
            connect(_through(proxy, board)) as transport,
        ):
            process = transport.start(["sh", "-c", "cat >/dev/null"])
            with pytest.raises(TransportError, match=r"the connection to .* was lost"):
                process.write(bytes(8 * MIB), 10)
                process.read_some(1, 10)
            process.close()

    def test_a_cut_while_reading(self, virtual_device: VirtualDevice) -> None:
        with connect(virtual_device.as_device("board", "raspberry-pi-5")) as transport:
            process = transport.start(["cat"])
            process.write(b"abc\n", 10)
            assert process.read_line(10, 10) == b"abc"
            virtual_device.stop()
            with pytest.raises(TransportError, match="was lost"):
                process.read_line(10, 10)
            with pytest.raises(TransportError, match="was lost"):
                process.wait(10)
            process.close()

    def test_starting_on_a_lost_connection(self, virtual_device: VirtualDevice) -> None:
        with connect(virtual_device.as_device("board", "raspberry-pi-5")) as transport:
            virtual_device.stop()
            with pytest.raises(TransportError, match="was lost"):
                transport.run(["true"], deadline_s=10)

    def test_a_stall_while_writing(self, board: Device) -> None:
        with (
            FaultProxy(board.host, board.port, stall_after_bytes=300_000) as proxy,
            connect(_through(proxy, board)) as transport,
        ):
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                transport.run(["cat"], stdin=bytes(16 * MIB), deadline_s=0.5)
            assert time.monotonic() - began < 3

    def test_a_line_that_takes_nothing_ends_even_where_paramiko_would_wait(
        self, board: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ssh_negotiation, "_STALL_S", 0.5)
        with FaultProxy(board.host, board.port) as proxy:
            with connect(_through(proxy, board)) as transport:
                processes = [transport.start(["sleep", "6"]) for _ in range(6)]
                proxy.freeze()
                began = time.monotonic()
                for process in processes:
                    with pytest.raises(TransportError):
                        process.write(bytes(16 * MIB), 1)
                for process in processes:
                    process.close()
            assert time.monotonic() - began < 15

    def test_silence_when_a_command_is_started(
        self, board: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ssh, "START_DEADLINE_S", 0.3)
        with (
            FaultProxy(board.host, board.port) as proxy,
            connect(_through(proxy, board)) as transport,
        ):
            proxy.freeze()
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded, match="starting 'true' on edge@127"):
                transport.start(["true"])
            assert time.monotonic() - began < 2

    def test_more_commands_than_the_server_allows(
        self, sshd_device_with: Callable[[str], Device]
    ) -> None:
        with connect(sshd_device_with("MaxSessions 1")) as transport:
            first = transport.start(["cat"])
            with pytest.raises(TransportError, match="refuses to start another command"):
                transport.start(["cat"])
            first.close()

    def test_keys_are_renewed_in_the_middle_of_traffic(
        self, sshd_device_with: Callable[[str], Device]
    ) -> None:
        payload = os.urandom(MIB) * 10
        with connect(sshd_device_with("RekeyLimit 1M")) as transport:
            assert transport.run(["cat"], stdin=payload, deadline_s=60).stdout == payload


class TestInterruption:
    def test_it_cuts_what_is_waited_for(self, board: Device) -> None:
        interruption = Interruption()
        with interruption.reached_by(), connect(board) as transport:
            interruption.come()
            with pytest.raises(TransportError, match="lost"):
                transport.run(["true"], deadline_s=10)

    def test_a_connection_that_was_closed_is_cut_no_more(
        self, board: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        interruption, cut = Interruption(), []
        monkeypatch.setattr(ssh, "hang_up", cut.append)
        with interruption.reached_by():
            connect(board).close()
        interruption.come()
        assert cut == []

    def test_one_that_comes_before_the_login_leaves_no_connection(
        self, board: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        interruption, sessions = Interruption(), []

        def negotiated(*given: Any) -> Any:
            sessions.append(ssh_negotiation.negotiate(*given))
            interruption.come()
            return sessions[0]

        monkeypatch.setattr(ssh, "negotiate", negotiated)
        with interruption.reached_by(), pytest.raises(Signalled):
            connect(board)
        assert not sessions[0].is_alive()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A running ssh-agent, and how to add a key to it."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("ssh-agent is not installed")
    where = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", where], stdout=subprocess.DEVNULL) as process:
        while not where.exists():
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(where))
        yield _add_to_agent
        process.terminate()


def _add_to_agent(key: str) -> None:
    subprocess.run(["ssh-add", "-q", key], check=True)


def _close(first: socket.socket, second: socket.socket) -> None:
    first.close()
    second.close()


def _say(listener: socket.socket, text: bytes) -> None:
    connection, _ = listener.accept()
    with connection, contextlib.suppress(ConnectionResetError):
        connection.sendall(text)
        connection.recv(1)


def _occupy(device: Device) -> socket.socket:
    """A connection that never logs in; tried until one of the few places is free."""
    while True:
        connection = socket.create_connection((device.host, device.port))
        if connection.recv(4) == b"SSH-":
            return connection
        connection.close()
        time.sleep(0.01)


def _make_key(path: Path, passphrase: str = "") -> str:
    """A new key at `path`, and its fingerprint."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f", path], check=True
    )
    return host_key_fingerprint(path.with_name(path.name + ".pub").read_text().strip())


def _assert_no_secret(error: BaseException, key: Path) -> None:
    body = key.read_text().splitlines()[1:-1]
    assert not any(line in str(error) for line in body)
