"""Packages onto a device over real SSH: trust, trial, return, resuming, deltas."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.codec import canonical
from device_agent.manifest import CHUNK_BYTES, Compatibility, HealthCheck
from device_agent.receiving import Transfer
from device_agent.trust import OVERRIDE_NAMESPACE
from device_agent.trust_messages import Override
from edgesdk import api
from edgesdk.devices import inventory
from edgesdk.devices.conversation.connection import Connection
from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import AgentError, PackageError, SigningError, TransportError, Unhealthy
from edgesdk.flows.session import agent_on, find_device
from edgesdk.flows.signing import ensure_signer
from edgesdk.keys.signing import Signer
from edgesdk.package.building import full_path
from edgesdk.testing.fault_proxy import FaultProxy
from edgesdk.values.package import Package
from tests.cli import this_machine
from tests.sealed import seal, seal_delta

HERE = Compatibility("here", (), "onnxruntime", "1.14")
LARGE = {"model": np.random.default_rng(5).bytes(4 * 2**20), "golden": bytes(3000)}
LARGER = {"model": np.random.default_rng(5).bytes(9 * 2**20), "golden": bytes(3000)}
FAST = {"model": np.random.default_rng(6).bytes(70_000), "golden": bytes(3000)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This workstation's devices, keys and trust."""
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "workstation"))
    return tmp_path / "workstation"


