"""A device becomes one of a lab, and stops being one, only on the word of its trusted keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from agent_packages import package_of
from device_store import Device, fails, pretend_runtimes

from device_agent.codec import canonical
from device_agent.trust import LAB_NAMESPACE, OVERRIDE_NAMESPACE, Trust, TrustedKey
from device_agent.trust_messages import LabMode, SetLab
from edgesdk.keys.signing import FileSigner
from tests.signers import OWNER, STRANGER, key_called

OTHER = key_called("other")
REVOKED = key_called("revoked")
KEYS = (
    TrustedKey("owner", OWNER.public_key),
    TrustedKey("other", OTHER.public_key),
    TrustedKey("revoked", REVOKED.public_key, revoked=True),
)
TRUST = Trust(3, 1, KEYS)
UNSIGNED = package_of({"model": b"nobody's"})


@pytest.fixture(autouse=True)
def runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_runtimes(monkeypatch)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    opened = Device(tmp_path / "device", TRUST)
    yield opened
    opened.close()


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Device]:
    """One that wants two signatures."""
    opened = Device(tmp_path / "strict", replace(TRUST, threshold=2))
    yield opened
    opened.close()


def signed(lab: bool, nonce: str, *signers: FileSigner) -> str:
    text = canonical(LabMode(lab, nonce))
    return b"".join(signer.sign(text, LAB_NAMESPACE) for signer in signers).decode()


def obeys(device: Device, lab: bool, *signers: FileSigner) -> None:
    signatures = signed(lab, device.installer.challenge(), *signers)
    assert device.installer.set_lab(SetLab(lab, signatures)).lab == lab


def refuses(device: Device, wanted: SetLab) -> str:
    """Why; nothing has changed."""
    before = device.files()
    failure = fails("untrusted", lambda: device.installer.set_lab(wanted))
    assert device.files() == before
    return failure.message


# ---- signed --------------------------------------------------------------------------------------


def test_a_trusted_key_s_word_makes_a_device_one_of_a_lab_and_ends_that(device: Device) -> None:
    fails("untrusted", lambda: device.offer(UNSIGNED, allow_unsigned=True))
    obeys(device, True, OWNER)
    device.install(UNSIGNED, allow_unsigned=True)
    obeys(device, False, OTHER)
    fails("untrusted", lambda: device.offer(UNSIGNED, allow_unsigned=True))


def test_it_stays_so_and_the_trust_is_as_it_was(device: Device) -> None:
    document = device.installer.trust().document
    obeys(device, True, OWNER)
    later = Device(device.root)
    assert later.installer.trust().lab
    assert later.installer.trust().document == document
    later.close()


def test_where_two_keys_must_sign_a_change_of_the_trust_they_must_sign_this(
    strict: Device,
) -> None:
    """One stolen key shall not open a device for packages that nobody signs."""
    message = refuses(strict, SetLab(True, signed(True, strict.installer.challenge(), OWNER)))
    assert "wants the signatures of 2 of its keys, found 1 (owner)" in message
    twice = signed(True, strict.installer.challenge(), OWNER, OWNER)
    assert "found 1 (owner)" in refuses(strict, SetLab(True, twice))
    obeys(strict, True, OWNER, OTHER)


# ---- not signed so -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attack:
    """What is signed, by whom and how, where `lab` is asked for.

    Args:
        opposite: the signature is of what is not asked for.
    """

    signer: FileSigner | None = OWNER
    opposite: bool = False
    nonce: str = ""
    namespace: str = LAB_NAMESPACE


ATTACKS = {
    "nobody": Attack(None),
    "a stranger": Attack(STRANGER),
    "a revoked key": Attack(REVOKED),
    "the opposite": Attack(opposite=True),
    "another device's number": Attack(nonce="ab" * 16),
    "as an override": Attack(namespace=OVERRIDE_NAMESPACE),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("lab", [True, False])
def test_no_other_signature_changes_it(device: Device, name: str, lab: bool) -> None:
    if not lab:
        obeys(device, True, OWNER)
    attack, nonce = ATTACKS[name], device.installer.challenge()
    text = canonical(LabMode(lab != attack.opposite, attack.nonce or nonce))
    signature = b"" if attack.signer is None else attack.signer.sign(text, attack.namespace)
    refuses(device, SetLab(lab, signature.decode()))


def test_what_is_signed_holds_once(device: Device) -> None:
    on = SetLab(True, signed(True, device.installer.challenge(), OWNER))
    device.installer.set_lab(on)
    obeys(device, False, OWNER)
    assert "without a challenge" in refuses(device, on)
    device.installer.challenge()
    refuses(device, on)


def test_it_holds_in_its_session_only(device: Device) -> None:
    on = SetLab(True, signed(True, device.installer.challenge(), OWNER))
    other = Device(device.root)
    assert "without a challenge" in refuses(other, on)
    other.installer.challenge()
    refuses(other, on)
    other.close()


def test_without_a_challenge_nothing_holds(device: Device) -> None:
    assert "without a challenge" in refuses(device, SetLab(True, signed(True, "", OWNER)))


def test_it_is_no_leave_to_install_an_earlier_package(device: Device) -> None:
    device.install(package_of({"model": b"x"}, OWNER, sequence=9))
    earlier = package_of({"model": b"y"}, OWNER, sequence=1)
    nonce = device.installer.challenge()
    fails("untrusted", lambda: device.offer(earlier, override=signed(True, nonce, OWNER)))


def test_a_device_without_trust_has_nobody_whose_word_counts(tmp_path: Path) -> None:
    device = Device(tmp_path / "new", trust=None)
    nonce = device.installer.challenge()
    message = refuses(device, SetLab(True, signed(True, nonce, OWNER)))
    assert "without any trust to judge it by" in message
    device.close()
