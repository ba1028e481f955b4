"""From offer to commit and back: whole or not at all, whatever dies in between."""

from __future__ import annotations

import dataclasses
import errno
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from agent_packages import head_of_package, id_of, noise, package_of
from device_store import Device, fails

from device_agent import installing
from device_agent.clock import Clock, format_utc
from device_agent.codec import canonical
from device_agent.documents import CorruptPackage
from device_agent.installing import Installer
from device_agent.manifest import Compatibility
from device_agent.state import EARLIEST_S
from device_agent.store import KeptTrust
from device_agent.trust import OVERRIDE_NAMESPACE, TRUST_NAMESPACE, Trust, TrustedKey
from device_agent.trust_messages import ChangeTrust, Override, SignedTrust, TrustState
from tests.signers import BELIEVES_OWNER as TRUST
from tests.signers import OWNER, STRANGER, key_called

pytestmark = pytest.mark.usefixtures("runtimes")

FIRST = package_of({"model": b"first" * 1000, "golden": b"vectors"}, OWNER, version="1", sequence=1)
SECOND = package_of({"model": noise(70_000), "golden": b""}, OWNER, version="2", sequence=2)
THIRD = package_of({"model": b"third" * 1000}, OWNER, version="3", sequence=3)


# ---- the way of a package ------------------------------------------------------------------------


def test_a_package_becomes_current_after_its_trial(device: Device) -> None:
    offered = device.offer(FIRST)
    assert (offered.package_id, offered.already) == (id_of(FIRST), False)
    assert (offered.signed_by, offered.expiry) == ("owner", "none")
    installed = device.receive(FIRST, offered)
    assert (installed.state, installed.already, installed.version) == ("trial", False, "1")
    assert (installed.sequence, installed.signed_by) == (1, "owner")
    fails("not_installed", lambda: device.installer.current(""))
    committed = device.installer.commit(installed.package_id, lambda _: None)
    assert committed.installed == dataclasses.replace(installed, state="current")
    assert (committed.already, committed.previous, committed.health) == (False, "", None)
    assert device.installer.current("") == dataclasses.replace(
        installed, state="current", already=True
    )


def test_the_one_before_it_becomes_the_previous_one(device: Device) -> None:
    device.install(FIRST)
    committed = device.install(SECOND)
    assert committed.previous == id_of(FIRST)
    inventory = device.installer.inventory()
    assert [(each.version, each.state) for each in inventory.packages] == [
        *(("2", "current"), ("1", "previous")),
    ]
    assert inventory.active == "digits"


def test_a_damaged_package_hides_no_other(root: Path, device: Device) -> None:
    device.install(FIRST)
    device.install(SECOND)
    (root / "store" / id_of(FIRST) / "manifest.json").write_bytes(b"?")
    inventory = device.installer.inventory()
    assert [each.version for each in inventory.packages] == ["2"]
    (lost,) = inventory.damaged
    assert (lost.package_id, lost.state) == (id_of(FIRST), "previous")
    assert "its manifest is not the one its id names" in lost.problem


def test_a_current_package_that_is_gone_is_told(root: Path, device: Device) -> None:
    device.install(FIRST)
    shutil.rmtree(root / "store" / id_of(FIRST))
    inventory = device.installer.inventory()
    assert inventory.packages == ()
    assert [(each.package_id, each.state) for each in inventory.damaged] == [
        (id_of(FIRST), "current")
    ]
    device.install(FIRST)
    assert device.installer.inventory().damaged == ()


@pytest.mark.parametrize("damage", ["gone", "a link", "cut short", "its manifest"])
def test_a_damaged_current_package_takes_the_place_of_no_sound_one(
    damage: str, root: Path, device: Device, tmp_path: Path
) -> None:
    """A rollback would refuse it, and the one it could have gone back to would be cleaned away."""
    device.install(FIRST)
    device.install(SECOND)
    folder = root / "store" / id_of(SECOND)
    if damage in ("gone", "a link"):
        folder.rename(tmp_path / "elsewhere")
    if damage == "a link":
        folder.symlink_to(tmp_path / "elsewhere")
    if damage == "cut short":
        os.truncate(folder / "model.bin", 100)
    if damage == "its manifest":
        (folder / "manifest.json").write_bytes(b"?")
    assert device.install(THIRD).previous == id_of(FIRST)
    assert not os.path.lexists(folder)
    assert device.installer.roll_back("").version == "1"


