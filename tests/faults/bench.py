"""A device under test, the workstation in front of it, and what must hold whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from device_agent.package_messages import Committed, Inventory
from edgesdk import api
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Device
from edgesdk.errors import AgentError, DeviceError, EdgeSDKError, ExitCode
from edgesdk.flows.session import agent_on
from edgesdk.progress import Silent
from edgesdk.testing.fault_proxy import FaultProxy
from edgesdk.values.package import Package
from tests.agent_processes import agent_processes
from tests.cli import DIGITS, Cli
from tests.faults.interpreter import Interpreter, Order
from tests.faults.releases import NAME

DEVICE = "bench"
SOON_S = 20.0

E = TypeVar("E", bound=EdgeSDKError)


class Bench:
    """A device whose interpreter obeys a test, enrolled on a workstation of its own.

    Args:
        device: how to reach it.
        home: of its user, as seen from here.
        interpreter: its Python.
        cli: the workstation's command line, whose home is also that of the API.
    """

    def __init__(self, device: Device, home: Path, interpreter: Interpreter, cli: Cli) -> None:
        self.device = dataclasses.replace(device, name=DEVICE, python=str(interpreter.path))
        self.home = home
        self.store = home / ".edgesdk"
        self.interpreter = interpreter
        self.cli = cli
        self._usual = self._outside()
        cli.enrol(self.device)

    def has(self, seed: Path) -> None:
        """Let the device be one that was pushed to before: a copy of its store."""
        shutil.rmtree(self.store, ignore_errors=True)  # A mounted disk is only emptied.
        shutil.copytree(seed, self.store, symlinks=True, dirs_exist_ok=True)

    # ---- what the workstation does -------------------------------------------------------------

    def push(self, package: Package, **permissions: object) -> Committed:
        """As `edgesdk push`."""
        return api.push(package.path, DEVICE, permissions=api.Permissions(**permissions))

    def refuses(self, package: Package, **permissions: object) -> AgentError:
        """The agent's error for a push that must fail."""
        return self.fails(lambda: self.push(package, **permissions), AgentError)

    def fails(self, action: Callable[[], object], kind: type[E]) -> E:
        """The typed error of what must fail, which makes the command's exit code no success."""
        try:
            action()
        except kind as error:
            assert error.exit_code != ExitCode.PASSED
            assert getattr(error, "code", "") != "internal", error
            return error
        raise AssertionError(f"expected {kind.__name__}, and it succeeded")

    def installed(self) -> Inventory:
        """As `edgesdk device installed`."""
        return api.list_installed(DEVICE)

    @contextlib.contextmanager
    def session(self) -> Iterator[AgentSession]:
        """A conversation with the agent, to say what the workstation would not say."""
        with agent_on(self.device) as agent:
            yield agent

    def send(self, agent: AgentSession, package: Package) -> object:
        """Offer and install a file as it is, unread; the agent's answer."""
        offered = agent.offer(package)
        return agent.install(package, offered, Silent())

    @contextlib.contextmanager
    def through(self, proxy: FaultProxy) -> Iterator[FaultProxy]:
        """While it is open, the device is reached through the proxy."""
        with proxy:
            self.cli.enrol(dataclasses.replace(self.device, port=proxy.port))
            try:
                yield proxy
            finally:
                self.cli.enrol(self.device)

    # ---- what the device does ------------------------------------------------------------------

    def order(self, action: str, call: str, path: str = "", **more: object) -> None:
        """Let the device misbehave once; see `Order`."""
        self.interpreter.order(Order(action, call, path, **more))  # type: ignore[arg-type]

    def struck(self) -> bool:
        """Whether what was ordered has happened."""
        return bool(self.interpreter.done())

    def processes(self) -> dict[int, str]:
        """The agent's processes on the device, with their roles."""
        return agent_processes(self.store)

    def await_silence(self) -> None:
        """Wait until no process of the agent is left."""
        until(lambda: not self.processes(), f"the agent's end; left: {self.processes()}")

    # ---- what must hold ------------------------------------------------------------------------

    def runs(self) -> str:
        """Version of the package that an application finds and runs, by the one stable path."""
        import onnxruntime

        from device_agent.documents import parse_manifest

        folder = (self.store / "models" / NAME).resolve(strict=True)
        manifest = parse_manifest((folder / "manifest.json").read_bytes())
        assert folder.name == manifest.package_id
        model = manifest.file("model")
        assert model is not None
        session = onnxruntime.InferenceSession(folder / model.path)
        with np.load(DIGITS / "digits.npz") as digits:
            images, labels = digits["test/image"][:50], digits["test/label"][:50]
        outputs = [session.run(None, {"image": image[None]})[0].argmax() for image in images]
        assert np.mean(np.array(outputs) == labels) > 0.9
        return manifest.version

    def is_as_before(self, version: str) -> None:
        """The old version runs, nothing is on trial, nothing was written outside of the store."""
        self.await_silence()
        assert self.runs() == version
        with self.session() as agent:
            found = agent.inventory().packages
            assert len(os.listdir(self.store / "sessions")) == 1, "dead sessions are left"
        assert [each.version for each in found if each.state == "current"] == [version]
        assert not [each for each in found if each.state == "trial"]
        assert self.runs() == version
        assert self._outside() == self._usual

    def takes(self, package: Package, **permissions: object) -> None:
        """A retry succeeds, and leaves nothing but the packages in use."""
        self.push(package, **permissions)
        self.await_silence()
        assert self.runs() == package.manifest.version
        for name in ("sessions", "incoming"):
            assert os.listdir(self.store / name) == []
        assert self._outside() == self._usual

    def _outside(self) -> frozenset[str]:
        return frozenset(name for name in os.listdir(self.home) if name != ".edgesdk")


def until(condition: Callable[[], bool], what: str, longest_s: float = SOON_S) -> None:
    """Wait for it.

    Raises:
        AssertionError: it does not come.
    """
    deadline = time.monotonic() + longest_s
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)


def lost(action: Callable[[], object]) -> DeviceError:
    """The error of what fails because the device, or the way to it, is gone."""
    try:
        action()
    except DeviceError as error:
        assert error.exit_code == ExitCode.DEVICE
        return error
    raise AssertionError("expected a lost connection, and it succeeded")
