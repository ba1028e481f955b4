"""A device's store in this process, and a package put through its whole way onto it."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_packages import head_of_package

from device_agent import installing, runtimes
from device_agent.archive import head_bytes
from device_agent.codec import canonical
from device_agent.environment_messages import RuntimeVersion
from device_agent.failures import AgentFailure
from device_agent.installing import Installer
from device_agent.package_messages import Committed, Installed, Offer, Offered
from device_agent.protocol import Progress
from device_agent.store import KeptTrust, Store
from device_agent.trust import Trust
from device_agent.trust_messages import SignedTrust
from tests.signers import BELIEVES_OWNER as TRUST

PROGRAM = "no program"
ANY_RUNTIME = RuntimeVersion("onnxruntime", "onnxruntime", "1.20")
SILENT = lambda _: None  # noqa: E731


class Device:
    """One session with the store under a root.

    Args:
        trust: whom it believes; None leaves it as it is, or without trust.

    Attributes:
        told: the progress that offers told of.
    """

    def __init__(self, root: Path, trust: Trust | None = TRUST, lab: bool = False) -> None:
        self.root = root
        self.store = Store(str(root))
        self.installer = Installer(self.store, PROGRAM)
        self.told: list[Progress] = []
        if trust is not None and self.store.trust() is None:
            version = SignedTrust(canonical(trust).decode(), "")
            self.store.change_trust(lambda _: KeptTrust(version, lab))

    def offer(self, package: bytes, **options: object) -> Offered:
        """Offer it by its head alone."""
        head = head_bytes(head_of_package(package))
        offer = Offer(len(head), **options)  # type: ignore[arg-type]
        return self.installer.offer(offer, io.BytesIO(head).read, self.told.append)

    def receive(self, package: bytes, offered: Offered, until: int | None = None) -> Installed:
        """Send what is wanted of a package, or of its first `until` bytes."""
        rest = io.BytesIO(b"" if offered.already else package[offered.resume_at : until])
        return self.installer.install(offered.package_id, rest.read)

    def try_out(self, package: bytes, **options: object) -> Installed:
        """As far as its trial."""
        return self.receive(package, self.offer(package, **options))

    def install(self, package: bytes, **options: object) -> Committed:
        """Into use."""
        installed = self.try_out(package, **options)
        return self.installer.commit(installed.package_id, SILENT)

    @property
    def version(self) -> str:
        """Of the current package."""
        return self.installer.current("").version

    def close(self) -> None:
        """End the session."""
        self.store.close()

    def files(self) -> dict[str, bytes]:
        """Every file but locks, links and what the session itself writes."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and path.suffix != ".lock" and path.name != "lock"
            if not any(part.is_symlink() for part in (path, *path.parents))
        }

    def links(self) -> dict[str, str]:
        """What applications find."""
        return {path.name: os.readlink(path) for path in (self.root / "models").iterdir()}


def fails(code: str, call: Callable[[], object]) -> AgentFailure:
    """The failure, whose code is checked."""
    with pytest.raises(AgentFailure) as caught:
        call()
    assert caught.value.code == code
    return caught.value


def pretend_runtimes(patch: pytest.MonkeyPatch, *found: RuntimeVersion) -> None:
    """Let the device have these runtimes and no others."""
    assert installing.runtimes is runtimes
    patch.setattr(runtimes, "discover", lambda *_: found or (ANY_RUNTIME,))


def with_lab(trust: KeptTrust) -> KeptTrust:
    """The same device as one of a lab."""
    return dataclasses.replace(trust, lab=True)