def test_what_is_current_already_needs_neither_trial_nor_check(root: Path, device: Device) -> None:
    device.install(FIRST)
    before = device.files()
    offered = device.offer(FIRST)
    assert offered.already
    installed = device.receive(FIRST, offered)
    assert (installed.already, installed.state) == (True, "current")
    assert device.store.state().trial is None
    committed = device.installer.commit(installed.package_id, lambda _: None)
    assert committed.already and committed.health is None
    assert device.files() == before
    Device(root).store.begin_installing()


def test_the_previous_package_may_be_pushed_again_and_the_two_change_places(
    device: Device,
) -> None:
    third = package_of({"model": b"third" * 1000}, OWNER, version="3", sequence=3)
    device.install(SECOND)
    device.install(third)
    device.installer.roll_back("")
    assert device.offer(third).already, "it is still there"
    committed = device.install(third)
    assert committed.previous == id_of(SECOND)


def test_of_two_packages_with_one_sequence_the_second_is_for_lab_devices(
    root: Path, tmp_path: Path
) -> None:
    """Otherwise either could be brought back in the place of the other."""
    same = package_of({"model": b"other" * 1000}, OWNER, version="1b", sequence=2)
    plain, lab = Device(root), Device(tmp_path / "lab", lab=True)
    for device in (plain, lab):
        device.install(SECOND)
    failure = fails("downgrade", lambda: plain.offer(same))
    assert "expected at least 3" in failure.message and "--sequence 3" in failure.hint
    lab.install(same)
    plain.close()
    lab.close()


def test_a_package_whose_key_was_revoked_does_not_come_back(root: Path) -> None:
    device = Device(root)
    device.install(FIRST)
    device.install(SECOND)
    revoked = dataclasses.replace(TRUST.keys[0], revoked=True)
    other = TrustedKey("other", STRANGER.public_key)
    trust = Trust(2, 1, (revoked, other))
    kept = KeptTrust(SignedTrust(canonical(trust).decode(), ""), False)
    device.store.change_trust(lambda _: kept)
    assert "revoked" in fails("untrusted", lambda: device.installer.roll_back("")).message
    assert device.installer.current("").package_id == id_of(SECOND)
    device.close()


def test_an_unsigned_package_comes_back_on_lab_devices_only(root: Path) -> None:
    device = Device(root, lab=True)
    device.install(UNSIGNED, allow_unsigned=True)
    device.install(package_of({"model": b"x"}, OWNER, sequence=10))
    device.installer.roll_back("")
    device.installer.roll_back("")
    device.store.change_trust(lambda kept: dataclasses.replace(kept, lab=False))
    message = fails("untrusted", lambda: device.installer.roll_back("")).message
    assert "is not signed, and this device is none of a lab" in message
    assert device.installer.current("").signed_by == "owner"
    device.close()


def test_a_commit_that_was_not_heard_may_be_asked_for_again(root: Path) -> None:
    device = Device(root)
    device.install(FIRST)
    device.close()
    again = Device(root)
    committed = again.installer.commit(id_of(FIRST), lambda _: None)
    assert committed.already and committed.installed.state == "current"
    again.close()


def test_several_names_live_side_by_side(device: Device) -> None:
    faces = package_of({"model": b"faces"}, OWNER, name="faces", sequence=7)
    device.install(FIRST)
    device.install(faces)
    assert device.installer.current("").name == "faces"
    assert device.installer.current("digits").version == "1"
    device.install(SECOND)
    assert [each.name for each in device.installer.inventory().packages] == [
        *("digits", "faces", "digits"),
    ]


# ---- what is not offered, not installed, not on trial --------------------------------------------


