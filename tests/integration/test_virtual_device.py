from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from edgesdk.devices.inventory import Device
from edgesdk.devices.ssh import connect
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import AuthenticationFailed, DeviceError

pytestmark = pytest.mark.usefixtures("no_thread_outlives_its_test")


def _device(virtual: VirtualDevice) -> Device:
    return virtual.as_device("board", "raspberry-pi-5")


def _output(virtual: VirtualDevice, *argv: str) -> str:
    with connect(_device(virtual)) as transport:
        return transport.run(argv, deadline_s=20).stdout.decode()


def test_commands_start_in_the_home(virtual_device: VirtualDevice) -> None:
    assert _output(virtual_device, "pwd").strip() == str(virtual_device.home.resolve())


def test_nothing_of_this_environment_leaks_in(
    virtual_device: VirtualDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESDK_CANARY", "1")
    names = {line.partition("=")[0] for line in _output(virtual_device, "env").splitlines()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {"HOME", "PATH", "USER", "LOGNAME", "SHELL"}


def test_python3_is_this_interpreter(virtual_device: VirtualDevice) -> None:
    prefix = _output(virtual_device, "python3", "-c", "import sys; print(sys.prefix)")
    assert prefix.strip() == sys.prefix


def test_a_board_without_python(tmp_path: Path) -> None:
    with VirtualDevice(path=str(tmp_path)) as bare, connect(_device(bare)) as transport:
        done = transport.run(["python3", "--version"], deadline_s=20)
        assert done.returncode == 127
        assert "python3" in done.stderr


def test_a_noisy_profile() -> None:
    with VirtualDevice(greeting=b"Welcome to the board!\n") as noisy:
        assert _output(noisy, "echo", "hi") == "Welcome to the board!\nhi\n"


def test_only_its_own_key_and_user_get_in(
    virtual_device: VirtualDevice, session_virtual_device: VirtualDevice
) -> None:
    device = _device(virtual_device)
    for other in (
        replace(device, user="root"),
        replace(device, identity_file=str(session_virtual_device.identity_file)),
    ):
        with pytest.raises(AuthenticationFailed):
            connect(other)
    assert virtual_device.logins == 0


def test_private_keys_are_private(virtual_device: VirtualDevice) -> None:
    assert stat.S_IMODE(virtual_device.identity_file.stat().st_mode) == 0o600


def test_a_directory_keeps_keys_and_files(tmp_path: Path) -> None:
    with VirtualDevice(tmp_path) as first:
        enrolled = _device(first)
        _output(first, "touch", "here")
    with VirtualDevice(tmp_path, port=enrolled.port) as again:
        assert _device(again) == enrolled
        assert _output(again, "ls") == "here\n"


def test_a_temporary_one_leaves_nothing() -> None:
    with VirtualDevice() as device:
        home = device.home
        assert home.is_dir()
    assert not home.parent.exists()


def test_a_port_that_is_taken(virtual_device: VirtualDevice) -> None:
    port = virtual_device.address.port
    with pytest.raises(DeviceError, match=f"cannot listen on port {port}"):
        VirtualDevice(port=port).start()


def test_sftp_is_relative_to_the_home(virtual_device: VirtualDevice) -> None:
    with paramiko.Transport((virtual_device.address.host, virtual_device.address.port)) as session:
        key = paramiko.PKey.from_path(virtual_device.identity_file)
        session.connect(username=virtual_device.user, pkey=key)
        sftp = paramiko.SFTPClient.from_transport(session)
        assert sftp is not None
        with sftp, sftp.open("hello", "wb") as stream:
            stream.write(b"over sftp")
        session.sock.close()
        session.join()
    assert (virtual_device.home / "hello").read_bytes() == b"over sftp"


def test_a_vanished_client_is_the_end_of_stdin(virtual_device: VirtualDevice) -> None:
    transport = connect(_device(virtual_device))
    process = transport.start(["sh", "-c", "echo up; cat; touch ended"])
    assert process.read_line(10, 20) == b"up"
    transport.close()
    _await(lambda: (virtual_device.home / "ended").exists())


def test_so_is_one_that_vanishes_while_its_command_starts(virtual_device: VirtualDevice) -> None:
    for number in range(10):
        transport = connect(_device(virtual_device))
        process = transport.start(["sh", "-c", f"echo up; cat; touch ended{number}"])
        if number % 2:
            process.close()
        transport.close()
    _await(lambda: len(list(virtual_device.home.glob("ended*"))) == 10)


def test_stopping_kills_what_runs(virtual_device: VirtualDevice) -> None:
    with connect(_device(virtual_device)) as transport:
        process = transport.start(["sh", "-c", "echo $$; sleep 60; true"])
        pid = int(process.read_line(20, 20))
        virtual_device.stop()
        _await(lambda: not _lives(pid))
        process.close()


def test_many_short_commands_lose_no_output(virtual_device: VirtualDevice) -> None:
    with connect(_device(virtual_device)) as transport:
        for number in range(50):
            done = transport.run(
                ["sh", "-c", f"head -c 70000 /dev/zero; echo {number} >&2"], deadline_s=20
            )
            assert (len(done.stdout), done.stderr) == (70000, f"{number}\n")


def test_serve_forever_lasts_until_the_device_stops(virtual_device: VirtualDevice) -> None:
    serving = threading.Thread(target=virtual_device.serve_forever)
    serving.start()
    time.sleep(0.05)
    assert serving.is_alive()
    virtual_device.stop()
    serving.join(5)
    assert not serving.is_alive()


def test_the_extra_is_named_when_missing() -> None:
    script = """
import sys
sys.modules["asyncssh"] = None
from edgesdk.errors import ToolchainMissing
import edgesdk.devices, edgesdk.devices.ssh, edgesdk.devices.enrol
try:
    import edgesdk.devices.virtual
except ToolchainMissing as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert 'pip install "edgesdk[virtual]"' in done.stdout, done.stderr


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _await(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 20
        time.sleep(0.01)
