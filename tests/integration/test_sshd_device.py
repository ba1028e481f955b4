"""This machine's own OpenSSH as a device: `edgesdk device emulate --kind sshd`."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesdk.devices import inventory
from edgesdk.devices.emulation import sshd
from edgesdk.devices.emulation.sshd import SshdDevice
from edgesdk.devices.ssh import connect
from edgesdk.errors import DeviceError, ToolchainMissing
from tests.cli import CALIBRATION, DIGITS, Cli, this_machine
from tests.process_trees import await_gone, descendants

SHOW = (sys.executable, "-m", "edgesdk", "device", "show", "bench", "--json")
DAEMON = ["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo started"]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def device() -> Iterator[SshdDevice]:
    device = SshdDevice()
    try:
        device.start()
    except ToolchainMissing as error:
        pytest.skip(str(error))
    yield device
    device.stop()


def test_a_command_runs_while_it_is_up_and_enrolled(cli: Cli, device: SshdDevice) -> None:
    done = cli("device", "emulate", "--kind", "sshd", "--name", "bench", "--", *SHOW)
    assert done.code == 0, done.err
    assert '"kind": "sshd"' in done.out
    assert "virtual device, served by OpenSSH, bench" in done.err
    assert cli("device", "ls", "--json").json == []


def test_a_model_becomes_a_verdict_there(cli: Cli, device: SshdDevice) -> None:
    cli.enrol(device.as_device("bench", this_machine()))
    done = cli(
        *("deploy", DIGITS / "digits.tflite", "--device", "bench", "--calibration", CALIBRATION),
        *("-o", "out", "--seconds", "0.3", "--json"),
    )
    assert done.code == 0, done.err
    assert done.json["results"]["device"]["kind"] == "sshd"
    assert any("virtual" in caveat for caveat in done.json["caveats"])


def test_commands_see_a_home_of_the_device(device: SshdDevice) -> None:
    with connect(device.as_device("bench", this_machine())) as transport:
        done = transport.run(["sh", "-c", 'printf %s "$HOME"'], deadline_s=10)
    assert done.stdout.decode() == str(device.home)


def test_files_go_to_that_home_over_sftp(device: SshdDevice, tmp_path: Path) -> None:
    enrolled = device.as_device("bench", this_machine())
    (tmp_path / "file").write_text("content")
    (tmp_path / "batch").write_text(f"put {tmp_path / 'file'} sent\n")
    options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR"]
    subprocess.run(
        [
            *("sftp", "-q", "-b", tmp_path / "batch", "-P", str(enrolled.port)),
            *("-i", str(enrolled.identity_file), *(f"-o{option}" for option in options)),
            f"{enrolled.user}@{enrolled.host}",
        ],
        check=True,
        timeout=30,
    )
    assert (device.home / "sent").read_text() == "content"


def test_what_runs_there_ends_with_it_and_so_do_its_files(device: SshdDevice) -> None:
    with connect(device.as_device("bench", this_machine())) as transport:
        assert transport.run(DAEMON, deadline_s=10).stdout == b"started\n"
    keeper = device._started.server._process.pid
    running = descendants(keeper)
    assert any(b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in running)
    home = device.home
    device.stop()
    await_gone([keeper, *running])
    assert not home.parent.exists()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=lambda end: end.name)
def test_nothing_runs_on_however_it_ends(cli: Cli, device: SshdDevice, end: signal.Signals) -> None:
    process = cli.start("device", "emulate", "--kind", "sshd", "--name", "bench")
    assert process.stderr is not None
    assert any("Ctrl-C stops it" in line for line in iter(process.stderr.readline, ""))
    with connect(inventory.get(cli.home / "devices.json", "bench")) as transport:
        assert transport.run(DAEMON, deadline_s=10).stdout == b"started\n"
    running = descendants(process.pid)
    assert len(running) >= 3
    process.send_signal(end)
    process.communicate(timeout=30)
    await_gone(running)


def test_a_port_that_is_taken(device: SshdDevice) -> None:
    port = device.as_device("bench", this_machine()).port
    with pytest.raises(DeviceError, match=f"cannot listen on port {port}: Address already in use"):
        SshdDevice(port=port).start()


def test_settings_that_do_not_hold_are_told_in_its_own_words(device: SshdDevice) -> None:
    with pytest.raises(DeviceError, match="did not start") as raised:
        SshdDevice(settings="Nonsense yes").start()
    assert any("Nonsense" in line for line in raised.value.details)


def test_without_openssh_one_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sshd, "_PROGRAM", tmp_path / "sshd")
    with pytest.raises(ToolchainMissing, match="there is no") as raised:
        SshdDevice().start()
    assert "apt-get install openssh-server" in raised.value.hint


def test_a_disk_of_its_own_is_for_another_kind(cli: Cli) -> None:
    done = cli("device", "emulate", "--kind", "sshd", "--disk", "1 GiB")
    assert done.code == 2
    assert "--disk is for --kind arm64" in done.err