def test_only_what_was_offered_last_is_installed(device: Device) -> None:
    fails("bad_request", lambda: device.installer.install(id_of(FIRST), lambda _: b""))
    offered = device.offer(FIRST)
    device.offer(SECOND)
    fails("bad_request", lambda: device.receive(FIRST, offered))


def test_an_offer_that_was_refused_is_none(device: Device) -> None:
    offered = device.offer(FIRST)
    strange = package_of({"model": b"x"}, STRANGER)
    fails("untrusted", lambda: device.offer(strange))
    fails("bad_request", lambda: device.receive(FIRST, offered))
    fails("bad_request", lambda: device.installer.install(id_of(strange), lambda _: b""))


def test_an_offer_that_was_judged_by_another_trust_is_none(root: Path, device: Device) -> None:
    offered = device.offer(FIRST)
    assert len(os.listdir(root / "incoming")) == 1
    device.installer.change_trust(ChangeTrust((), False))
    fails("bad_request", lambda: device.receive(FIRST, offered))
    assert os.listdir(root / "incoming") == []


def test_what_came_before_is_kept_for_the_next_offer(root: Path, device: Device) -> None:
    offered = device.offer(SECOND)
    with pytest.raises(CorruptPackage):
        device.receive(SECOND, offered, until=offered.resume_at + 66_000)
    resumed = device.offer(SECOND).resume_at
    assert resumed > offered.resume_at
    device.installer.change_trust(ChangeTrust((), False))
    assert device.offer(SECOND).resume_at == resumed


def test_an_offer_ends_with_the_right_to_install(device: Device) -> None:
    """Else what is received later could meet another session's."""
    device.install(FIRST)
    device.install(SECOND)
    offered = device.offer(THIRD)
    device.installer.roll_back("")
    fails("bad_request", lambda: device.receive(THIRD, offered))


def test_only_what_is_on_trial_here_is_committed(root: Path, device: Device) -> None:
    device.install(FIRST)
    device.install(SECOND)
    fails("bad_request", lambda: device.installer.commit(id_of(FIRST), lambda _: None))
    fails("bad_request", lambda: device.installer.commit("0" * 64, lambda _: None))
    device.try_out(THIRD)
    other = Device(root)
    fails("bad_request", lambda: other.installer.commit(id_of(THIRD), lambda _: None))
    other.close()
    device.installer.commit(id_of(THIRD), lambda _: None)


def test_two_sessions_do_not_install_at_once(root: Path, device: Device) -> None:
    device.offer(FIRST)
    other = Device(root)
    fails("busy", lambda: other.offer(SECOND))
    fails("busy", lambda: other.installer.roll_back(""))
    device.install(FIRST)
    other.install(SECOND)
    assert device.version == "2"
    other.close()


def test_a_refused_package_changes_nothing(device: Device) -> None:
    device.install(FIRST)
    before, links = device.files(), device.links()
    other = "x86_64" if platform.machine() == "aarch64" else "aarch64"
    foreign = Compatibility("board", (other,), "onnxruntime", "")
    for code, package in (
        ("untrusted", package_of({"model": b"x"}, STRANGER)),
        ("untrusted", package_of({"model": b"x"})),
        ("downgrade", package_of({"model": b"x"}, OWNER, sequence=0)),
        ("expired", package_of({"model": b"x"}, OWNER, expires="2020-01-01T00:00:00Z")),
        ("incompatible", package_of({"model": b"x"}, OWNER, compatibility=foreign)),
    ):
        fails(code, partial(device.offer, package))
        assert (device.files(), device.links()) == (before, links)


def test_a_corrupt_package_changes_nothing_in_use(device: Device) -> None:
    device.install(FIRST)
    offered = device.offer(SECOND)
    with pytest.raises(CorruptPackage):
        device.receive(SECOND[:-1] + b"x", offered)
    assert device.version == "1"
    assert device.store.state().trial is None


# ---- the health check ----------------------------------------------------------------------------


def unhealthy(patch: pytest.MonkeyPatch) -> None:
    """Let no package pass."""

    def check(_: object) -> None:
        raise installing.AgentFailure("unhealthy", "too slow", "the device is as it was before")

    patch.setattr(installing.HealthChecker, "check", check)


