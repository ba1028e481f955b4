"""Fixtures: a virtual device, and OpenSSH's own server where it is installed."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Tests import onnxruntime themselves, too; its telemetry must be off before that.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from edgesdk.devices.emulation.sshd import SshdDevice
from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import ToolchainMissing

# A busy machine is no failure: examples are not timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest.register_assert_rewrite("edgesdk.testing.transport_conformance")


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept between runs is kept for these tests only, and so is what they measure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("EDGESDK_HOME", str(tmp_path_factory.mktemp("edgesdk-home")))
        yield


@pytest.fixture(autouse=True)
def nobody_is_left_silent() -> Iterator[None]:
    """Toolkits whose talk is kept back give our own warnings back."""
    yield
    ours = logging.getLogger("edgesdk.tests")
    assert ours.isEnabledFor(logging.WARNING)
    assert not logging.getLogger("edgesdk.devices.last_seen").disabled


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
    """As a board would have it: one that takes signed packages only."""
    server = SshdDevice(directory, settings=settings)
    try:
        server.start()
    except ToolchainMissing as error:
        pytest.skip(str(error))
    try:
        device = server.as_device("openssh", "raspberry-pi-5")
        yield dataclasses.replace(device, kind="board", python="python3", lab=False)
    finally:
        server.stop()
