"""Keys made, trusted, revoked; who signs, and who is believed."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from device_agent import sshsig
from device_agent.trust import PACKAGE_NAMESPACE, TRUST_NAMESPACE
from edgesdk import api
from edgesdk.errors import NotTrusted, SigningError, UsageError
from edgesdk.keys.signing import open_signer
from edgesdk.values.keys import KeyRing, KeyRow
from tests.unit.device_agent.signatures import ANNA, BEN, MALLORY, Key

MANIFEST = b'{"format":"edgepkg/1"}'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without keys."""
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def pub(folder: Path, key: Key) -> str:
    path = folder / f"{key.name}.pub"
    path.write_text(f"{key.text} comment\n")
    return str(path)


def row(name: str, ring: KeyRing | None = None) -> KeyRow:
    (found,) = [key for key in (ring or api.list_keys()).keys if key.name == name]
    return found


def by_colleague(home: Path, folder: Path, key: Key) -> Path:
    """The signature file that `ssh-keygen -Y sign` makes of what is pending."""
    path = folder / f"{key.name}.sig"
    path.write_bytes(key.sign((home / "trust" / "pending.json").read_bytes(), TRUST_NAMESPACE))
    return path


def last() -> tuple[int, int, list[tuple[str, bool]]]:
    """Version, threshold, and the keys with whether they are revoked."""
    trust = api.trust_documents()[-1].trust
    return trust.version, trust.threshold, [(key.name, key.revoked) for key in trust.keys]


# ---- making and trusting -----------------------------------------------------------------------


def test_nothing_is_there_at_first() -> None:
    assert api.list_keys() == KeyRing(None, None, (), None)
    assert api.default_signer() is None


def test_the_first_key_is_trusted_at_once(home: Path) -> None:
    done = api.new_key("bench")
    assert last() == (1, 1, [("bench", False)])
    shown = row("bench", done.ring)
    assert (shown.state, shown.place, shown.default) == ("trusted", "file", True)
    assert shown.fingerprint in done.sentence
    assert stat.S_IMODE((home / "keys").stat().st_mode) == 0o700


def test_the_second_key_is_signed_by_the_first() -> None:
    api.new_key("bench")
    api.new_key("desk", expires="2099-01-01")
    assert last() == (2, 1, [("bench", False), ("desk", False)])
    assert row("desk").expires == "2099-01-01T00:00:00Z"


def test_an_existing_key_is_taken_in(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    path.write_bytes(ANNA.pem)
    path.chmod(0o600)
    assert "took in mine" in api.new_key("mine", existing=path).sentence
    assert row("mine").public_key == ANNA.text
    signer = api.default_signer()
    assert signer is not None and signer.public_key == ANNA.text


def test_a_key_that_is_trusted_is_not_taken_in_under_another_name(tmp_path: Path) -> None:
    api.new_key("default")
    api.trust_key(pub(tmp_path, ANNA))
    path = tmp_path / "id_ed25519"
    path.write_bytes(ANNA.pem)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="is trusted already, as anna") as raised:
        api.new_key("other", existing=path)
    assert raised.value.hint == f"sign with it where it is: --key {path}"
    assert not (path.parent / "keys" / "other.pub").exists()


def test_a_colleagues_key_is_trusted(tmp_path: Path) -> None:
    api.new_key("default")
    api.trust_key(pub(tmp_path, ANNA))
    assert last() == (2, 1, [("default", False), ("anna", False)])
    assert row("anna").place == "elsewhere"


def test_a_key_is_called_as_asked_and_can_be_renamed(tmp_path: Path) -> None:
    api.new_key("default")
    api.trust_key(pub(tmp_path, ANNA), name="release")
    api.trust_key("release", name="build")
    assert last() == (3, 1, [("default", False), ("build", False)])


def test_trusting_what_is_trusted_already_makes_no_version(tmp_path: Path) -> None:
    api.new_key("default")
    api.trust_key(pub(tmp_path, ANNA))
    assert "was trusted so before" in api.trust_key("anna").sentence
    assert last()[0] == 2


