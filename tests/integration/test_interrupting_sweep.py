"""Ctrl-C in the middle of a sweep: its processes, its devices and its table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesdk.devices.virtual import VirtualDevice
from tests.agent_processes import agent_processes
from tests.cli import CALIBRATION, DIGITS, Cli, this_machine
from tests.process_trees import await_gone, descendants

AT_ONCE_S = 6.0
"""On a machine that is busy with other tests; alone, it is a second."""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def sweep(virtual_device: VirtualDevice, cli: Cli) -> Iterator[subprocess.Popen[str]]:
    """Two cells, of which the first measures on the device and the other waits for its turn."""
    cli.enrol(virtual_device.as_device("board", this_machine()))
    with subprocess.Popen(
        cli.argv(
            *("sweep", DIGITS / "digits.onnx", "--target", this_machine()),
            *("--target", "raspberry-pi-5", "--calibration", CALIBRATION, "-o", "out"),
            *("--device", "board", "--seconds", "120", "--json"),
        ),
        cwd=cli.folder,
        env=cli.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # A job of its own, as a shell makes one.
    ) as process:
        deadline = time.monotonic() + 120
        while "worker" not in agent_processes(virtual_device.home).values():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        yield process
        process.kill()


@pytest.mark.parametrize("whom", ["the process", "all, as a terminal does"])
def test_cells_at_work_end_and_leave_nothing(
    sweep: subprocess.Popen[str], virtual_device: VirtualDevice, whom: str
) -> None:
    children = descendants(sweep.pid)
    began_s = time.monotonic()
    (os.kill if whom == "the process" else os.killpg)(sweep.pid, signal.SIGINT)
    out, err = sweep.communicate(timeout=60)
    assert time.monotonic() - began_s < AT_ONCE_S
    assert sweep.returncode == 130
    told = [each["problem"]["message"] for each in json.loads(out)]
    assert told == ["interrupted at work", "interrupted before its turn came"]
    assert "Traceback" not in err
    await_gone(children)
    await_gone(list(agent_processes(virtual_device.home)))
    assert not list(virtual_device.home.glob(".edgesdk/sessions/*/lease"))
    state = json.loads((virtual_device.home / ".edgesdk/state.json").read_bytes())
    assert not state["trial"]


def test_its_processes_do_not_outlive_it(
    sweep: subprocess.Popen[str], virtual_device: VirtualDevice
) -> None:
    children = descendants(sweep.pid)
    sweep.kill()
    await_gone(children)
    await_gone(list(agent_processes(virtual_device.home)))
