"""What a push says when the device does not answer as usual."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from device_agent.protocol import ChangeTrust, Installed, Offered, TrustState
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Device
from edgesdk.flows.installing import Permissions, install
from edgesdk.progress import Silent
from tests.sealed import seal

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
DEVICE = Device("board", "127.0.0.1", 22, "me", "raspberry-pi-5", KEY)


class Agent:
    """An agent that takes everything, and judges the expiry as it is told to."""

    def __init__(self, expiry: str) -> None:
        self._expiry = expiry

    def trust(self) -> TrustState:
        return TrustState("", False)

    def change_trust(self, versions: Any, *, lab: bool) -> TrustState:
        return TrustState(ChangeTrust(tuple(versions), lab).versions[-1].document, lab)

    def offer(self, package: Any, **_: Any) -> Offered:
        return Offered(package.manifest.package_id, False, 0, "default", self._expiry)

    def install(self, package: Any, offered: Offered, _: Any) -> Installed:
        return Installed(offered.package_id, "digits", "1", "x", "onnxruntime", "", 1, False)


@pytest.mark.parametrize(("expiry", "told"), [("none", False), ("valid", False), ("unknown", True)])
def test_an_expiry_that_the_device_cannot_judge_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expiry: str, told: bool
) -> None:
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "home"))
    package = seal(tmp_path / "a.edgepkg", expires="2099-01-01T00:00:00Z")
    said: list[str] = []
    install(
        cast(AgentSession, Agent(expiry)),
        DEVICE,
        package,
        Silent(),
        permissions=Permissions(),
        say=said.append,
    )
    assert any("2099-01-01T00:00:00Z" in words and "unknown" in words for words in said) == told
