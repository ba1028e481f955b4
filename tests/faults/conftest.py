"""Devices for the fault matrix, and the record of its outcome.

    python -m pytest tests/faults tests/slow -m "not network" --write-reliability

writes docs/reliability.md.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice
from tests.cli import Cli, this_machine
from tests.faults import recording
from tests.faults.bench import Bench
from tests.faults.interpreter import Interpreter
from tests.faults.releases import Releases


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-reliability", action="store_true", help="write docs/reliability.md")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(row, title, expect): a row of the fault matrix")
    config.addinivalue_line("markers", "slow: takes minutes; asked for with -m slow")
    wanted = config.getoption("write_reliability", False)
    config.pluginmanager.register(recording.Recorder(wanted), "fault-matrix")


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """Packages of the example network."""
    return Releases(tmp_path_factory.mktemp("releases"))


@pytest.fixture
def cli(tmp_path: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A workstation with the maker's key, for commands and for the API alike."""
    cli = Cli(tmp_path)
    shutil.copytree(releases.home, cli.home)
    monkeypatch.setenv("EDGESDK_HOME", str(cli.home))
    return cli


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    """The device's Python."""
    return Interpreter(tmp_path / "python")


@pytest.fixture
def virtual_bench(
    virtual_device: VirtualDevice, cli: Cli, interpreter: Interpreter
) -> Iterator[Bench]:
    """A virtual device: an SSH server in this process."""
    device = dataclasses.replace(virtual_device.as_device("bench", this_machine()), lab=False)
    yield Bench(device, virtual_device.home, interpreter, cli)


@pytest.fixture
def openssh_bench(
    tmp_path: Path,
    sshd_device_with: Callable[[str], Device],
    cli: Cli,
    interpreter: Interpreter,
) -> Iterator[Bench]:
    """OpenSSH's server."""
    device = dataclasses.replace(sshd_device_with(""), target=this_machine())
    yield Bench(device, tmp_path / "sshd-home", interpreter, cli)


@pytest.fixture(params=["virtual", "openssh"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """A device of either kind."""
    found: Bench = request.getfixturevalue(f"{request.param}_bench")
    return found


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory, releases: Releases) -> Iterator[Path]:
    """The store of a device that version 1.0 was pushed to."""
    folder = tmp_path_factory.mktemp("seed")
    cli = Cli(folder)
    shutil.copytree(releases.home, cli.home)
    with VirtualDevice(folder / "virtual") as device, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGESDK_HOME", str(cli.home))
        kind = dataclasses.replace(device.as_device("bench", this_machine()), lab=False)
        bench = Bench(kind, device.home, Interpreter(folder / "python"), cli)
        bench.push(releases(1))
        bench.await_silence()
        yield bench.store


@pytest.fixture
def old(bench: Bench, seed: Path) -> Bench:
    """A device of either kind that runs version 1.0."""
    bench.has(seed)
    return bench


@pytest.fixture
def old_virtual(virtual_bench: Bench, seed: Path) -> Bench:
    """A virtual device that runs version 1.0."""
    virtual_bench.has(seed)
    return virtual_bench


@pytest.fixture
def old_openssh(openssh_bench: Bench, seed: Path) -> Bench:
    """OpenSSH's server on a device that runs version 1.0."""
    openssh_bench.has(seed)
    return openssh_bench


@pytest.fixture
def mount() -> Iterator[Callable[..., Path]]:
    """Mounts a small disk over a folder, which is made; for root only."""
    mounted: list[Path] = []

    def mount(place: Path, *options: str) -> Path:
        place.mkdir(mode=0o700, exist_ok=True)
        argv = ["mount", "-t", "tmpfs", "-o", ",".join(["mode=700", *options]), "tmpfs", place]
        if os.geteuid() != 0 or subprocess.run(argv, capture_output=True).returncode != 0:
            pytest.skip("only root can mount a disk of its own")
        mounted.append(place)
        return place

    yield mount
    for place in reversed(mounted):
        subprocess.run(["umount", "-l", place], check=True)
