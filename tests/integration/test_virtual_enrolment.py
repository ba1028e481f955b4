"""`device add`: what is stored is a device that edgesdk can work with."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from edgesdk.devices.virtual import VirtualDevice
from tests.cli import Cli, Done, this_machine

OTHER = "raspberry-pi-5" if this_machine() == "generic-x86-64" else "generic-x86-64"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def add(cli: Cli, device: VirtualDevice, *more: str, target: str = this_machine()) -> Done:
    return cli(
        *("device", "add", "bench", "--address", str(device.address), "--target", target),
        *("--identity", device.identity_file, "--yes", *more),
    )


def stored(cli: Cli) -> list[object]:
    rows = cli("device", "ls", "--json").json
    return [{key: row[key] for key in row if key != "last_seen"} for row in rows]


def test_people_see_what_was_found(cli: Cli, virtual_device: VirtualDevice) -> None:
    done = add(cli, virtual_device)
    assert done.code == 0, done.err
    for word in (platform.machine(), platform.python_version(), "runtimes", "onnxruntime"):
        assert word in done.out
    assert "warning" not in done.err
    assert virtual_device.logins == 1


def test_a_device_without_python_is_not_stored(
    cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    empty = tmp_path_factory.mktemp("empty")
    with VirtualDevice(tmp_path_factory.mktemp("bare"), path=str(empty)) as bare:
        done, address = add(cli, bare), bare.address
    assert done.code == 4
    assert "the device has no python3" in done.err
    assert f"edgesdk device add bench --address {address} --target" in done.err
    assert "--replace --python PATH" in done.err
    assert stored(cli) == []


def test_an_agent_that_does_not_start_is_not_stored(
    cli: Cli, virtual_device: VirtualDevice
) -> None:
    done = add(cli, virtual_device, "--python", "false")
    assert done.code == 4
    assert "false on the device did not start the agent" in done.err
    assert stored(cli) == []


def test_another_architecture_is_not_stored(cli: Cli, virtual_device: VirtualDevice) -> None:
    done = add(cli, virtual_device, target=OTHER)
    assert done.code == 4
    wrong = {"x86_64": "aarch64", "aarch64": "x86_64"}[platform.machine()]
    assert f"found {platform.machine()} on bench, the target {OTHER} is {wrong}" in done.err
    assert f"{this_machine()} fits it" in done.err
    assert stored(cli) == []


def test_a_device_without_a_runtime_is_stored_with_a_warning(
    cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plain = tmp_path_factory.mktemp("plain")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", plain], check=True)
    with VirtualDevice(tmp_path_factory.mktemp("bare"), path=str(plain / "bin")) as bare:
        done = add(cli, bare, "--json")
    assert done.code == 0, done.err
    (warning,) = (line for line in done.err.splitlines() if line.startswith("warning: "))
    for words in ("pip install 'onnxruntime>=", "pip install 'ai-edge-litert>=", "--python PATH"):
        assert words in warning
    assert stored(cli) == [done.json]


def test_a_name_is_not_taken_over_unasked(cli: Cli, virtual_device: VirtualDevice) -> None:
    first = add(cli, virtual_device, "--json")
    assert add(cli, virtual_device).code == 0, "the same device again"
    refused = add(cli, virtual_device, "--python", sys.executable)
    assert refused.code == 2
    assert f"python: enrolled python3, given {sys.executable}" in refused.err
    assert stored(cli) == [first.json]
    replaced = add(cli, virtual_device, "--python", sys.executable, "--replace", "--json")
    assert replaced.code == 0, replaced.err
    assert stored(cli) == [replaced.json]
