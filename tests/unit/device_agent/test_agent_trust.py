"""Whom a device believes, and what it takes to change that."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import old_pythons
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openssh import needs_openssh, openssh_takes
from signatures import ANNA, BEN, CLARA, LATER, LONG_AGO, MALLORY, NOW, HardwareKey, Key
from signatures import signed_trust as signed

from device_agent import sshsig
from device_agent.clock import Clock
from device_agent.codec import canonical
from device_agent.trust import (
    DELTA_NAMESPACE,
    OVERRIDE_NAMESPACE,
    PACKAGE_NAMESPACE,
    TRUST_NAMESPACE,
    Trust,
    TrustedKey,
    Untrusted,
    believed_signers,
    check_trust,
    next_trust,
    read_trust,
    require_signed,
)

MANIFEST = b'{"format":"edgepkg/1"}'
ANNA_AND_BEN = Trust(1, 1, (ANNA.trusted(), BEN.trusted()))
TWO_OF_THREE = Trust(1, 2, (ANNA.trusted(), BEN.trusted(), CLARA.trusted()))
RESET = Clock(now_s=0, floor_s=NOW.floor_s)
"""The clock of a device that lost its time, yet knows of a later one."""


def refusal(
    signatures: bytes,
    *,
    trust: Trust = ANNA_AND_BEN,
    message: bytes = MANIFEST,
    clock: Clock = NOW,
) -> Untrusted:
    """Why a package is not trusted."""
    with pytest.raises(Untrusted) as caught:
        require_signed(trust, message, signatures, PACKAGE_NAMESPACE, clock)
    return caught.value


def refused_change(current: Trust, new: Trust, *signers: Key, clock: Clock = NOW) -> Untrusted:
    """Why a trust is not followed by another one."""
    with pytest.raises(Untrusted) as caught:
        next_trust(current, *signed(new, *signers), clock)
    return caught.value


# ---- packages: rows E34 and E35 ----------------------------------------------------------------


def test_one_trusted_signature_is_enough() -> None:
    signature = BEN.sign(MANIFEST, PACKAGE_NAMESPACE)
    assert require_signed(TWO_OF_THREE, MANIFEST, signature, PACKAGE_NAMESPACE, NOW).name == "ben"


def test_an_unknown_signature_beside_a_trusted_one_does_no_harm() -> None:
    both = MALLORY.sign(MANIFEST, PACKAGE_NAMESPACE) + ANNA.sign(MANIFEST, PACKAGE_NAMESPACE)
    assert require_signed(ANNA_AND_BEN, MANIFEST, both, PACKAGE_NAMESPACE, NOW).name == "anna"


def test_a_signature_that_does_not_hold_spoils_the_trusted_one_beside_it() -> None:
    bad = ANNA.sign(MANIFEST, PACKAGE_NAMESPACE) + MALLORY.sign(b"other", PACKAGE_NAMESPACE)
    assert refusal(bad).code == "wrong_signature"


def test_unsigned() -> None:
    assert refusal(b"").code == "unsigned"


def test_signed_by_an_unknown_key() -> None:
    error = refusal(MALLORY.sign(MANIFEST, PACKAGE_NAMESPACE))
    assert error.code == "unknown_key"
    assert sshsig.fingerprint(MALLORY.blob) in error.message
    for key in (ANNA, BEN):
        assert f"{key.name} {sshsig.fingerprint(key.blob)}" in error.hint


def test_signed_by_a_revoked_key() -> None:
    trust = Trust(2, 1, (ANNA.trusted(revoked=True), BEN.trusted()))
    error = refusal(ANNA.sign(MANIFEST, PACKAGE_NAMESPACE), trust=trust)
    assert (error.code, "anna" in error.message) == ("revoked_key", True)
    assert error.hint.startswith("the keys of trust version 2 are anna ")
    assert "(revoked)" in error.hint


def test_signed_by_an_expired_key() -> None:
    trust = Trust(2, 1, (ANNA.trusted(expires=LONG_AGO), BEN.trusted()))
    error = refusal(ANNA.sign(MANIFEST, PACKAGE_NAMESPACE), trust=trust)
    assert (error.code, LONG_AGO in error.message) == ("expired_key", True)


def test_a_key_that_expires_later_is_believed() -> None:
    trust = Trust(2, 1, (ANNA.trusted(expires=LATER),))
    signature = ANNA.sign(MANIFEST, PACKAGE_NAMESPACE)
    assert require_signed(trust, MANIFEST, signature, PACKAGE_NAMESPACE, NOW).name == "anna"


def test_signed_for_another_purpose() -> None:
    for namespace in (DELTA_NAMESPACE, TRUST_NAMESPACE, OVERRIDE_NAMESPACE, "file"):
        error = refusal(ANNA.sign(MANIFEST, namespace))
        assert error.code == "wrong_namespace"
        assert namespace in error.message and PACKAGE_NAMESPACE in error.message


def test_a_signature_of_something_else() -> None:
    assert refusal(ANNA.sign(MANIFEST + b" ", PACKAGE_NAMESPACE)).code == "wrong_signature"


def test_malformed_signatures() -> None:
    good = ANNA.sign(MANIFEST, PACKAGE_NAMESPACE)
    for bad in (b"junk", good[:-1], good + b"\n", good * 9, ANNA.pem):
        assert refusal(bad).code == "malformed_signature"


def test_the_reason_of_a_known_key_comes_before_that_of_an_unknown_one() -> None:
    trust = Trust(2, 1, (ANNA.trusted(revoked=True), BEN.trusted()))
    both = MALLORY.sign(MANIFEST, PACKAGE_NAMESPACE) + ANNA.sign(MANIFEST, PACKAGE_NAMESPACE)
    error = refusal(both, trust=trust)
    assert error.code == "revoked_key"
    assert "not trusted" in error.message


def test_where_the_clock_cannot_tell_the_key_is_believed_and_that_can_be_reported() -> None:
    trust = Trust(2, 1, (ANNA.trusted(expires=LATER),))
    signature = ANNA.sign(MANIFEST, PACKAGE_NAMESPACE)
    key = require_signed(trust, MANIFEST, signature, PACKAGE_NAMESPACE, RESET)
    assert RESET.judge(key.expires) == "unknown"


def test_resetting_the_clock_does_not_revive_a_key_that_expired_before_the_floor() -> None:
    trust = Trust(2, 1, (ANNA.trusted(expires="2026-01-01T00:00:00Z"), BEN.trusted()))
    error = refusal(ANNA.sign(MANIFEST, PACKAGE_NAMESPACE), trust=trust, clock=RESET)
    assert error.code == "expired_key"


def test_the_same_key_under_another_type_is_another_key() -> None:
    error = refusal(HardwareKey("anna").sign(MANIFEST, PACKAGE_NAMESPACE))
    assert error.code == "unknown_key"


def test_a_hardware_key_can_be_trusted() -> None:
    token = HardwareKey("token")
    trust = Trust(1, 1, (token.trusted(),))
    signature = token.sign(MANIFEST, PACKAGE_NAMESPACE)
    assert require_signed(trust, MANIFEST, signature, PACKAGE_NAMESPACE, NOW).name == "token"


def test_every_flipped_byte_of_a_signature_is_refused() -> None:
    good = ANNA.sign(MANIFEST, PACKAGE_NAMESPACE) + BEN.sign(MANIFEST, PACKAGE_NAMESPACE)
    for at in range(len(good)):
        damaged = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        assert refusal(damaged).code in (
            "malformed_signature",
            "wrong_signature",
            "wrong_namespace",
        )


@needs_openssh
@pytest.mark.parametrize(
    ("options", "revoked", "ours"),
    [
        ("", False, None),
        ("", True, "revoked_key"),
        ('valid-before="20260101" ', False, "expired_key"),
    ],
)
def test_openssh_judges_alike(
    tmp_path: Path, options: str, revoked: bool, ours: str | None
) -> None:
    """Its allowed_signers, valid-before and revocation list beside our trust."""
    signature = ANNA.sign(MANIFEST, PACKAGE_NAMESPACE)
    taken = openssh_takes(
        tmp_path,
        signature,
        MANIFEST,
        namespace=PACKAGE_NAMESPACE,
        allowed=f"anna {options}{ANNA.text}\n",
        revoked=f"{ANNA.text}\n" if revoked else "",
    )
    expires = "2026-01-01T00:00:00Z" if "valid-before" in options else None
    trust = Trust(1, 1, (ANNA.trusted(expires, revoked), BEN.trusted()))
    assert taken == (ours is None)
    if ours is not None:
        assert refusal(signature, trust=trust).code == ours


@needs_openssh
def test_openssh_refuses_another_identity_as_we_refuse_an_unknown_key(tmp_path: Path) -> None:
    signature = MALLORY.sign(MANIFEST, PACKAGE_NAMESPACE)
    allowed = f"anna {ANNA.text}\nmallory {MALLORY.text}\n"
    assert not openssh_takes(
        tmp_path, signature, MANIFEST, namespace=PACKAGE_NAMESPACE, allowed=allowed
    )
    assert refusal(signature).code == "unknown_key"


# ---- the document ------------------------------------------------------------------------------


def test_a_trust_survives() -> None:
    trust = Trust(7, 2, (ANNA.trusted(LATER), BEN.trusted(revoked=True), CLARA.trusted()))
    assert read_trust(canonical(trust)) == trust


def changed(change: Callable[[dict[str, object]], object]) -> bytes:
    data = json.loads(canonical(ANNA_AND_BEN))
    change(data)
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def first_key(data: dict[str, object]) -> dict[str, object]:
    keys = data["keys"]
    assert isinstance(keys, list)
    key: dict[str, object] = keys[0]
    return key


BAD_TEXTS = {
    "nothing": (b"", "not JSON"),
    "no JSON": (b"{", "not JSON"),
    "no UTF-8": (b"\xff", "not JSON"),
    "a list": (b"[]", "expected an object"),
    "deep": (b"[" * 50_000, "not JSON"),
    "large": (b" " * 70_000, "70000 bytes, expected at most 65536"),
    "NaN": (b'{"version":NaN}', "not JSON"),
    "indented": (json.dumps(json.loads(canonical(ANNA_AND_BEN)), indent=1).encode(), "canonical"),
    "a space after": (canonical(ANNA_AND_BEN) + b" ", "canonical"),
    "a key twice": (canonical(ANNA_AND_BEN).replace(b"{", b'{"version":1,', 1), "canonical"),
    "an unknown field": (changed(lambda data: data.update(more=1)), "canonical"),
    "no version": (changed(lambda data: data.pop("version")), "$.version: missing"),
    "a version in text": (changed(lambda data: data.update(version="1")), "expected int"),
    "a true version": (changed(lambda data: data.update(version=True)), "expected int"),
    "no expiry named": (changed(lambda data: first_key(data).pop("expires")), "canonical"),
    "another format": (changed(lambda data: data.update(format="edgesdk-trust/2")), "format"),
}


@pytest.mark.parametrize(("text", "told"), BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
def test_any_other_text_is_refused(text: bytes, told: str) -> None:
    with pytest.raises(Untrusted, match=re.escape(told)) as caught:
        read_trust(text)
    assert caught.value.code == "bad_trust"


@given(st.binary(max_size=100) | st.text(max_size=50).map(str.encode))
def test_no_text_makes_it_raise_otherwise(text: bytes) -> None:
    with pytest.raises(Untrusted):
        read_trust(text)


MANY = tuple(Key(f"key-{count}").trusted() for count in range(65))
BAD_TRUSTS = {
    "version 0": (replace(ANNA_AND_BEN, version=0), "version 0"),
    "a huge version": (replace(ANNA_AND_BEN, version=10**30), "version 1000"),
    "no keys": (Trust(1, 1, ()), "0 keys that are not revoked"),
    "65 keys": (Trust(1, 1, MANY), "65 keys, expected at most 64"),
    "threshold 0": (replace(ANNA_AND_BEN, threshold=0), "a threshold of 0"),
    "a negative threshold": (replace(ANNA_AND_BEN, threshold=-1), "a threshold of -1"),
    "a threshold above the keys": (replace(ANNA_AND_BEN, threshold=3), "expected 1 to 2"),
    "a huge threshold": (replace(ANNA_AND_BEN, threshold=10**30), "expected 1 to 2"),
    "a version beyond what JSON can tell": (
        replace(ANNA_AND_BEN, version=2**53),
        "expected 1 to 9",
    ),
    "more than a file of signatures holds": (Trust(1, 9, MANY[:9]), "expected 1 to 8"),
    "a threshold that revoked keys would have to meet": (
        Trust(1, 2, (ANNA.trusted(), BEN.trusted(revoked=True))),
        "1 keys that are not revoked",
    ),
    "all revoked": (Trust(1, 1, (ANNA.trusted(revoked=True),)), "0 keys that are not revoked"),
    "one name twice": (
        Trust(1, 1, (ANNA.trusted(), TrustedKey("anna", BEN.text))),
        "anna and anna have the same name",
    ),
    "one key under two names": (
        Trust(1, 1, (ANNA.trusted(), TrustedKey("eve", ANNA.text))),
        "anna and eve have the same key",
    ),
    "one key under two types": (
        Trust(1, 1, (ANNA.trusted(), TrustedKey("eve", HardwareKey("anna").text))),
        "anna and eve have the same key",
    ),
    "one key of two applications": (
        Trust(
            1,
            1,
            (
                HardwareKey("token").trusted(),
                TrustedKey("eve", HardwareKey("token", application=b"ssh:eve").text),
            ),
        ),
        "token and eve have the same key",
    ),
    "an empty name": (Trust(1, 1, (TrustedKey("", ANNA.text),)), "key name ''"),
    "a name with a line break": (Trust(1, 1, (TrustedKey("a\n", ANNA.text),)), "key name"),
    "a long name": (Trust(1, 1, (TrustedKey("a" * 65, ANNA.text),)), "key name"),
    "a path for a name": (Trust(1, 1, (TrustedKey("../a", ANNA.text),)), "key name"),
    "no key": (Trust(1, 1, (TrustedKey("anna", "ssh-ed25519 AAAA"),)), "key anna: found"),
    "a key with a comment": (Trust(1, 1, (TrustedKey("anna", ANNA.text + " x"),)), "key anna"),
    "an expiry that is none": (Trust(1, 1, (ANNA.trusted("tomorrow"),)), "found time 'tomorrow'"),
}


@pytest.mark.parametrize(("trust", "told"), BAD_TRUSTS.values(), ids=BAD_TRUSTS.keys())
def test_a_trust_that_does_not_hold_is_refused(trust: Trust, told: str) -> None:
    for judge in (lambda: check_trust(trust), lambda: read_trust(canonical(trust))):
        with pytest.raises(Untrusted, match=re.escape(told)) as caught:
            judge()
        assert caught.value.code == "bad_trust"


# ---- the chain ---------------------------------------------------------------------------------


def test_the_next_version_takes_the_threshold_of_both() -> None:
    new = replace(TWO_OF_THREE, version=2)
    assert next_trust(TWO_OF_THREE, *signed(new, ANNA, CLARA), NOW) == new


def test_one_key_of_two_is_too_few() -> None:
    error = refused_change(TWO_OF_THREE, replace(TWO_OF_THREE, version=2), ANNA)
    assert error.code == "too_few_signatures"
    assert "trust version 1 wants the signatures of 2 of its keys, found 1 (anna)" in error.message


def test_one_key_twice_is_one() -> None:
    error = refused_change(TWO_OF_THREE, replace(TWO_OF_THREE, version=2), ANNA, ANNA)
    assert (error.code, "found 1 (anna)" in error.message) == ("too_few_signatures", True)


def test_nobody_is_too_few() -> None:
    error = refused_change(ANNA_AND_BEN, replace(ANNA_AND_BEN, version=2))
    assert error.code == "unsigned"


def test_strangers_do_not_count() -> None:
    error = refused_change(TWO_OF_THREE, replace(TWO_OF_THREE, version=2), ANNA, MALLORY)
    assert (error.code, "not trusted" in error.message) == ("too_few_signatures", True)


def test_a_key_cannot_bring_itself_in() -> None:
    new = Trust(2, 1, (*ANNA_AND_BEN.keys, MALLORY.trusted()))
    error = refused_change(ANNA_AND_BEN, new, MALLORY)
    assert (error.code, "trust version 1" in error.message) == ("too_few_signatures", True)


def test_one_stolen_key_of_two_cannot_lower_the_threshold() -> None:
    new = Trust(2, 1, TWO_OF_THREE.keys)
    assert refused_change(TWO_OF_THREE, new, ANNA).code == "too_few_signatures"


def test_the_new_keys_must_have_signed_too() -> None:
    """A key that nobody holds would lock the device out."""
    new = Trust(2, 1, (CLARA.trusted(), ANNA.trusted(revoked=True), BEN.trusted(revoked=True)))
    error = refused_change(ANNA_AND_BEN, new, ANNA, BEN)
    assert (error.code, "trust version 2" in error.message) == ("too_few_signatures", True)
    assert next_trust(ANNA_AND_BEN, *signed(new, ANNA, CLARA), NOW) == new


@pytest.mark.parametrize("version", [1, 2, 3, 5, 6])
def test_only_the_very_next_version_follows(version: int) -> None:
    current = replace(ANNA_AND_BEN, version=3)
    error = refused_change(current, replace(ANNA_AND_BEN, version=version), ANNA)
    assert error.code == "wrong_trust_version"
    assert f"found trust version {version}, expected 4" in error.message
    assert bool(error.hint) == (version > 3)


def test_a_revoked_key_cannot_call_itself_back() -> None:
    current = Trust(2, 1, (ANNA.trusted(revoked=True), BEN.trusted()))
    assert refused_change(current, replace(ANNA_AND_BEN, version=3), ANNA).code == "bad_trust"
    kept = Trust(3, 1, current.keys)
    error = refused_change(current, kept, ANNA)
    assert (error.code, "anna" in error.message) == ("too_few_signatures", True)


def test_nobody_can_call_a_revoked_key_back_or_forget_it() -> None:
    current = Trust(2, 1, (ANNA.trusted(revoked=True), BEN.trusted()))
    for keys in (ANNA_AND_BEN.keys, (BEN.trusted(),)):
        error = refused_change(current, Trust(3, 1, keys), BEN)
        assert (error.code, "anna was revoked" in error.message) == ("bad_trust", True)


def test_a_revoked_key_may_be_renamed_but_not_replaced_under_its_name() -> None:
    current = Trust(2, 1, (ANNA.trusted(revoked=True), BEN.trusted()))
    renamed = Trust(3, 1, (TrustedKey("stolen", ANNA.text, None, True), BEN.trusted()))
    assert next_trust(current, *signed(renamed, BEN), NOW) == renamed
    swapped = Trust(3, 1, (TrustedKey("anna", CLARA.text, None, True), BEN.trusted()))
    assert refused_change(current, swapped, BEN).code == "bad_trust"


def test_an_expired_key_does_not_count() -> None:
    current = Trust(1, 1, (ANNA.trusted(LONG_AGO), BEN.trusted()))
    new = replace(current, version=2)
    assert refused_change(current, new, ANNA).code == "too_few_signatures"
    assert next_trust(current, *signed(new, ANNA), RESET) == new


def test_a_signature_for_another_purpose_does_not_count() -> None:
    text = canonical(replace(ANNA_AND_BEN, version=2))
    with pytest.raises(Untrusted) as caught:
        next_trust(ANNA_AND_BEN, text, ANNA.sign(text, PACKAGE_NAMESPACE), NOW)
    assert caught.value.code == "wrong_namespace"


def test_a_signature_of_another_version_does_not_count() -> None:
    text, _ = signed(replace(ANNA_AND_BEN, version=2))
    _, signatures = signed(replace(ANNA_AND_BEN, version=3), ANNA)
    with pytest.raises(Untrusted) as caught:
        next_trust(ANNA_AND_BEN, text, signatures, NOW)
    assert caught.value.code == "wrong_signature"


def test_every_flipped_byte_of_a_signed_trust_is_refused() -> None:
    text, signatures = signed(replace(ANNA_AND_BEN, version=2), ANNA)
    for at in range(len(text)):
        damaged = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        with pytest.raises(Untrusted):
            next_trust(ANNA_AND_BEN, damaged, signatures, NOW)


names = st.sets(st.sampled_from("abcdef"), min_size=1)


@given(names, names, st.sets(st.sampled_from("abcdefxyz")), st.data())
def test_a_change_holds_exactly_with_enough_of_both(
    old: set[str], new: set[str], signers: set[str], data: st.DataObject
) -> None:
    def trust_of(version: int, keys: set[str]) -> Trust:
        threshold = data.draw(st.integers(1, len(keys)))
        return Trust(version, threshold, tuple(Key(name).trusted() for name in sorted(keys)))

    current, following = trust_of(4, old), trust_of(5, new)
    text, signatures = signed(following, *map(Key, sorted(signers)[:8]))
    kept = set(sorted(signers)[:8])
    enough = len(kept & old) >= current.threshold and len(kept & new) >= following.threshold
    if enough:
        assert next_trust(current, text, signatures, NOW) == following
    else:
        with pytest.raises(Untrusted):
            next_trust(current, text, signatures, NOW)


def test_who_signed_and_is_believed_is_told_once_each() -> None:
    trust = Trust(2, 1, (ANNA.trusted(revoked=True), BEN.trusted(), CLARA.trusted()))
    text, signatures = signed(trust, CLARA, ANNA, CLARA, MALLORY)
    signers = believed_signers(trust, text, signatures, TRUST_NAMESPACE, NOW)
    assert [key.name for key in signers] == ["clara"]
    assert believed_signers(trust, text, b"", TRUST_NAMESPACE, NOW) == ()


# ---- every Python ------------------------------------------------------------------------------

_PROGRAM = """
import json, sys
from device_agent import trust
from device_agent.clock import Clock
def judged(case):
    current, text, signatures = map(bytes.fromhex, case)
    try:
        return trust.next_trust(trust.read_trust(current), text, signatures, clock).version
    except trust.Untrusted as error:
        return error.code
now_s, floor_s, cases = json.load(sys.stdin)
clock = Clock(now_s, floor_s)
print(json.dumps([judged(case) for case in cases]))
"""


@pytest.mark.skipif(not old_pythons.pythons(), reason="no pyenv with other Pythons")
@pytest.mark.parametrize("python", old_pythons.pythons(), ids=old_pythons.name)
def test_every_python_judges_alike(python: Path) -> None:
    new = replace(TWO_OF_THREE, version=2)
    cases = [
        (TWO_OF_THREE, *signed(new, ANNA, BEN)),
        (TWO_OF_THREE, *signed(new, ANNA, ANNA)),
        (TWO_OF_THREE, *signed(replace(new, version=3), ANNA, BEN)),
        *((TWO_OF_THREE, text, b"") for text, _ in BAD_TEXTS.values()),
    ]
    hexed = [(canonical(trust).hex(), text.hex(), by.hex()) for trust, text, by in cases]
    stdin = json.dumps([NOW.now_s, NOW.floor_s, hexed])
    assert json.loads(old_pythons.said(python, _PROGRAM, stdin)) == [
        2,
        "too_few_signatures",
        "wrong_trust_version",
        *["bad_trust"] * len(BAD_TEXTS),
    ]
