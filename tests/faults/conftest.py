"""Devices for the fault matrix, and the record of its outcome.

    python -m pytest tests/faults tests/slow -m "not aarch64" --write-reliability
    python -m pytest tests/faults -m aarch64 --write-reliability

write docs/reliability.md; the second adds what an emulated processor takes most of an hour for.
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
from tests.faults.aarch64 import emulated
from tests.faults.bench import Bench
from tests.faults.interpreter import Interpreter
from tests.faults.releases import Releases


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-reliability", action="store_true", help="write docs/reliability.md")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "aarch64: on an emulated processor; slow")
    wanted = config.getoption("write_reliability", False)
    config.pluginmanager.register(recording.Recorder(wanted), "fault-matrix")


# ---- packages and workstations -----------------------------------------------------------------


@pytest.fixture(scope="session")
def native_releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """Packages of the example network for this machine."""
    return Releases(tmp_path_factory.mktemp("releases"), this_machine())


@pytest.fixture(scope="session")
def aarch64_releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """Packages of the example network for aarch64."""
    return Releases(tmp_path_factory.mktemp("releases-aarch64"), "generic-arm64")


@pytest.fixture
def releases(request: pytest.FixtureRequest) -> Releases:
    """Packages of the example network for the device of the test."""
    kind = "aarch64" if is_emulated(request) else "native"
    found: Releases = request.getfixturevalue(f"{kind}_releases")
    return found


def is_emulated(request: pytest.FixtureRequest) -> bool:
    """Whether the test's device has another processor."""
    parameters = getattr(request.node, "callspec", None)
    return parameters is not None and "aarch64" in parameters.params.values()


@pytest.fixture
def cli(tmp_path: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A workstation with the maker's key, for commands and for the API alike."""
    cli = workstation(tmp_path, releases)
    monkeypatch.setenv("EDGESDK_HOME", str(cli.home))
    return cli


def workstation(folder: Path, releases: Releases) -> Cli:
    cli = Cli(folder)
    shutil.copytree(releases.home, cli.home)
    return cli


# ---- devices -----------------------------------------------------------------------------------


@pytest.fixture
def interpreter(request: pytest.FixtureRequest, tmp_path: Path) -> Interpreter:
    """The device's Python."""
    needed = emulated() if is_emulated(request) else None
    return Interpreter(tmp_path / "python", emulated=needed)


@pytest.fixture
def native_bench(virtual_device: VirtualDevice, cli: Cli, interpreter: Interpreter) -> Bench:
    """An SSH server in this process."""
    return on_virtual(virtual_device, cli, interpreter, this_machine())


@pytest.fixture
def aarch64_bench(virtual_device: VirtualDevice, cli: Cli, interpreter: Interpreter) -> Bench:
    """The same, whose agent and runtime run on an emulated processor."""
    return on_virtual(virtual_device, cli, interpreter, "generic-arm64")


def on_virtual(device: VirtualDevice, cli: Cli, interpreter: Interpreter, target: str) -> Bench:
    enrolled = dataclasses.replace(device.as_device("bench", target), lab=False)
    return Bench(enrolled, device.home, interpreter, cli)


@pytest.fixture
def openssh_bench(
    tmp_path: Path,
    sshd_device_with: Callable[[str], Device],
    cli: Cli,
    interpreter: Interpreter,
) -> Bench:
    """OpenSSH's server."""
    device = dataclasses.replace(sshd_device_with(""), target=this_machine())
    return Bench(device, tmp_path / "home", interpreter, cli)


EMULATED = pytest.param("aarch64", marks=[pytest.mark.slow, pytest.mark.aarch64])


@pytest.fixture(params=["native", "openssh", EMULATED])
def bench(request: pytest.FixtureRequest) -> Bench:
    """A device of each kind."""
    found: Bench = request.getfixturevalue(f"{request.param}_bench")
    return found


@pytest.fixture(params=["native", EMULATED])
def virtual_bench(request: pytest.FixtureRequest) -> Bench:
    """A virtual device, for what has nothing to do with who serves SSH."""
    found: Bench = request.getfixturevalue(f"{request.param}_bench")
    return found


@pytest.fixture(scope="session")
def native_seed(tmp_path_factory: pytest.TempPathFactory, native_releases: Releases) -> Path:
    """The store of a device that version 1.0 was pushed to."""
    folder = tmp_path_factory.mktemp("seed")
    return pushed_once(folder, native_releases, Interpreter(folder / "python"))


@pytest.fixture(scope="session")
def aarch64_seed(tmp_path_factory: pytest.TempPathFactory, aarch64_releases: Releases) -> Path:
    """The same, emulated."""
    folder = tmp_path_factory.mktemp("seed-aarch64")
    python = Interpreter(folder / "python", emulated=emulated())
    return pushed_once(folder, aarch64_releases, python)


def pushed_once(folder: Path, releases: Releases, python: Interpreter) -> Path:
    cli = workstation(folder, releases)
    with VirtualDevice(folder / "virtual") as device, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGESDK_HOME", str(cli.home))
        bench = on_virtual(device, cli, python, releases.target)
        bench.push(releases(1))
        bench.await_silence()
        return bench.store


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> Path:
    """The store of a device of the test's kind that version 1.0 was pushed to."""
    kind = "aarch64" if is_emulated(request) else "native"
    found: Path = request.getfixturevalue(f"{kind}_seed")
    return found


@pytest.fixture
def old(bench: Bench, seed: Path) -> Bench:
    """A device of each kind that runs version 1.0."""
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