def test_an_expiry_is_set_and_undone(tmp_path: Path) -> None:
    api.new_key("default")
    api.trust_key("default", expires="2099-06-30T12:00:00Z")
    assert row("default").expires == "2099-06-30T12:00:00Z"
    api.trust_key("default", expires="never")
    assert row("default").expires is None


@pytest.mark.parametrize("expires", ["tomorrow", "2099-02-30", "2099-1-1", "1999-01-01", "never"])
def test_an_odd_expiry_is_refused_before_a_key_is_made(expires: str) -> None:
    with pytest.raises(UsageError, match="found expiry"):
        api.new_key("default", expires=expires)
    assert api.list_keys().keys == ()


@pytest.mark.parametrize("key", ["nobody", "gone.pub"])
def test_a_key_that_is_not_there_is_not_trusted(key: str) -> None:
    with pytest.raises(SigningError, match=r"expected the name of a key or a \.pub file"):
        api.trust_key(key)


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    api.new_key("default")
    with pytest.raises(UsageError, match="is called default already"):
        api.new_key("default")
    with pytest.raises(UsageError, match="is called default already"):
        api.trust_key(pub(tmp_path, ANNA), name="default")
    assert last()[0] == 1


def test_a_key_of_mine_that_is_not_trusted_yet_can_be(tmp_path: Path) -> None:
    api.trust_key(pub(tmp_path, ANNA), say=lambda _: None)
    api.discard_trust()
    made = api.new_key("default")
    assert made.ring.version == 1


# ---- revoking ----------------------------------------------------------------------------------


def test_a_revoked_key_stays_listed_and_signs_no_more(tmp_path: Path) -> None:
    api.new_key("default")
    api.new_key("spare")
    api.revoke_key("default")
    assert last() == (3, 1, [("default", True), ("spare", False)])
    assert (row("default").state, row("default").default) == ("revoked", False)
    signer = api.default_signer()
    assert signer is not None and signer.public_key == row("spare").public_key
    with pytest.raises(SigningError, match="the key default is revoked"):
        api.default_signer("default")


def test_revoking_twice_changes_nothing() -> None:
    api.new_key("default")
    api.new_key("spare")
    api.revoke_key("spare")
    assert api.revoke_key("spare").sentence == "spare was revoked before"
    assert last()[0] == 3


def test_a_revoked_key_is_not_trusted_again() -> None:
    api.new_key("default")
    api.new_key("spare")
    api.revoke_key("spare")
    with pytest.raises(SigningError, match="was revoked, which is for good"):
        api.trust_key("spare")


def test_a_revoked_key_is_not_taken_in_under_another_name(home: Path) -> None:
    api.new_key("default")
    api.new_key("spare")
    api.revoke_key("spare")
    with pytest.raises(SigningError, match="was revoked, which is for good"):
        api.new_key("again", existing=home / "keys" / "spare")
    assert not (home / "keys" / "again.pub").exists()
    api.new_key("again")


def test_the_last_key_is_not_revoked() -> None:
    api.new_key("default")
    with pytest.raises(SigningError, match="would leave 0 keys, and 1 must sign") as caught:
        api.revoke_key("default")
    assert "edgesdk key new" in caught.value.hint


def test_a_key_that_nobody_trusts_is_not_revoked() -> None:
    with pytest.raises(SigningError, match="no key is trusted yet"):
        api.revoke_key("default")
    api.new_key("default")
    with pytest.raises(SigningError, match=r"no trusted key is called 'nobody'.*default"):
        api.revoke_key("nobody")


def test_a_lost_key_is_revoked_by_another(home: Path) -> None:
    api.new_key("lost")
    api.new_key("default")
    (home / "keys" / "lost").unlink()
    (home / "keys" / "lost.pub").unlink()
    api.revoke_key("lost")
    assert last() == (3, 1, [("lost", True), ("default", False)])


# ---- thresholds --------------------------------------------------------------------------------


def test_a_threshold_that_my_keys_meet_holds_at_once() -> None:
    api.new_key("default")
    api.new_key("spare")
    api.set_threshold(2)
    assert last()[:2] == (3, 2)
    assert api.set_threshold(2).sentence == "the threshold was 2 before"


