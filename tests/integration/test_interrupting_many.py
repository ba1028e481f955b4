"""Ctrl-C while devices are at work: a real process, a real signal, and the devices afterwards."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.flows.session import agent_on
from tests.agent_processes import agent_processes
from tests.cli import CALIBRATION, DIGITS, Cli, this_machine

AT_ONCE_S = 4.0
"""On a machine that is busy with other tests; alone, it is 0.4 s."""


class Lab:
    """A workstation and two virtual devices that have a package."""

    def __init__(self, folder: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cli = Cli(folder)
        monkeypatch.setenv("EDGESDK_HOME", str(self.cli.home))
        self.homes, self.devices = [], []
        for index in (1, 2):
            virtual = stack.enter_context(VirtualDevice(folder / f"device-{index}"))
            self.homes.append(virtual.home)
            self.devices.append(virtual.as_device(f"board-{index}", this_machine()))
            self.cli.enrol(self.devices[-1])

    def install(self) -> None:
        """Bring a package that can be measured to both."""
        done = self.cli(
            *("deploy", DIGITS / "digits.onnx", "--device", "all", "--calibration", CALIBRATION),
            *("-o", "first", "--seconds", "0.1"),
        )
        assert done.code == 0, done.err

    def add(self, name: str, port: int) -> None:
        """Enrol what does not answer."""
        first = self.devices[0]
        self.cli.enrol(Device(name, first.host, port, first.user, first.target, first.host_key))

    def leases(self) -> list[str]:
        """What the devices are leased for."""
        files = [path for home in self.homes for path in home.glob(".edgesdk/sessions/*/lease")]
        return [json.loads(path.read_bytes())["purpose"] for path in files]

    def are_measuring(self) -> bool:
        """Whether a model is loaded on each."""
        return all("worker" in agent_processes(home).values() for home in self.homes)

    def is_quiet(self) -> bool:
        """Whether no agent runs on any device."""
        return not any(agent_processes(home) for home in self.homes)

    def trials(self) -> list[Any]:
        """What is on trial on each."""
        states = [json.loads((home / ".edgesdk/state.json").read_bytes()) for home in self.homes]
        return [state["trial"] for state in states]


def is_dialling(port: int) -> bool:
    """Whether a connection of this machine to that port is being made."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows)


def until(holds: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.05)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(tmp_path, stack, monkeypatch)


def interrupted(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[str, str]:
    """What it said in all, once it has ended after the signal."""
    began_s = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began_s < AT_ONCE_S
    return out, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_measurements_end_and_leave_nothing_on_the_devices(
    lab: Lab, number: int, code: int
) -> None:
    lab.install()
    lab.add("board-3", 1)
    bench = lab.cli.start("bench", "--device", "all", "--seconds", "120", "--jobs", "2")
    until(lab.are_measuring)
    time.sleep(2)  # Well into it.
    assert lab.leases() == ["a measurement of latency"] * 2
    out, err = interrupted(bench, number)
    assert bench.returncode == code
    for name, how in (("board-1", "interrupted"), ("board-2", "interrupted"), ("board-3", "not b")):
        assert any(name in line and how in line for line in out.splitlines()), out
        assert f"{name} {how}" in err
    assert "0 of 3 devices: ok" in out
    assert "Traceback" not in err
    until(lab.is_quiet, within_s=10)
    assert lab.leases() == []


def test_the_list_for_programs_says_it_as_well(lab: Lab) -> None:
    lab.install()
    bench = lab.cli.start("bench", "--device", "all", "--seconds", "60", "--jobs", "1", "--json")
    until(lambda: len(lab.leases()) == 1)
    time.sleep(3)  # What would be wrong with measuring would have been told by now.
    out, _ = interrupted(bench)
    first, second = json.loads(out)
    assert [first["problem"]["type"], second["problem"]["type"]] == ["Interrupted"] * 2
    assert [first["attempts"], second["attempts"]] == [1, 0]
    assert (first["exit_code"], bench.returncode) == (130, 130)


def test_what_was_on_trial_is_on_trial_no_more(lab: Lab) -> None:
    deploy = lab.cli.start(
        *("deploy", DIGITS / "digits.onnx", "--device", "all", "--calibration", CALIBRATION),
        *("-o", "out", "--seconds", "120"),
    )
    until(lambda: all((home / ".edgesdk/state.json").exists() for home in lab.homes))
    until(lambda: all(lab.trials()))
    interrupted(deploy)
    assert deploy.returncode == 130
    until(lab.is_quiet, within_s=10)
    for device in lab.devices:
        with agent_on(device) as agent:
            assert [each.state for each in agent.inventory().packages] in ([], [""])
    assert not any(lab.trials())
    assert lab.leases() == []


def test_a_second_time_leaves_at_once(lab: Lab) -> None:
    """Also where nothing ends what is done: here, a connection that is never made."""
    with ExitStack() as held:
        silent = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        port = silent.getsockname()[1]
        for _ in range(2):  # Its queue is full then, and answers nobody else.
            held.enter_context(socket.create_connection(("127.0.0.1", port)))
        lab.add("board-1", port)
        rollback = lab.cli.start("rollback", "--device", "board-[1]")
        until(lambda: is_dialling(port))
        rollback.send_signal(signal.SIGINT)
        time.sleep(0.2)
        interrupted(rollback)
        # A shell says 130 of either: of the latter, where it was about to end by itself.
        assert rollback.returncode in (130, -signal.SIGINT)