def another_workstation(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    """The same devices, other keys."""
    devices = (tmp_path / "workstation" / "devices.json").read_bytes()
    patch.setenv("EDGESDK_HOME", str(tmp_path / "other workstation"))
    (tmp_path / "other workstation").mkdir()
    (tmp_path / "other workstation" / "devices.json").write_bytes(devices)


class Workbench:
    """A folder for packages, a device called "bench", and what was said."""

    def __init__(self, folder: Path, device: Device) -> None:
        self.folder = folder
        self.device = device
        self.said: list[str] = []
        self.enrol(device)

    def enrol(self, device: Device) -> None:
        inventory.add(inventory.default_path(), device, replace=True)

    def seal(
        self,
        sequence: int,
        contents: dict[str, bytes] = FAST,
        *,
        signer: Signer | str | None = "usual",
        **changes: Any,
    ) -> Package:
        if isinstance(signer, str):
            signer = ensure_signer(self.said.append, None if signer == "usual" else signer)
        fields = {"compatibility": HERE, "version": str(sequence), **changes}
        path = self.folder / f"{sequence}.edgepkg"
        return seal(path, contents, signer=signer, sequence=sequence, **fields)

    def push(self, package: Package, **permissions: Any) -> Any:
        return api.push(
            package.path,
            "bench",
            permissions=api.Permissions(**permissions),
            say=self.said.append,
        )

    def states(self) -> list[tuple[str, str]]:
        """Version and state of every package on the device."""
        return [(each.version, each.state) for each in api.list_installed("bench").packages]

    def refuses(self, code: str, package: Package, **permissions: Any) -> AgentError:
        with pytest.raises(AgentError) as caught:
            self.push(package, **permissions)
        assert (caught.value.code, caught.value.exit_code) == (code, 4)
        return caught.value


@pytest.fixture
def virtual_bench(tmp_path: Path, virtual_device: VirtualDevice) -> Workbench:
    return Workbench(tmp_path, virtual_device.as_device("bench", this_machine()))


@pytest.fixture(params=["virtual", "openssh"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workbench]:
    """A device that was never enrolled, over each kind of server."""
    if request.param == "virtual":
        yield request.getfixturevalue("virtual_bench")
    else:
        served: Callable[[str], Device] = request.getfixturevalue("sshd_device_with")
        device = replace(
            served(""), name="bench", target=this_machine(), python=sys.executable, lab=True
        )
        yield Workbench(tmp_path, device)


# ---- the way of a package ------------------------------------------------------------------------


def test_pushing_twice_and_going_back(bench: Workbench) -> None:
    first = bench.push(bench.seal(1))
    assert (first.already, first.installed.state, first.previous) == (False, "current", "")
    assert first.installed.signed_by == "default"
    assert bench.push(bench.seal(1)).already
    second = bench.push(bench.seal(2))
    assert second.previous == first.installed.package_id
    assert bench.states() == [("2", "current"), ("1", "previous")]
    assert api.rollback("bench").version == "1"
    assert bench.states() == [("1", "current"), ("2", "previous")]
    third = bench.push(bench.seal(3))
    assert third.previous == first.installed.package_id
    assert bench.states() == [("3", "current"), ("1", "previous")]


def test_for_many_devices_a_package_is_read_once(
    virtual_bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = virtual_bench.seal(1)
    onto = pickle.loads(pickle.dumps(api.pushing(package.path)))
    monkeypatch.delattr("edgesdk.flows.push.read_sealed")
    (ended,) = api.on_devices("all", onto)
    assert ended.value is not None and ended.value.installed.version == "1"
    (again,) = api.on_devices("all", onto)
    assert again.value is not None and again.value.already


def test_a_damaged_package_is_refused_before_any_device_is_asked(
    virtual_bench: Workbench, virtual_device: VirtualDevice
) -> None:
    path = virtual_bench.seal(1).path
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(PackageError):
        api.pushing(path)
    assert virtual_device.logins == 0


def test_a_first_push_makes_a_key_and_tells_the_device_whom_to_believe(
    virtual_bench: Workbench,
) -> None:
    package = virtual_bench.seal(1)
    assert any("you had no key to sign with" in line for line in virtual_bench.said)
    assert api.list_keys().version == 1
    virtual_bench.push(package)
    with agent_on(find_device("bench")) as agent:
        assert '"name":"default"' in agent.trust().document


def test_a_package_that_is_not_healthy_leaves_the_old_one_in_use(bench: Workbench) -> None:
    bench.push(bench.seal(1))
    worse = bench.seal(2, {"model": b"no model"}, health=HealthCheck())
    with pytest.raises(Unhealthy, match="its model does not run here") as caught:
        bench.push(worse)
    assert caught.value.exit_code == 1
    assert ("1", "current") in bench.states()
    assert all(state != "current" for version, state in bench.states() if version == "2")
    with agent_on(find_device("bench")) as agent:
        assert agent.current().version == "1"
    bench.push(bench.seal(3))


def test_there_may_be_nothing_to_go_back_to(virtual_bench: Workbench) -> None:
    with pytest.raises(AgentError, match="no package is installed"):
        api.rollback("bench")
    virtual_bench.push(virtual_bench.seal(1))
    with pytest.raises(AgentError, match="none before it to go back to"):
        api.rollback("bench")
    with pytest.raises(AgentError, match="no package 'faces'"):
        api.rollback("bench", package="faces")


def test_a_device_finds_the_package_through_one_path(
    virtual_bench: Workbench, virtual_device: VirtualDevice
) -> None:
    link = virtual_device.home / ".edgesdk" / "models" / "digits"
    virtual_bench.push(virtual_bench.seal(1))
    before = link.resolve()
    assert (link / "model.bin").read_bytes() == FAST["model"]
    virtual_bench.push(virtual_bench.seal(2))
    assert link.resolve() != before
    api.rollback("bench")
    assert link.resolve() == before


# ---- unsigned ------------------------------------------------------------------------------------


def test_an_unsigned_package_needs_the_user_s_word_and_a_lab_device(bench: Workbench) -> None:
    unsigned = bench.seal(1, signer=None)
    assert "--allow-unsigned" in bench.refuses("untrusted", unsigned).hint
    pushed = bench.push(unsigned, unsigned=True)
    assert pushed.installed.signed_by == ""
    (listed,) = api.list_installed("bench").packages
    assert listed.signed_by == ""


def test_the_same_package_signed_is_signed_on_the_device_too(virtual_bench: Workbench) -> None:
    virtual_bench.push(virtual_bench.seal(1, signer=None), unsigned=True)
    pushed = virtual_bench.push(virtual_bench.seal(1))
    assert (pushed.already, pushed.installed.signed_by) == (True, "default")
    (listed,) = api.list_installed("bench").packages
    assert listed.signed_by == "default"


def test_an_unsigned_package_does_not_get_onto_another_device(
    virtual_bench: Workbench,
) -> None:
    virtual_bench.enrol(replace(virtual_bench.device, lab=False))
    failure = virtual_bench.refuses("untrusted", virtual_bench.seal(1, signer=None), unsigned=True)
    assert "not enrolled as a lab device" in failure.message
    virtual_bench.enrol(virtual_bench.device)
    virtual_bench.refuses("untrusted", virtual_bench.seal(1, signer=None), unsigned=True)


def test_a_device_becomes_one_of_a_lab_by_signature_and_stops_being_one(bench: Workbench) -> None:
    bench.enrol(replace(bench.device, lab=False))
    bench.push(bench.seal(1))
    unsigned = bench.seal(2, signer=None)
    bench.refuses("untrusted", unsigned, unsigned=True)
    assert api.set_lab("bench", True, say=bench.said.append).lab
    assert find_device("bench").lab
    assert bench.push(unsigned, unsigned=True).installed.signed_by == ""
    assert not api.set_lab("bench", False).lab
    bench.refuses("untrusted", bench.seal(3, signer=None), unsigned=True)
    assert bench.said[1:] == []


def test_a_new_device_becomes_one_of_a_lab_by_signature_too(virtual_bench: Workbench) -> None:
    virtual_bench.enrol(replace(virtual_bench.device, lab=False))
    api.set_lab("bench", True, say=virtual_bench.said.append)
    assert any("you had no key to sign with" in line for line in virtual_bench.said)
    virtual_bench.push(virtual_bench.seal(1, signer=None), unsigned=True)


def test_who_has_too_few_of_its_keys_does_not_change_a_device(
    virtual_bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    virtual_bench.enrol(replace(virtual_bench.device, lab=False))
    virtual_bench.push(virtual_bench.seal(1))
    another_workstation(tmp_path, monkeypatch)
    api.new_key("default")
    with pytest.raises(SigningError, match=r"wants the signatures of 1 of its keys \(default\)"):
        api.set_lab("bench", True)
    assert not find_device("bench").lab
    virtual_bench.refuses("untrusted", virtual_bench.seal(2, signer=None), unsigned=True)


def test_as_many_keys_sign_as_a_change_of_the_trust_takes(virtual_bench: Workbench) -> None:
    virtual_bench.enrol(replace(virtual_bench.device, lab=False))
    virtual_bench.push(virtual_bench.seal(1))
    api.new_key("second")
    api.set_threshold(2)
    assert api.set_lab("bench", True).lab
    (virtual_bench.folder / "workstation" / "keys" / "second").unlink()
    (virtual_bench.folder / "workstation" / "keys" / "second.pub").unlink()
    with pytest.raises(SigningError, match=r"2 of its keys .* 1 can sign here"):
        api.set_lab("bench", False)


# ---- downgrades ----------------------------------------------------------------------------------


def test_a_downgrade_needs_a_trusted_key_s_word(bench: Workbench) -> None:
    bench.push(bench.seal(5))
    older = bench.seal(4)
    assert "--downgrade" in bench.refuses("downgrade", older).hint
    assert bench.states() == [("5", "current")]
    assert bench.push(older, downgrade=True).installed.version == "4"
    bench.refuses("downgrade", bench.seal(3))
    assert bench.push(bench.seal(5)).installed.version == "5"


def test_an_override_is_no_good_a_second_time(virtual_bench: Workbench) -> None:
    virtual_bench.push(virtual_bench.seal(5))
    older = virtual_bench.seal(4)
    with agent_on(find_device("bench")) as agent:
        wanted = canonical(Override(older.manifest.package_id, agent.challenge()))
        signed = ensure_signer(print).sign(wanted, OVERRIDE_NAMESPACE).decode()
        agent.offer(older, override=signed)
        with pytest.raises(AgentError, match="an override without a challenge"):
            agent.offer(older, override=signed)
    with agent_on(find_device("bench")) as agent:
        agent.challenge()
        with pytest.raises(AgentError) as caught:
            agent.offer(older, override=signed)
    assert caught.value.code == "untrusted"


# ---- trust ---------------------------------------------------------------------------------------


def test_a_device_learns_of_a_revoked_key_before_it_judges(virtual_bench: Workbench) -> None:
    old = virtual_bench.seal(1)
    virtual_bench.push(old)
    api.new_key("second")
    stolen = virtual_bench.seal(2, signer="default")
    api.revoke_key("default")
    failure = virtual_bench.refuses("untrusted", stolen)
    assert "default" in failure.message and "revoked" in failure.message
    pushed = virtual_bench.push(virtual_bench.seal(3, signer="second"))
    assert pushed.installed.signed_by == "second"


def test_a_device_that_missed_versions_gets_them_all(virtual_bench: Workbench) -> None:
    virtual_bench.push(virtual_bench.seal(1))
    for name in ("second", "third", "fourth"):
        api.new_key(name)
    api.revoke_key("default")
    pushed = virtual_bench.push(virtual_bench.seal(2, signer="fourth"))
    assert pushed.installed.signed_by == "fourth"


def test_another_workstation_with_other_keys_is_refused(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.push(bench.seal(1))
    another_workstation(tmp_path, monkeypatch)
    bench.said.clear()
    failure = bench.refuses("untrusted", bench.seal(2))
    assert "which is not trusted" in failure.message
    assert any("was enrolled elsewhere and believes other keys: default" in s for s in bench.said)
    assert bench.states() == [("1", "current")]


# ---- lines that break ----------------------------------------------------------------------------


def through(bench: Workbench, proxy: FaultProxy) -> None:
    bench.enrol(replace(bench.device, port=proxy.port))


def test_what_a_cut_left_is_continued(bench: Workbench) -> None:
    bench.push(bench.seal(1))  # So that neither agent nor trust need travel below.
    package = bench.seal(2, LARGER)
    # What is under way when the line is cut is lost: a window of SSH's (2 MiB) and pipes at most.
    with FaultProxy(bench.device.host, bench.device.port, cut_after_bytes=8 * 2**20) as proxy:
        through(bench, proxy)
        with pytest.raises(TransportError):
            bench.push(package)
    assert ("1", "current") in api_states(bench)
    with FaultProxy(bench.device.host, bench.device.port) as proxy:
        through(bench, proxy)
        assert bench.push(package).installed.version == "2"
        assert proxy.moved_bytes < 7 * 2**20, "the rest, and no more"
    bench.enrol(bench.device)
    assert bench.states() == [("2", "current"), ("1", "previous")]


def test_what_a_power_cut_damaged_of_it_is_sent_again_in_the_same_push(
    virtual_bench: Workbench, virtual_device: VirtualDevice
) -> None:
    package = virtual_bench.seal(1, {**LARGE, "model": b"weights" * 2**19})
    virtual_bench.push(virtual_bench.seal(0))
    incoming = virtual_device.home / ".edgesdk" / "incoming"
    partial = incoming / Transfer.key(package.head) / "files" / "model.bin"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(3 * CHUNK_BYTES))
    virtual_bench.said.clear()
    assert virtual_bench.push(package).installed.version == "1"
    (said,) = virtual_bench.said
    assert said.startswith("model.bin: its SHA-256 is not the manifest's; a part of it had come")
    assert said.endswith("; sending it again")


def test_the_agent_ends_with_what_it_was_asked_last(
    virtual_bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a slow line, its end is not asked for and waited for as well."""
    goodbye, codes = Connection.close, []

    def close(session: Connection) -> None:
        codes.append(session._process.wait(10))
        goodbye(session)

    monkeypatch.setattr(Connection, "close", close)
    virtual_bench.push(virtual_bench.seal(1))
    assert codes == [0]


def api_states(bench: Workbench) -> list[tuple[str, str]]:
    """The same past any proxy."""
    bench.enrol(bench.device)
    return bench.states()


def test_a_package_that_is_there_does_not_travel_again(virtual_bench: Workbench) -> None:
    package = virtual_bench.seal(1, LARGE)
    virtual_bench.push(package)
    with FaultProxy(virtual_bench.device.host, virtual_bench.device.port) as proxy:
        through(virtual_bench, proxy)
        assert virtual_bench.push(package).already
        assert proxy.moved_bytes < 2**18


# ---- deltas --------------------------------------------------------------------------------------

CHANGED = {**LARGE, "golden": bytes(range(256)) * 12}


def delta(
    bench: Workbench,
    base: Package,
    full: bool = True,
    patches: dict[str, bytes] | None = None,
) -> Package:
    """A delta against a package of `LARGE`, and the full package beside it."""
    fields: dict[str, Any] = {"sequence": 2, "version": "2", "compatibility": HERE}
    signer = ensure_signer(bench.said.append)
    path = bench.folder / "delta.edgepkg"
    if full:
        seal(full_path(path), CHANGED, signer=signer, **fields)
    return seal_delta(path, base, CHANGED, signer=signer, patches=patches, **fields)


def test_a_delta_carries_only_what_the_device_lacks(bench: Workbench) -> None:
    base = bench.seal(1, LARGE)
    bench.push(base)
    package = delta(bench, base, full=False)
    with FaultProxy(bench.device.host, bench.device.port) as proxy:
        through(bench, proxy)
        assert bench.push(package).installed.version == "2"
        assert proxy.moved_bytes < 2**18
    assert api_states(bench) == [("2", "current"), ("1", "previous")]
    assert bench.push(package).already


def test_without_the_base_the_full_package_is_sent_instead(bench: Workbench) -> None:
    base = bench.seal(1, LARGE)
    pushed = bench.push(delta(bench, base))
    assert pushed.installed.version == "2"
    assert any("sending the full package instead" in line for line in bench.said)


def test_a_patch_that_cannot_be_applied_is_replaced_by_the_full_package(
    virtual_bench: Workbench,
) -> None:
    base = virtual_bench.seal(1, LARGE)
    virtual_bench.push(base)
    broken = delta(virtual_bench, base, patches={"golden": b"no patch at all"})
    assert virtual_bench.push(broken).installed.version == "2"
    assert any("the delta could not be applied" in line for line in virtual_bench.said)


def test_without_the_full_package_the_refusal_says_what_to_do(virtual_bench: Workbench) -> None:
    base = virtual_bench.seal(1, LARGE)
    package = delta(virtual_bench, base, full=False)
    with pytest.raises(PackageError) as caught:
        virtual_bench.push(package)
    assert str(full_path(package.path)) in caught.value.message
    assert caught.value.hint == "push the full package"
    assert virtual_bench.states() == []


def test_the_full_package_of_another_delta_is_not_taken(virtual_bench: Workbench) -> None:
    base = virtual_bench.seal(1, LARGE)
    package = delta(virtual_bench, base)
    seal(full_path(package.path), LARGE, compatibility=HERE)
    with pytest.raises(PackageError, match="their ids differ"):
        virtual_bench.push(package)
    assert virtual_bench.states() == []