@pytest.mark.parametrize("threshold", [0, -1, 2, 9])
def test_a_threshold_above_the_keys_is_refused(threshold: int) -> None:
    api.new_key("default")
    with pytest.raises(SigningError, match=f"a threshold of {threshold} with 1 keys"):
        api.set_threshold(threshold)


def test_a_colleague_signs_what_my_keys_cannot(home: Path, tmp_path: Path) -> None:
    api.new_key("default")
    api.trust_key(pub(tmp_path, ANNA))
    done = api.set_threshold(2)
    assert last()[:2] == (2, 1)
    assert done.ring.pending is not None
    (want,) = done.ring.pending.wants
    assert (want.version, want.signed, want.may_sign) == (3, ("default",), ("anna",))
    assert Path(done.ring.pending.document) == home / "trust" / "pending.json"
    api.sign_trust([by_colleague(home, tmp_path, ANNA)])
    assert last()[:2] == (3, 2)
    assert api.list_keys().pending is None


def test_a_stranger_cannot_sign(home: Path, tmp_path: Path) -> None:
    api.new_key("default")
    api.trust_key(pub(tmp_path, ANNA))
    api.set_threshold(2)
    with pytest.raises(UsageError, match="holds no signature that is wanted"):
        api.sign_trust([by_colleague(home, tmp_path, MALLORY)])
    assert last()[:2] == (2, 1)


def test_a_signature_of_something_else_is_refused(tmp_path: Path) -> None:
    api.new_key("default")
    api.trust_key(pub(tmp_path, ANNA))
    api.set_threshold(2)
    other = tmp_path / "other.sig"
    other.write_bytes(ANNA.sign(b"other", TRUST_NAMESPACE))
    with pytest.raises(NotTrusted) as caught:
        api.sign_trust([other])
    assert caught.value.code == "wrong_signature"
    assert caught.value.message.startswith(f"{other}: ")


def test_while_a_change_lacks_signatures_no_other_is_made(tmp_path: Path) -> None:
    api.new_key("default")
    api.trust_key(pub(tmp_path, ANNA))
    api.set_threshold(2)
    for change in (
        lambda: api.new_key("third"),
        lambda: api.revoke_key("anna"),
        lambda: api.trust_key(pub(tmp_path, BEN)),
        lambda: api.set_threshold(1),
    ):
        with pytest.raises(UsageError, match="version 3 of the trust lacks signatures"):
            change()
    assert "third" not in {key.name for key in api.list_keys().keys}
    assert "version 3 is forgotten" in api.discard_trust().sentence
    api.trust_key(pub(tmp_path, BEN))
    assert last()[0] == 3


def test_without_a_change_there_is_nothing_to_sign() -> None:
    for act in (api.sign_trust, api.discard_trust):
        with pytest.raises(UsageError, match="no version of the trust lacks signatures"):
            act()


def test_a_change_that_somebody_else_was_faster_than_is_told(home: Path, tmp_path: Path) -> None:
    api.new_key("default")
    api.trust_key(pub(tmp_path, ANNA))
    api.set_threshold(2)
    pending = [(home / "trust" / name).read_bytes() for name in ("pending.json", "pending.sig")]
    api.discard_trust()
    api.trust_key(pub(tmp_path, BEN))
    for name, content in zip(("pending.json", "pending.sig"), pending, strict=True):
        (home / "trust" / name).write_bytes(content)
    with pytest.raises(UsageError, match="version 3 is pending, and 4 is the next"):
        api.sign_trust()


def test_a_key_of_mine_that_cannot_sign_now_is_told(home: Path, tmp_path: Path) -> None:
    api.new_key("default")
    (tmp_path / "token.pub").write_text(ANNA.text)
    said: list[str] = []
    api.new_key("token", existing=tmp_path / "token.pub", say=said.append)
    assert said == []  # The other key's signature is enough.
    api.set_threshold(2, say=said.append)
    assert re.search("token did not sign: ssh-keygen.*; .*`ssh-add -L` lists", said[0])
    assert last()[0] == 2