def test_a_package_that_is_not_healthy_is_not_used(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.install(FIRST)
    before, links = device.store.state(), device.links()
    with monkeypatch.context() as patch:
        unhealthy(patch)
        device.try_out(SECOND)
        fails("unhealthy", lambda: device.installer.commit(id_of(SECOND), lambda _: None))
    after = device.store.state()
    assert (after.slots, after.active, after.trial) == (before.slots, before.active, None)
    assert device.links() == links
    assert not device.store.is_installing, "others may"
    fails("bad_request", lambda: device.installer.commit(id_of(SECOND), lambda _: None))
    device.install(SECOND)
    assert device.version == "2"


def test_the_first_package_of_a_device_may_be_unhealthy_too(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    unhealthy(monkeypatch)
    fails("unhealthy", lambda: device.install(FIRST))
    fails("not_installed", lambda: device.installer.current(""))
    assert device.links() == {}


# ---- going back ----------------------------------------------------------------------------------


def test_rolling_back_brings_the_previous_package_back(device: Device) -> None:
    device.install(FIRST)
    device.install(SECOND)
    back = device.installer.roll_back("")
    assert (back.version, back.state, back.already) == ("1", "current", True)
    assert device.links() == {"digits": f"../store/{id_of(FIRST)}"}
    assert device.installer.roll_back("digits").version == "2"


def test_a_damaged_previous_package_is_not_gone_back_to(device: Device) -> None:
    device.install(FIRST)
    device.install(SECOND)
    (device.root / "store" / id_of(FIRST) / "golden.bin").write_bytes(b"?")
    failure = fails("storage", lambda: device.installer.roll_back(""))
    assert "the previous package of digits is damaged on the device" in failure.message
    assert device.version == "2"


def test_there_may_be_nothing_to_go_back_to(root: Path, device: Device) -> None:
    fails("not_installed", lambda: device.installer.roll_back(""))
    device.install(FIRST)
    fails("no_previous", lambda: device.installer.roll_back(""))
    fails("not_installed", lambda: device.installer.roll_back("faces"))
    assert not device.store.is_installing


def test_rolling_back_ends_a_trial(device: Device) -> None:
    device.install(FIRST)
    device.install(SECOND)
    device.try_out(THIRD)
    device.installer.roll_back("")
    assert device.store.state().trial is None and device.version == "1"


def test_after_going_back_the_latest_may_be_pushed_again_but_none_before_it(
    device: Device,
) -> None:
    device.install(FIRST)
    device.install(THIRD)
    device.installer.roll_back("")
    fails("downgrade", lambda: device.offer(SECOND))
    device.install(THIRD)


# ---- overrides -----------------------------------------------------------------------------------


def override(package: bytes, nonce: str) -> str:
    signed = canonical(Override(id_of(package), nonce))
    return OWNER.sign(signed, OVERRIDE_NAMESPACE).decode()


def test_a_downgrade_with_the_owner_s_word(device: Device) -> None:
    device.install(THIRD)
    signed = override(FIRST, device.installer.challenge())
    device.install(FIRST, override=signed)
    assert device.version == "1"
    device.install(SECOND)


def test_an_override_holds_once(device: Device) -> None:
    device.install(THIRD)
    signed = override(FIRST, device.installer.challenge())
    device.offer(FIRST, override=signed)
    failure = fails("untrusted", lambda: device.offer(FIRST, override=signed))
    assert failure.message == "found an override without a challenge"
    device.installer.challenge()
    fails("untrusted", lambda: device.offer(FIRST, override=signed))


def test_an_override_holds_in_its_session_only(root: Path, device: Device) -> None:
    device.install(THIRD)
    signed = override(FIRST, device.installer.challenge())
    other = Device(root)
    fails("untrusted", lambda: other.offer(FIRST, override=signed))
    other.store.end_installing()
    other.installer.challenge()
    fails("untrusted", lambda: other.offer(FIRST, override=signed))
    other.close()


def test_challenges_are_never_the_same(device: Device) -> None:
    assert len({device.installer.challenge() for _ in range(50)}) == 50


# ---- unsigned ------------------------------------------------------------------------------------

UNSIGNED = package_of({"model": b"nobody's"}, version="u", sequence=9)


def test_an_unsigned_package_on_a_lab_device_says_so(root: Path) -> None:
    device = Device(root, lab=True)
    fails("untrusted", lambda: device.offer(UNSIGNED))
    device.install(UNSIGNED, allow_unsigned=True)
    assert device.installer.current("").signed_by == ""
    assert not (root / "store" / id_of(UNSIGNED) / "manifest.json.sig").exists()
    device.close()


def test_an_unsigned_package_does_not_get_onto_another_device(device: Device) -> None:
    fails("untrusted", lambda: device.install(UNSIGNED, allow_unsigned=True))


SIGNED_LATER = package_of({"model": b"nobody's"}, OWNER, version="u", sequence=9)


def test_an_unsigned_package_that_is_pushed_again_signed_is_signed_from_then_on(
    root: Path,
) -> None:
    device = Device(root, lab=True)
    device.install(UNSIGNED, allow_unsigned=True)
    offered = device.offer(SIGNED_LATER)
    assert (offered.already, offered.signed_by) == (True, "owner")
    installed = device.receive(SIGNED_LATER, offered)
    assert (installed.state, installed.signed_by) == ("current", "owner")
    device.close()
    after = Device(root)
    assert after.installer.current("").signed_by == "owner"
    kept = after.store.packages.signatures(id_of(UNSIGNED))
    assert kept == head_of_package(SIGNED_LATER).signatures
    after.close()


def test_so_is_one_that_is_not_current_any_more(root: Path) -> None:
    """With its signatures, it is known whose key must not have been revoked when it comes back."""
    device = Device(root, lab=True)
    device.install(UNSIGNED, allow_unsigned=True)
    device.install(package_of({"model": b"x"}, OWNER, sequence=10))
    device.installer.roll_back("")
    device.installer.roll_back("")
    signed = override(SIGNED_LATER, device.installer.challenge())
    device.install(SIGNED_LATER, override=signed)
    assert device.installer.current("").signed_by == "owner"
    kept = device.store.packages.signatures(id_of(UNSIGNED))
    assert kept == head_of_package(SIGNED_LATER).signatures
    device.close()


def test_it_does_not_become_signed_by_a_stranger(root: Path) -> None:
    device = Device(root, lab=True)
    device.install(UNSIGNED, allow_unsigned=True)
    before = device.files()
    strange = package_of({"model": b"nobody's"}, STRANGER, version="u", sequence=9)
    fails("untrusted", lambda: device.install(strange, allow_unsigned=True))
    assert device.files() == before
    assert device.installer.current("").signed_by == ""
    device.close()


def test_a_package_that_another_key_signs_again_is_signed_by_that_one(root: Path) -> None:
    """What a key signed that was revoked since comes back to life without travelling again."""
    trust = Trust(1, 1, (*TRUST.keys, TrustedKey("other", key_called("other").public_key)))
    device = Device(root, trust)
    device.install(FIRST)
    again = package_of(
        {"model": b"first" * 1000, "golden": b"vectors"},
        key_called("other"),
        version="1",
        sequence=1,
    )
    assert device.install(again).installed.signed_by == "other"
    kept = device.store.packages.signatures(id_of(FIRST))
    assert kept == head_of_package(again).signatures
    device.close()


def test_a_package_is_signed_on_the_disk_before_it_is_said_to_be(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(root, lab=True)
    device.install(UNSIGNED, allow_unsigned=True)
    offered = device.offer(SIGNED_LATER)
    events = disk_events(device, UNSIGNED, monkeypatch)
    device.receive(SIGNED_LATER, offered)
    assert events == [
        *("sync sessions/S/signatures", "name store/ID/manifest.json.sig", "sync store/ID"),
        *("sync sessions/S/state.json", "name state.json", "sync ."),
    ]
    device.close()


# ---- trust ---------------------------------------------------------------------------------------

OTHER = key_called("other")
BOTH = Trust(2, 1, (*TRUST.keys, TrustedKey("other", OTHER.public_key)))
WITHOUT = Trust(3, 1, (TrustedKey("owner", OWNER.public_key, revoked=True), BOTH.keys[1]))


def signed_trust(trust: Trust, *signers: Any) -> SignedTrust:
    text = canonical(trust)
    signatures = b"".join(signer.sign(text, TRUST_NAMESPACE) for signer in signers)
    return SignedTrust(text.decode(), signatures.decode())


ONE = signed_trust(TRUST, OWNER)
TWO = signed_trust(BOTH, OWNER)
THREE = signed_trust(WITHOUT, OTHER)


def test_the_first_trust_of_a_device_is_the_last_it_is_given(root: Path) -> None:
    device = Device(root, trust=None)
    assert device.installer.trust() == TrustState("", False)
    assert device.installer.change_trust(ChangeTrust((), True)) == TrustState("", False)
    state = device.installer.change_trust(ChangeTrust((ONE, TWO), True))
    assert state == TrustState(canonical(BOTH).decode(), True) == device.installer.trust()
    device.close()


def test_newer_versions_follow_one_another(device: Device) -> None:
    device.installer.change_trust(ChangeTrust((TWO, THREE), False))
    assert device.installer.trust().document == THREE.document
    fails("untrusted", lambda: device.offer(FIRST))
    device.install(package_of({"model": b"x"}, OTHER, sequence=1))


def test_a_version_that_does_not_follow_leaves_those_before_it(device: Device) -> None:
    forged = signed_trust(dataclasses.replace(WITHOUT, version=3), STRANGER)
    fails("untrusted", lambda: device.installer.change_trust(ChangeTrust((TWO, forged), False)))
    assert device.installer.trust().document == TWO.document
    skipping = signed_trust(dataclasses.replace(WITHOUT, version=4), OTHER, OWNER)
    fails("untrusted", lambda: device.installer.change_trust(ChangeTrust((skipping,), False)))


def test_an_older_version_is_not_gone_back_to(device: Device) -> None:
    device.installer.change_trust(ChangeTrust((TWO, THREE), False))
    for older in (ONE, TWO):
        fails("untrusted", partial(device.installer.change_trust, ChangeTrust((older,), False)))
    assert device.installer.trust().document == THREE.document


def test_the_very_version_that_is_there_is_no_change(device: Device) -> None:
    device.installer.change_trust(ChangeTrust((TWO,), False))
    device.installer.change_trust(ChangeTrust((TWO, THREE), False))
    assert device.installer.trust().document == THREE.document


def test_a_device_does_not_become_one_of_a_lab_later(device: Device) -> None:
    device.installer.change_trust(ChangeTrust((TWO,), True))
    assert not device.installer.trust().lab


def test_nonsense_is_no_first_trust(root: Path) -> None:
    device = Device(root, trust=None)
    for document in ("", "{}", ONE.document + " "):
        change = ChangeTrust((SignedTrust(document, ""),), False)
        fails("untrusted", partial(device.installer.change_trust, change))
    assert device.installer.trust() == TrustState("", False)
    device.close()


def test_a_version_that_another_session_has_overtaken_does_not_come_back(
    root: Path, device: Device
) -> None:
    other = Device(root)
    other.installer.change_trust(ChangeTrust((TWO, THREE), False))
    fails("untrusted", lambda: device.installer.change_trust(ChangeTrust((TWO,), False)))
    kept = device.store.trust()
    assert kept is not None and kept.version == THREE
    other.close()


# ---- the clock -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host_s", "now_s", "expiry"),
    [
        (0, 0.0, "unknown"),
        (EARLIEST_S + 1000, 0.0, "unknown"),
        (EARLIEST_S + 2_000_000, 0.0, "expired"),
        (EARLIEST_S + 2_000_000, 9e9, "expired"),
        (9_000_000_000, 0.0, "unknown"),
        (5, EARLIEST_S + 10.0, "valid"),
    ],
    ids=["nobody knows", "early", "expired", "2255 here", "2255 there", "1970 there"],
)
def test_a_package_is_judged_by_the_later_of_the_clocks_that_can_be_believed(
    root: Path, monkeypatch: pytest.MonkeyPatch, host_s: int, now_s: float, expiry: str
) -> None:
    monkeypatch.setattr(time, "time", lambda: now_s)
    device = Device(root)
    installer = Installer(device.store, "no program", host_s)
    package = package_of({"model": b"x"}, OWNER, expires=format_utc(EARLIEST_S + 1_000_000))
    device.installer = installer
    if expiry == "expired":
        fails("expired", lambda: device.offer(package))
    else:
        assert device.offer(package).expiry == expiry
    device.close()


def test_what_a_host_s_clock_has_shown_is_not_forgotten(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of host and device, the earlier: one that is years ahead must not be believed for good."""
    monkeypatch.setattr(time, "time", lambda: EARLIEST_S + 900.0)
    device = Device(root)
    device.installer = Installer(device.store, "no program", EARLIEST_S + 500)
    device.install(FIRST)
    assert device.store.state().clock_floor_s == EARLIEST_S + 500
    device.installer = Installer(device.store, "no program", EARLIEST_S + 9 * 365 * 86400)
    device.install(SECOND)
    assert device.store.state().clock_floor_s == EARLIEST_S + 900
    assert Clock(0, device.store.state().clock_floor_s).judge("2020-01-01T00:00:00Z") == "expired"
    device.close()


# ---- dying ---------------------------------------------------------------------------------------

DIE_AT_STEP = """
import io, os, shutil, sys
what, package, folder = sys.argv[1:4]
sys.path[:0] = sys.argv[4:]
from device_agent import runtimes
from device_agent.archive import head_bytes
from device_agent.reading import read_head
from device_agent.installing import Installer
from device_agent.environment_messages import RuntimeVersion
from device_agent.package_messages import Offer
from device_agent.store import Store

def act(root):
    store = Store(root)
    installer = Installer(store, "/proc/no program")
    if what == "install":
        with io.open(package, "rb") as stream:
            head = head_bytes(read_head(stream.read))
            offered = installer.offer(Offer(len(head)), io.BytesIO(head).read)
            stream.seek(offered.resume_at)
            installer.install(offered.package_id, stream.read)
        installer.commit(offered.package_id, lambda _: None)
    else:
        installer.roll_back("")
    store.close()

def act_and_die(root, step):
    taken = 0

    def dying(function):
        def call(*arguments, **options):
            nonlocal taken
            taken += 1
            if taken == step:
                os._exit(9)
            return function(*arguments, **options)
        return call

    for name in ("open", "mkdir", "fsync", "ftruncate", "rename", "symlink", "chmod", "unlink",
                 "rmdir"):
        setattr(os, name, dying(getattr(os, name)))
    act(root)
    os._exit(0)

runtimes.discover = lambda *_: (RuntimeVersion("onnxruntime", "onnxruntime", "1.20"),)
for step in range(1, 400):
    root = os.path.join(folder, "device%d" % step)
    shutil.copytree(os.path.join(folder, "template"), root, symlinks=True)
    child = os.fork()
    if child == 0:
        try:
            act_and_die(root, step)
        finally:
            os._exit(1)
    code = os.WEXITSTATUS(os.waitpid(child, 0)[1])
    if code != 9:
        sys.exit(code)
"""


def after_deaths(tmp_path: Path, what: str, package: bytes, *before: bytes) -> Iterator[Device]:
    """The next session after a death at each step, and after the one that got through."""
    (tmp_path / "new.edgepkg").write_bytes(package)
    template = Device(tmp_path / "template")
    for each in before:
        template.install(each)
    template.close()
    argv = [sys.executable, "-c", DIE_AT_STEP, what, tmp_path / "new.edgepkg", tmp_path]
    subprocess.run([*argv, *sys.path], check=True)
    for step in range(1, 400):
        root = tmp_path / f"device{step}"
        if not root.exists():
            return
        after = Device(root)
        yield after
        after.close()
        assert os.listdir(root / "sessions") == []


def require_sound(device: Device) -> str:
    """The version in use, after checking that all of it fits together."""
    state, current = device.store.state(), device.installer.current("")
    assert state.trial is None
    assert os.listdir(device.root / "sessions") == [os.path.basename(device.store._session)]
    assert device.links() == {"digits": f"../store/{current.package_id}"}
    for package_id in state.in_use():
        assert device.store.packages.is_intact(package_id)
    return current.version


def test_death_at_any_step_leaves_the_old_or_the_new_package(tmp_path: Path) -> None:
    """Each step that changes the disk, from the offer to after the commit."""
    versions = []
    for after in after_deaths(tmp_path, "install", SECOND, FIRST):
        versions.append(require_sound(after))
        after.install(SECOND)
        assert require_sound(after) == "2"
        assert after.store.state().slots[0].previous == id_of(FIRST)
    assert len(versions) > 40
    assert versions == sorted(versions), "the old one until the new one, once"
    assert versions[0] == "1" and versions[-1] == "2"


def test_death_at_any_step_of_going_back_leaves_one_of_the_two(tmp_path: Path) -> None:
    versions = []
    for after in after_deaths(tmp_path, "roll back", SECOND, FIRST, SECOND):
        versions.append(require_sound(after))
        slot = after.store.state().slots[0]
        assert {slot.current, slot.previous} == {id_of(FIRST), id_of(SECOND)}
        if versions[-1] == "2":
            after.installer.roll_back("")
        assert require_sound(after) == "1"
    assert len(versions) > 20
    assert versions == sorted(versions, reverse=True)
    assert versions[0] == "2" and versions[-1] == "1"


def test_death_while_cleaning_up_takes_neither_current_nor_previous(tmp_path: Path) -> None:
    """The third package pushes the first one out."""
    for after in after_deaths(tmp_path, "install", THIRD, FIRST, SECOND):
        assert require_sound(after) in ("2", "3")
        after.install(THIRD)
        assert after.store.state().in_use() == {id_of(SECOND), id_of(THIRD)}
        assert set(after.store.packages.ids()) == {id_of(SECOND), id_of(THIRD)}


def disk_events(device: Device, package: bytes, patch: pytest.MonkeyPatch) -> list[str]:
    """What becomes durable and what gets a name, as it happens from here on."""
    events: list[str] = []
    fsync, rename = os.fsync, os.rename
    session = os.path.basename(device.store._session)

    def note(kind: str, path: str) -> None:
        name = os.path.relpath(path, device.root)
        name = name.replace(id_of(package), "ID").replace(session, "S")
        parts = name.split("/")
        if parts[0] == "incoming":
            parts[1] = "KEY"
        events.append(f"{kind} {'/'.join(parts)}")

    def noted_fsync(descriptor: int) -> None:
        note("sync", os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def noted_rename(source: str, target: str) -> None:
        rename(source, target)
        note("name", target)

    patch.setattr(os, "fsync", noted_fsync)
    patch.setattr(os, "rename", noted_rename)
    return events


def test_everything_is_durable_before_it_is_named(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = disk_events(device, FIRST, monkeypatch)
    device.try_out(FIRST)
    assert events == [
        "sync incoming/KEY/files/model.bin",
        "sync incoming/KEY/files/golden.bin",
        "sync incoming/KEY/files/manifest.json",
        "sync incoming/KEY/files/manifest.json.sig",
        "sync incoming/KEY/files",
        "name store/ID",
        "sync store",
        "sync sessions/S/state.json",
        "name state.json",
        "sync .",
    ]
    events.clear()
    device.installer.commit(id_of(FIRST), lambda _: None)
    state = ["sync sessions/S/state.json", "name state.json", "sync ."]
    assert events == [
        *("name agent/current.pyz", "sync agent"),
        *state,
        *("name models/digits", "sync models"),
    ]


@pytest.mark.parametrize("call", ["fsync", "rename", "symlink"])
def test_a_disk_that_fills_up_in_the_commit_keeps_the_old_package(
    device: Device, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    device.install(FIRST)
    device.try_out(SECOND)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        fails("disk_full", lambda: device.installer.commit(id_of(SECOND), lambda _: None))
    device.close()
    after = Device(device.root)
    assert require_sound(after) == "1"
    after.install(SECOND)
    after.close()
