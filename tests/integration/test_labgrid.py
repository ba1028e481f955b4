"""Places of a real labgrid coordinator, with a real exporter, on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from edgesdk import api
from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device
from edgesdk.devices.places import Place, acquired
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import DeviceError, ToolchainMissing, UnknownDevice
from tests.cli import Cli, this_machine

BIN = Path(sys.executable).parent
_RESOURCES = """\
lab:
  NetworkService:
    address: {host}
    port: {port}
    username: {user}
"""

pytestmark = pytest.mark.skipif(
    not (BIN / "labgrid-coordinator").exists(), reason="labgrid is not installed"
)


class Lab:
    """A coordinator, and one exporter whose NetworkService is a virtual device."""

    def __init__(self, folder: Path, stack: ExitStack, device: Device) -> None:
        self._folder = folder
        self._stack = stack
        self.coordinator = f"127.0.0.1:{_free_port()}"
        self._start("labgrid-coordinator", "--listen", self.coordinator)
        _until(lambda: self._client("places").returncode == 0)
        resources = folder / "resources.yaml"
        resources.write_text(
            _RESOURCES.format(host=device.host, port=device.port, user=device.user)
        )
        at = ("--coordinator", self.coordinator, "--name", "exporter", "--hostname", "127.0.0.1")
        self._start("labgrid-exporter", *at, str(resources))
        _until(lambda: "NetworkService" in self._client("resources").stdout)
        self.client("board-1", "create")
        self.client("board-1", "add-match", "exporter/lab/NetworkService")

    def client(self, place: str, *words: str, user: str = "anna") -> str:
        """Someone else's labgrid-client."""
        done = self._client("--place", place, *words, user=user)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def holder(self) -> str:
        """Who has the place, "" where nobody does."""
        told = self.client("board-1", "show")
        (line,) = [line for line in told.splitlines() if line.strip().startswith("acquired:")]
        return line.partition(":")[2].strip().replace("None", "")

    def _client(self, *words: str, user: str = "anna") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "labgrid-client", "--coordinator", self.coordinator, *words],
            env={**os.environ, "LG_USERNAME": user},
            capture_output=True,
            text=True,
        )

    def _start(self, program: str, *words: str) -> None:
        log = self._stack.enter_context((self._folder / f"{program}.log").open("wb"))
        process = subprocess.Popen(
            [BIN / program, *words], stdout=log, stderr=log, cwd=self._folder
        )  # The coordinator keeps its places where it is started.
        self._stack.callback(process.wait)
        self._stack.callback(process.send_signal, signal.SIGKILL)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    with VirtualDevice(tmp_path_factory.mktemp("board")) as virtual:
        yield virtual.as_device("pi-on-the-shelf", this_machine())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, board: Device) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(tmp_path_factory.mktemp("lab"), stack, board)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Device) -> Cli:
    cli = Cli(tmp_path)
    cli.enrol(board)
    monkeypatch.setenv("EDGESDK_HOME", str(cli.home))
    monkeypatch.setenv("LG_USERNAME", "bob")
    cli.environment["LG_USERNAME"] = "bob"
    return cli


def test_a_place_is_the_device_enrolled_at_its_address_and_ours_meanwhile(
    lab: Lab, cli: Cli
) -> None:
    with api.device_of_place("board-1", coordinator=lab.coordinator) as device:
        assert device == "pi-on-the-shelf"
        assert lab.holder().endswith("/bob")
    assert lab.holder() == ""


def test_a_command_takes_a_place_instead_of_a_device(lab: Lab, cli: Cli) -> None:
    done = cli("rollback", "--place", "board-1", "--coordinator", lab.coordinator)
    assert done.code == 4
    assert "edgesdk push" in done.err, "the device was reached: it has no package"
    assert lab.holder() == ""


def test_what_somebody_else_has_is_refused_in_one_sentence(lab: Lab, cli: Cli) -> None:
    lab.client("board-1", "acquire")
    done = cli("bench", "--place", "board-1", "--coordinator", lab.coordinator)
    assert done.code == 4
    assert "labgrid does not acquire place board-1" in done.err
    assert "already acquired by" in done.err and "/anna" in done.err
    assert lab.holder().endswith("/anna")
    lab.client("board-1", "release")


def test_and_may_be_waited_for(lab: Lab, cli: Cli) -> None:
    lab.client("board-1", "acquire")
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        lab.client("board-1", "release")

    with acquired(Place("board-1", lab.coordinator), wait_s=60, say=say):
        assert lab.holder().endswith("/bob")
    assert len(said) == 1 and "waiting for it" in said[0]


def test_what_we_have_already_stays_ours(lab: Lab, cli: Cli) -> None:
    lab.client("board-1", "acquire", user="bob")
    with acquired(Place("board-1", lab.coordinator)):
        pass
    assert lab.holder().endswith("/bob")
    lab.client("board-1", "release", user="bob")


def test_it_is_released_after_a_failure_and_after_an_interruption(lab: Lab, cli: Cli) -> None:
    with pytest.raises(KeyboardInterrupt), acquired(Place("board-1", lab.coordinator)):
        raise KeyboardInterrupt
    assert lab.holder() == ""


def test_a_place_where_nothing_is_enrolled_is_refused_and_the_remedy_named(
    lab: Lab, cli: Cli, board: Device
) -> None:
    inventory.save(inventory.default_path(), [replace(board, user="somebody")])
    with (
        pytest.raises(UnknownDevice, match="where no device is enrolled") as caught,
        api.device_of_place("board-1", coordinator=lab.coordinator),
    ):
        pass
    assert f"edgesdk device add board-1 --address {board.address}" in caught.value.hint
    assert lab.holder() == ""


def test_another_host_key_at_the_place_is_refused(
    lab: Lab, cli: Cli, board: Device, tmp_path: Path
) -> None:
    with VirtualDevice(tmp_path / "other") as other:
        cli.enrol(replace(board, host_key=other.host_key))
    done = cli("rollback", "--place", "board-1", "--coordinator", lab.coordinator)
    assert done.code == 4
    assert "another host key" in done.err


def test_a_place_without_a_network_service(lab: Lab, cli: Cli) -> None:
    lab.client("empty", "create")
    with (
        pytest.raises(DeviceError, match="no NetworkService") as caught,
        acquired(Place("empty", lab.coordinator)),
    ):
        pass
    assert "labgrid-exporter" in caught.value.hint
    lab.client("empty", "delete")


def test_a_place_that_is_not_there(lab: Lab, cli: Cli) -> None:
    with (
        pytest.raises(DeviceError, match="matches nothing"),
        acquired(Place("nowhere", lab.coordinator)),
    ):
        pass


def test_no_coordinator_is_one_sentence(cli: Cli) -> None:
    with (
        pytest.raises(DeviceError, match="Could not connect to coordinator"),
        acquired(Place("board-1", f"127.0.0.1:{_free_port()}")),
    ):
        pass


def test_a_device_and_a_place_are_one_too_many(cli: Cli) -> None:
    done = cli("rollback", "--place", "x", "--device", "pi-on-the-shelf")
    assert (done.code, "expected one of them" in done.err) == (2, True)


def test_without_labgrid_its_extra_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolchainMissing) as caught, acquired(Place("board-1")):
        pass
    assert caught.value.hint == 'pip install "edgesdk[labgrid]"'
