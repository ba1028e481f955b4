"""The trust of this workstation as files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.codec import canonical
from device_agent.trust import Trust
from edgesdk.errors import NotTrusted, SigningError
from edgesdk.keys import chain
from edgesdk.keys.chain import Document
from tests.unit.device_agent.signatures import ANNA, BEN, LONG_AGO, MALLORY, NOW, Key, signed_trust

FIRST = Trust(1, 1, (ANNA.trusted(),))
SECOND = Trust(2, 2, (ANNA.trusted(), BEN.trusted()))


def document(trust: Trust, *signers: Key) -> Document:
    return Document(trust, *signed_trust(trust, *signers))


def stored(folder: Path) -> Path:
    """Two versions, as they should be."""
    chain.accept(folder, None, document(FIRST, ANNA), NOW)
    chain.accept(folder, FIRST, document(SECOND, ANNA, BEN), NOW)
    return folder


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    assert chain.load(tmp_path / "trust") == ()
    assert chain.pending(tmp_path / "trust") is None


def test_versions_survive(tmp_path: Path) -> None:
    folder = stored(tmp_path / "trust")
    assert chain.load(folder) == (document(FIRST, ANNA), document(SECOND, ANNA, BEN))
    assert (folder / "2.json").read_bytes() == canonical(SECOND)


def test_a_chain_may_begin_later(tmp_path: Path) -> None:
    folder = stored(tmp_path)
    (folder / "1.json").unlink()
    assert [each.trust.version for each in chain.load(folder)] == [2]


def test_a_key_that_expired_since_does_not_spoil_the_past(tmp_path: Path) -> None:
    first = Trust(1, 1, (ANNA.trusted(LONG_AGO), BEN.trusted()))
    before = replace(NOW, now_s=NOW.floor_s)
    chain.accept(tmp_path, None, document(first, ANNA), before)
    chain.accept(tmp_path, first, document(replace(first, version=2), ANNA), before)
    assert len(chain.load(tmp_path)) == 2


def test_a_version_that_does_not_follow_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(NotTrusted) as caught:
        chain.accept(tmp_path, FIRST, document(SECOND, BEN), NOW)
    assert caught.value.code == "too_few_signatures"
    assert not (tmp_path / "2.json").exists()


DAMAGE = {
    "a flipped byte": lambda folder: flip(folder / "2.json"),
    "a flipped signature": lambda folder: flip(folder / "2.sig"),
    "another signer": lambda folder: (folder / "2.sig").write_bytes(
        MALLORY.sign(canonical(SECOND), "edgesdk-trust")
    ),
    "no signature": lambda folder: (folder / "2.sig").write_bytes(b""),
    "a missing signature file": lambda folder: (folder / "2.sig").unlink(),
    "a version under another number": lambda folder: os.replace(
        folder / "2.json", folder / "3.json"
    ),
    "a first version that nobody signed": lambda folder: (folder / "1.sig").write_bytes(b""),
    "a gap": lambda folder: skip_a_version(folder),
}


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])


def skip_a_version(folder: Path) -> None:
    fourth = document(replace(SECOND, version=4), ANNA, BEN)
    (folder / "4.json").write_bytes(fourth.text)
    (folder / "4.sig").write_bytes(fourth.signatures)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_chain_is_refused(tmp_path: Path, damage: object) -> None:
    folder = stored(tmp_path)
    damage(folder)  # type: ignore[operator]
    with pytest.raises(SigningError, match=str(folder)):
        chain.load(folder)


def test_what_is_pending_survives_and_is_forgotten_once_it_is_accepted(tmp_path: Path) -> None:
    half = document(SECOND, ANNA)
    chain.keep_pending(tmp_path, half)
    assert chain.pending(tmp_path) == half
    chain.accept(tmp_path, FIRST, document(SECOND, ANNA, BEN), NOW)
    assert chain.pending(tmp_path) is None


def test_what_lacks_signatures_says_whose(tmp_path: Path) -> None:
    wants = chain.wants(FIRST, document(SECOND), NOW)
    assert [(want.version, want.threshold, want.signed, want.may_sign) for want in wants] == [
        (1, 1, (), ("anna",)),
        (2, 2, (), ("anna", "ben")),
    ]
    (left,) = chain.wants(FIRST, document(SECOND, ANNA), NOW)
    assert (left.version, left.signed, left.may_sign) == (2, ("anna",), ("ben",))
    assert chain.wants(FIRST, document(SECOND, ANNA, BEN), NOW) == ()


def test_an_expired_or_revoked_key_cannot_make_it_up() -> None:
    new = Trust(2, 1, (ANNA.trusted(revoked=True), BEN.trusted(LONG_AGO), MALLORY.trusted()))
    (want,) = chain.wants(None, document(new, ANNA, BEN), NOW)
    assert (want.signed, want.may_sign) == ((), ("mallory",))


def test_a_signature_of_something_else_is_not_added() -> None:
    with pytest.raises(NotTrusted) as caught:
        chain.with_signatures(document(SECOND, ANNA), BEN.sign(b"other", "edgesdk-trust"))
    assert caught.value.code == "wrong_signature"


def test_a_draft_that_does_not_hold_is_refused() -> None:
    with pytest.raises(NotTrusted, match="threshold of 3"):
        chain.draft(replace(SECOND, threshold=3))
