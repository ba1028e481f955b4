"""What a push says when the device does not answer as usual."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from device_agent import sshsig
from device_agent.codec import canonical
from device_agent.package_messages import Installed, Offered
from device_agent.trust import OVERRIDE_NAMESPACE
from device_agent.trust_messages import ChangeTrust, Override, TrustState
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Device
from edgesdk.errors import AgentError
from edgesdk.flows.installing import Permissions, install
from edgesdk.flows.keys import list_keys, new_key, trust_documents
from edgesdk.progress import Silent
from edgesdk.values.package import Package
from tests.sealed import seal, seal_delta
from tests.signers import BELIEVES_OWNER
from tests.unit.report.example import example_environment

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
DEVICE = Device("board", "127.0.0.1", 22, "me", "raspberry-pi-5", KEY)


class Agent:
    """An agent that takes everything, and judges the expiry as it is told to.

    Args:
        refuses: what offers are refused with, one after the other, before one is taken.
    """

    def __init__(self, expiry: str = "none", *refuses: str) -> None:
        self._expiry = expiry
        self._refuses = list(refuses)
        self.environment = example_environment()
        self.state = TrustState("", False)
        self.given: list[int] = []
        self.offers: list[tuple[Path, bool, str]] = []
        self.installed: list[Path] = []

    def trust(self) -> TrustState:
        return self.state

    def change_trust(self, versions: Any, *, lab: bool) -> TrustState:
        self.given.append(len(versions))
        self.state = TrustState(ChangeTrust(tuple(versions), lab).versions[-1].document, lab)
        return self.state

    def challenge(self) -> str:
        return "ab" * 16

    def offer(self, package: Any, *, allow_unsigned: bool, override: str) -> Offered:
        self.offers.append((package.path, allow_unsigned, override))
        if self._refuses:
            raise AgentError("the device cannot use it", code=self._refuses.pop(0))
        return Offered(package.manifest.package_id, False, 0, "default", self._expiry)

    def install(self, package: Any, offered: Offered, _: Any) -> Installed:
        self.installed.append(package.path)
        return Installed(offered.package_id, "digits", "1", "x", "onnxruntime", "", 1, False)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(
    agent: Agent,
    package: Package,
    permissions: Permissions | None = None,
    device: Device = DEVICE,
) -> list[str]:
    """Install it; what was said meanwhile."""
    said: list[str] = []
    install(
        *(cast(AgentSession, agent), device, package, Silent()),
        permissions=permissions or Permissions(),
        say=said.append,
    )
    return said


# ---- trust ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lab", [False, True])
def test_a_new_device_is_told_whom_to_believe_and_what_it_is(tmp_path: Path, lab: bool) -> None:
    new_key("anna")
    agent = Agent()
    assert put(agent, seal(tmp_path / "a.edgepkg"), device=replace(DEVICE, lab=lab)) == []
    assert agent.state == TrustState(trust_documents()[-1].text.decode(), lab)


def test_without_any_key_one_is_made_first(tmp_path: Path) -> None:
    agent = Agent()
    (said,) = put(agent, seal(tmp_path / "a.edgepkg"))
    assert "you had no key to sign with: made default" in said
    assert agent.given == [1]


def test_a_device_that_knows_all_is_told_nothing(tmp_path: Path) -> None:
    new_key("anna")
    agent = Agent()
    put(agent, seal(tmp_path / "a.edgepkg"))
    put(agent, seal(tmp_path / "a.edgepkg"))
    assert agent.given == [1]


def test_a_device_is_told_only_what_is_new_since(tmp_path: Path) -> None:
    new_key("anna")
    agent = Agent()
    put(agent, seal(tmp_path / "a.edgepkg"))
    new_key("ben")
    new_key("clara")
    assert put(agent, seal(tmp_path / "a.edgepkg")) == []
    assert agent.given == [1, 2]
    assert agent.state.document == trust_documents()[-1].text.decode()


def test_a_device_that_is_ahead_or_elsewhere_is_left_alone_and_told_of(tmp_path: Path) -> None:
    new_key("anna")
    agent = Agent()
    agent.state = TrustState(canonical(BELIEVES_OWNER).decode(), False)
    (said,) = put(agent, seal(tmp_path / "a.edgepkg"))
    assert said.startswith("board was enrolled elsewhere and believes other keys: owner; let one")
    assert "edgesdk key trust" in said
    assert agent.given == []


def test_nonsense_for_a_trust_is_said(tmp_path: Path) -> None:
    agent = Agent()
    agent.state = TrustState("{}", False)
    with pytest.raises(AgentError, match="on the device, the trust does not hold"):
        put(agent, seal(tmp_path / "a.edgepkg"))
    assert agent.offers == []


# ---- permissions ---------------------------------------------------------------------------------


def test_nothing_is_permitted_unless_the_user_says_so(tmp_path: Path) -> None:
    agent = Agent()
    put(agent, seal(tmp_path / "a.edgepkg"))
    assert agent.offers == [(tmp_path / "a.edgepkg", False, "")]


def test_an_unsigned_package_is_permitted(tmp_path: Path) -> None:
    agent = Agent()
    put(agent, seal(tmp_path / "a.edgepkg"), Permissions(unsigned=True))
    assert agent.offers == [(tmp_path / "a.edgepkg", True, "")]


def test_a_downgrade_is_signed_for_this_package_and_this_challenge(tmp_path: Path) -> None:
    new_key("anna")
    agent, package = Agent(), seal(tmp_path / "a.edgepkg")
    put(agent, package, Permissions(downgrade=True, key="anna"))
    ((_, _, override),) = agent.offers
    wanted = canonical(Override(package.manifest.package_id, "ab" * 16))
    signer = sshsig.verify(override.encode(), wanted, OVERRIDE_NAMESPACE)
    assert sshsig.key_text(signer) == list_keys().keys[0].public_key


# ---- deltas --------------------------------------------------------------------------------------


def delta(folder: Path) -> Package:
    base = seal(folder / "old.edgepkg")
    return seal_delta(folder / "new.edgepkg", base, version="2")


@pytest.mark.parametrize("code", ["base_missing", "delta_failed"])
def test_a_device_that_cannot_use_a_delta_gets_the_full_package(tmp_path: Path, code: str) -> None:
    package = delta(tmp_path)
    full = seal(tmp_path / "new.full.edgepkg", version="2")
    agent = Agent("none", code)
    *_, said = put(agent, package)
    assert said == "the device cannot use it; sending the full package instead"
    assert agent.installed == [full.path]


@pytest.mark.parametrize("code", ["untrusted", "downgrade", "disk_full", "busy", "corrupt_package"])
def test_any_other_refusal_of_a_delta_is_one(tmp_path: Path, code: str) -> None:
    seal(tmp_path / "new.full.edgepkg", version="2")
    agent = Agent("none", code)
    with pytest.raises(AgentError):
        put(agent, delta(tmp_path))
    assert agent.installed == []


def test_a_full_package_has_nothing_to_fall_back_to(tmp_path: Path) -> None:
    agent = Agent("none", "base_missing")
    with pytest.raises(AgentError):
        put(agent, seal(tmp_path / "a.edgepkg"))


def test_each_try_is_a_challenge_of_its_own(tmp_path: Path) -> None:
    package = delta(tmp_path)
    seal(tmp_path / "new.full.edgepkg", version="2")
    agent = Agent("none", "base_missing")
    put(agent, package, Permissions(downgrade=True))
    assert [bool(override) for _, _, override in agent.offers] == [True, True]


# ---- what had come earlier -----------------------------------------------------------------------


def test_what_had_come_and_was_damaged_since_is_sent_again_in_the_same_push(
    tmp_path: Path,
) -> None:
    agent = Agent("none", "resume_failed")
    package = seal(tmp_path / "a.edgepkg")
    *_, said = put(agent, package)
    assert said == "the device cannot use it; sending it again"
    assert agent.installed == [package.path]
    assert len(agent.offers) == 2


def test_it_is_sent_again_once(tmp_path: Path) -> None:
    agent = Agent("none", "resume_failed", "resume_failed")
    with pytest.raises(AgentError):
        put(agent, seal(tmp_path / "a.edgepkg"))
    assert len(agent.offers) == 2


# ---- expiry --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expiry", "told"), [("none", False), ("valid", False), ("unknown", True)])
def test_an_expiry_that_the_device_cannot_judge_is_told(
    tmp_path: Path, expiry: str, told: bool
) -> None:
    package = seal(tmp_path / "a.edgepkg", expires="2099-01-01T00:00:00Z")
    said = put(Agent(expiry), package)
    assert any("2099-01-01T00:00:00Z" in words and "unknown" in words for words in said) == told