def test_with_others_trusted_only_a_new_key_awaits_their_signature(
    home: Path, tmp_path: Path
) -> None:
    api.trust_key(pub(tmp_path, ANNA))
    assert api.trust_documents() == ()
    api.sign_trust([by_colleague(home, tmp_path, ANNA)])
    assert last() == (1, 1, [("anna", False)])
    with pytest.raises(SigningError, match="keys of others are trusted here, and you have none"):
        api.ensure_signer(lambda _: None)
    made = api.new_key("mine")
    assert row("mine", made.ring).state == "pending"
    api.sign_trust([by_colleague(home, tmp_path, ANNA)])
    assert row("mine").state == "trusted"


# ---- who signs ---------------------------------------------------------------------------------


def test_a_newcomer_gets_a_key_and_is_told() -> None:
    said: list[str] = []
    signer = api.ensure_signer(said.append)
    assert signer.public_key == row("default").public_key
    assert "you had no key to sign with: made default" in said[0] and "Back up" in said[0]
    assert api.ensure_signer(said.append).public_key == signer.public_key
    assert len(said) == 1


def test_default_wins_over_others() -> None:
    api.new_key("other")
    api.new_key("default")
    signer = api.default_signer()
    assert signer is not None and signer.public_key == row("default").public_key


def test_several_without_a_default_must_be_named() -> None:
    api.new_key("one")
    api.new_key("two")
    with pytest.raises(UsageError, match="found the keys one, two"):
        api.default_signer()
    signer = api.default_signer("two")
    assert signer is not None and signer.public_key == row("two").public_key


def test_a_key_file_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "id"
    path.write_bytes(ANNA.pem)
    path.chmod(0o600)
    signer = api.ensure_signer(lambda _: None, str(path))
    assert signer.public_key == ANNA.text


def test_a_key_that_is_not_there_is_not_made() -> None:
    with pytest.raises(SigningError, match=r"found key 'mine', expected .*you have none"):
        api.ensure_signer(lambda _: None, "mine")
    assert api.list_keys().keys == ()


def test_an_expired_key_does_not_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    api.new_key("default", expires="2099-01-01")
    monkeypatch.setattr("time.time", lambda: 4_100_000_000.0)
    assert row("default").state == "expired"
    with pytest.raises(SigningError, match="the key default is expired"):
        api.default_signer("default")


def test_of_only_expired_keys_none_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    api.new_key("default", expires="2099-01-01")
    monkeypatch.setattr("time.time", lambda: 4_100_000_000.0)
    with pytest.raises(UsageError, match="none of which is the one to sign with"):
        api.ensure_signer(lambda _: None)


# ---- who is believed ---------------------------------------------------------------------------


def test_my_own_signature_is_believed() -> None:
    signer = api.ensure_signer(lambda _: None)
    signature = signer.sign(MANIFEST, PACKAGE_NAMESPACE)
    assert api.require_trusted(MANIFEST, signature, PACKAGE_NAMESPACE).name == "default"


@pytest.mark.parametrize(
    ("code", "signature"),
    [
        ("unsigned", b""),
        ("unknown_key", MALLORY.sign(MANIFEST, PACKAGE_NAMESPACE)),
        ("malformed_signature", b"junk"),
    ],
)
def test_others_are_not(code: str, signature: bytes) -> None:
    api.new_key("default")
    with pytest.raises(NotTrusted) as caught:
        api.require_trusted(MANIFEST, signature, PACKAGE_NAMESPACE)
    assert caught.value.code == code


def test_without_a_trust_nothing_is_believed() -> None:
    with pytest.raises(NotTrusted) as caught:
        api.require_trusted(MANIFEST, ANNA.sign(MANIFEST, PACKAGE_NAMESPACE), PACKAGE_NAMESPACE)
    assert caught.value.code == "no_trust"


def test_signatures_are_the_same_on_every_run(home: Path) -> None:
    """So that building a package twice gives the same bytes."""
    api.new_key("default")
    once = open_signer(home / "keys" / "default").sign(MANIFEST, PACKAGE_NAMESPACE)
    assert open_signer(home / "keys" / "default").sign(MANIFEST, PACKAGE_NAMESPACE) == once
    assert sshsig.parse(once).hash_algorithm == "sha512"
