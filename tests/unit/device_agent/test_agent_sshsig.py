"""Signatures in OpenSSH's form: what `ssh-keygen` makes is read, and nothing else is."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import string as string_module
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import old_pythons
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openssh import needs_openssh, openssh_takes, private_file
from signatures import ANNA, BEN, HardwareKey, Key, string

from device_agent import sshsig
from device_agent.sshsig import BadSignature, Signature, WrongContent, WrongNamespace

MESSAGE = b'{"format":"edgepkg/1"}'
PURPOSE = "edgesdk-package"
PADDED = "edgesdk-padded"
"""A namespace that makes a blob of a length that base64 has to pad."""
GOOD = ANNA.sign(MESSAGE, PURPOSE)
TOKEN = HardwareKey("token")


# ---- against OpenSSH ---------------------------------------------------------------------------


def signed_by_openssh(folder: Path, namespace: str, algorithm: str = "sha512") -> bytes:
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-O", f"hashalg={algorithm}", "-n", namespace]
    done = subprocess.run(
        [*argv, "-f", private_file(folder, ANNA)], input=MESSAGE, capture_output=True, check=True
    )
    return done.stdout


@needs_openssh
@pytest.mark.parametrize("algorithm", ["sha512", "sha256"])
@pytest.mark.parametrize("length", [1, 2, 3, 15, 40, 41, 42, 43, 44, 45, 46, 47, 48, 200])
def test_openssh_writes_the_same_bytes(tmp_path: Path, length: int, algorithm: str) -> None:
    namespace = "n" * length
    armored = signed_by_openssh(tmp_path, namespace, algorithm)
    assert armored == ANNA.sign(MESSAGE, namespace, algorithm)
    assert sshsig.armor(sshsig.parse(armored)) == armored
    assert sshsig.verify(armored, MESSAGE, namespace) == ANNA.blob


@needs_openssh
@pytest.mark.parametrize("key", [ANNA, TOKEN], ids=["plain", "hardware"])
def test_openssh_takes_what_we_take(tmp_path: Path, key: Key) -> None:
    armored = key.sign(MESSAGE, PURPOSE)
    assert sshsig.verify(armored, MESSAGE, PURPOSE) == key.blob
    allowed = f"anna {key.text}\n"
    assert openssh_takes(tmp_path, armored, MESSAGE, namespace=PURPOSE, allowed=allowed)


@needs_openssh
@pytest.mark.parametrize("key", [ANNA, TOKEN], ids=["plain", "hardware"])
def test_openssh_refuses_what_we_refuse(tmp_path: Path, key: Key) -> None:
    armored = key.sign(MESSAGE, PURPOSE)
    allowed = f"anna {key.text}\n"
    with pytest.raises(WrongNamespace, match="made for 'edgesdk-package', expected 'file'"):
        sshsig.verify(armored, MESSAGE, "file")
    assert not openssh_takes(tmp_path, armored, MESSAGE, namespace="file", allowed=allowed)
    with pytest.raises(WrongContent):
        sshsig.verify(armored, MESSAGE + b" ", PURPOSE)
    assert not openssh_takes(tmp_path, armored, MESSAGE + b" ", namespace=PURPOSE, allowed=allowed)


@needs_openssh
def test_keys_read_as_openssh_shows_them(tmp_path: Path) -> None:
    path = private_file(tmp_path, ANNA)
    argv = ["ssh-keygen", "-y", "-f", path]
    shown = subprocess.run(argv, capture_output=True, check=True, text=True).stdout
    assert " ".join(shown.split()[:2]) == ANNA.text
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", path], capture_output=True, check=True, text=True
    )
    assert listed.stdout.split()[1] == sshsig.fingerprint(ANNA.blob)


# ---- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [ANNA, TOKEN], ids=["plain", "hardware"])
def test_every_flipped_byte_is_refused(key: Key) -> None:
    good = key.sign(MESSAGE, PURPOSE)
    for at in range(len(good)):
        for flip in (0x01, 0x20, 0x80):
            damaged = good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :]
            with pytest.raises(BadSignature):
                sshsig.verify(damaged, MESSAGE, PURPOSE)


def test_every_cut_is_refused() -> None:
    for end in range(len(GOOD)):
        with pytest.raises(BadSignature):
            sshsig.verify(GOOD[:end], MESSAGE, PURPOSE)


def blob_of(armored: bytes) -> bytes:
    return base64.b64decode(b"".join(armored.splitlines()[1:-1]))


def armored_blob(blob: bytes, width: int = 70) -> bytes:
    text = base64.b64encode(blob).decode()
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    begin, end = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
    return "\n".join([begin, *lines, end, ""]).encode()


def lines_of(armored: bytes) -> list[bytes]:
    return armored.splitlines(keepends=True)


def other_low_bit(found: re.Match[bytes]) -> bytes:
    """The base64 letter beside, which stands for the same bytes where padding follows."""
    letters = string_module.ascii_uppercase + string_module.ascii_lowercase + "0123456789+/"
    return letters[letters.index(found[1].decode()) ^ 1].encode() + b"="


OTHER_FORMS: dict[str, Callable[[bytes], bytes]] = {
    "lines of 76": lambda good: armored_blob(blob_of(good), 76),
    "one line": lambda good: armored_blob(blob_of(good), 4000),
    "carriage returns": lambda good: good.replace(b"\n", b"\r\n"),
    "no newline at the end": lambda good: good[:-1],
    "a newline more": lambda good: good + b"\n",
    "an empty line": lambda good: good.replace(b"\n", b"\n\n", 1),
    "a space": lambda good: good.replace(b"\n", b" \n", 1),
    "text before": lambda good: b"signature:\n" + good,
    "no padding": lambda good: good.replace(b"=", b""),
    "other bits in the padding": lambda good: re.sub(rb"(.)=", other_low_bit, good, count=1),
    "a byte more in the blob": lambda good: armored_blob(blob_of(good) + b"\0"),
    "version 2": lambda good: armored_blob(blob_of(good).replace(b"\0\0\0\1", b"\0\0\0\2", 1)),
    "another magic": lambda good: armored_blob(b"SSHSIH" + blob_of(good)[6:]),
    "nothing": lambda good: b"",
    "armor alone": lambda good: b"".join([lines_of(good)[0], lines_of(good)[-1]]),
    "end before begin": lambda good: b"".join(reversed(lines_of(good))),
    "PEM of a key": lambda good: ANNA.pem,
    "5000 bytes": lambda good: armored_blob(bytes(5000)),
}


@pytest.mark.parametrize("change", OTHER_FORMS.values(), ids=OTHER_FORMS.keys())
def test_any_other_form_is_refused(change: Callable[[bytes], bytes]) -> None:
    good = ANNA.sign(MESSAGE, PADDED)
    assert change(good) != good
    with pytest.raises(BadSignature):
        sshsig.verify(change(good), MESSAGE, PADDED)


def test_a_signature_has_a_largest_size() -> None:
    """Nothing of it is decoded first."""
    with pytest.raises(BadSignature, match="more than 4096 bytes"):
        sshsig.parse(ANNA.sign(MESSAGE, PURPOSE) * 14)


def raw(
    *,
    key: bytes = ANNA.blob,
    namespace: bytes = PURPOSE.encode(),
    reserved: bytes = b"",
    algorithm: bytes = b"sha512",
    proof: bytes | None = None,
    more: bytes = b"",
) -> bytes:
    """An armored signature with odd fields; mathematically right for them wherever it can be."""
    hashed = hashlib.new("sha512" if algorithm not in (b"sha256", b"md5") else algorithm.decode())
    hashed.update(MESSAGE)
    to_sign = b"SSHSIG" + b"".join(map(string, (namespace, reserved, algorithm, hashed.digest())))
    wire = sshsig.plain_signature(ANNA.private.sign(to_sign)) if proof is None else proof
    fields = b"".join(map(string, (key, namespace, reserved, algorithm, wire)))
    return armored_blob(b"SSHSIG" + struct.pack(">I", 1) + fields + more)


RSA = string(b"ssh-rsa") + string(b"\1\0\1") + string(bytes(128))
IDENTITY = string(b"ssh-ed25519") + string((1).to_bytes(32, "little"))
ODD_FIELDS = {
    "a reserved field": (raw(reserved=b"tag"), "later version"),
    "bytes after the fields": (raw(more=string(b"")), "later version"),
    "MD5": (raw(algorithm=b"md5"), "found hash 'md5', expected sha512 or sha256"),
    "an empty namespace": (raw(namespace=b""), "expected printable ASCII"),
    "a namespace with a newline": (raw(namespace=b"a\nb"), "expected printable ASCII"),
    "a namespace in UTF-8": (raw(namespace="é".encode()), "expected printable ASCII"),
    "an RSA key": (raw(key=RSA), "found a key of type 'ssh-rsa', expected ssh-ed25519 or sk-"),
    "a key of small order": (raw(key=IDENTITY), "is not one"),
    "a key with more": (raw(key=ANNA.blob + b"\0"), "is not one"),
    "a signature of another type": (
        raw(proof=string(b"ssh-rsa") + string(bytes(64))),
        "not of its key's type",
    ),
    "a short signature": (raw(proof=sshsig.plain_signature(bytes(63))), "63 bytes, expected 64"),
    "a signature with more": (
        raw(proof=sshsig.plain_signature(bytes(64)) + b"\0"),
        "not of its key's type",
    ),
    "a length past the end": (
        armored_blob(b"SSHSIG\0\0\0\1\xff\xff\xff\xff"),
        "a length of 4294967295 with 0 bytes left",
    ),
}


def test_a_signature_put_together_by_hand_is_one() -> None:
    assert raw() == GOOD


@pytest.mark.parametrize(("armored", "told"), ODD_FIELDS.values(), ids=ODD_FIELDS.keys())
def test_odd_fields_are_refused(armored: bytes, told: str) -> None:
    with pytest.raises(BadSignature, match=re.escape(told)):
        sshsig.verify(armored, MESSAGE, PURPOSE)


@given(st.binary(max_size=400))
def test_no_bytes_make_it_raise_otherwise(junk: bytes) -> None:
    for armored in (junk, armored_blob(junk), armored_blob(b"SSHSIG\0\0\0\1" + junk)):
        with pytest.raises(BadSignature):
            sshsig.verify(armored, MESSAGE, PURPOSE)


# ---- hardware keys -----------------------------------------------------------------------------


def test_a_hardware_key_must_have_been_touched() -> None:
    untouched = HardwareKey("token", flags=0).sign(MESSAGE, PURPOSE)
    with pytest.raises(BadSignature, match="without being touched"):
        sshsig.verify(untouched, MESSAGE, PURPOSE)


def test_a_hardware_keys_application_is_signed() -> None:
    other = sshsig.parse(HardwareKey("token", application=b"ssh:other").sign(MESSAGE, PURPOSE))
    swapped = Signature(TOKEN.blob, PURPOSE, "sha512", other.signature)
    with pytest.raises(WrongContent):
        sshsig.verify(sshsig.armor(swapped), MESSAGE, PURPOSE)


def test_a_plain_signature_is_not_a_hardware_keys() -> None:
    plain = sshsig.parse(Key("token").sign(MESSAGE, PURPOSE))
    swapped = Signature(TOKEN.blob, PURPOSE, "sha512", plain.signature)
    with pytest.raises(BadSignature, match="not of its key's type"):
        sshsig.verify(sshsig.armor(swapped), MESSAGE, PURPOSE)


# ---- several, and keys as text -----------------------------------------------------------------


def test_signatures_one_after_the_other_are_split() -> None:
    other = BEN.sign(MESSAGE, PURPOSE)
    assert sshsig.split(b"") == ()
    assert sshsig.split(GOOD + other) == (GOOD, other)
    assert sshsig.split(GOOD * 8) == (GOOD,) * 8


@pytest.mark.parametrize(
    "data",
    [
        GOOD * 9,
        GOOD + b"\n",
        GOOD + b"x",
        b"\n" + GOOD,
        GOOD + b"\n" + GOOD,
        GOOD + GOOD[:-1],
        b"x",
    ],
)
def test_anything_beside_them_is_refused(data: bytes) -> None:
    with pytest.raises(BadSignature):
        sshsig.split(data)


@pytest.mark.parametrize("key", [ANNA, TOKEN], ids=["plain", "hardware"])
def test_key_texts_survive(key: Key) -> None:
    assert sshsig.key_blob(sshsig.key_text(key.blob)) == key.blob
    assert sshsig.key_point(key.blob) == key.point


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        ANNA.text + " anna@desk",
        ANNA.text + "\n",
        ANNA.text.replace(" ", "  "),
        ANNA.text.replace("ssh-ed25519", "ssh-rsa"),
        ANNA.text.partition(" ")[2],
        ANNA.text[:-4],
        "ssh-ed25519 é",
    ],
)
def test_any_other_key_text_is_refused(text: str) -> None:
    with pytest.raises(BadSignature):
        sshsig.key_blob(text)


# ---- every Python ------------------------------------------------------------------------------

_PROGRAM = """
import json, sys
from device_agent import sshsig
def judged(case):
    try:
        return sshsig.verify(bytes.fromhex(case), bytes.fromhex(message), "edgesdk-package").hex()
    except sshsig.BadSignature as error:
        return type(error).__name__
message, cases = json.load(sys.stdin)
print(json.dumps([judged(case) for case in cases]))
"""


@pytest.mark.skipif(not old_pythons.pythons(), reason="no pyenv with other Pythons")
@pytest.mark.parametrize("python", old_pythons.pythons(), ids=old_pythons.name)
def test_every_python_judges_alike(python: Path) -> None:
    token, wrong = TOKEN.sign(MESSAGE, PURPOSE), ANNA.sign(b"other", PURPOSE)
    cases = [GOOD, token, wrong, ANNA.sign(MESSAGE, "file")]
    cases += [change(GOOD) for change in OTHER_FORMS.values() if change(GOOD) != GOOD]
    cases += [GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :] for at in range(0, len(GOOD), 5)]
    stdin = json.dumps([MESSAGE.hex(), [case.hex() for case in cases]])
    said = json.loads(old_pythons.said(python, _PROGRAM, stdin))
    assert said[:4] == [ANNA.blob.hex(), TOKEN.blob.hex(), "WrongContent", "WrongNamespace"]
    assert set(said[4:]) <= {"BadSignature", "WrongContent", "WrongNamespace"}
