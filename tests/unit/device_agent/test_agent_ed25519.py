"""Ed25519: the RFC's vectors, the cases of Wycheproof's, and whatever `cryptography` says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import old_pythons
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from device_agent.ed25519 import is_public_key, verify

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493

# RFC 8032, 7.1: public key, message, signature. The message of "1024" is left out for its length.
RFC_VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
MESSAGE = b"the canonical bytes of a manifest"
GOOD = KEY.sign(MESSAGE)
R, S = GOOD[:32], GOOD[32:]


def number(encoded: bytes) -> int:
    return int.from_bytes(encoded, "little")


def encoded(value: int) -> bytes:
    return value.to_bytes(32, "little")


def by_cryptography(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def malformed() -> Iterator[tuple[str, bytes]]:
    """Signatures in the shapes that Wycheproof's vectors have, none of which is one."""
    yield "empty", b""
    yield "S missing", R
    yield "a byte short", GOOD[:-1]
    yield "a byte long", GOOD + b"\0"
    yield "the key appended", GOOD + PUBLIC
    yield "a byte before", b"\0" + GOOD
    yield "a byte before S", R + b"\0" + S
    yield "S without a byte", R + S[1:]
    yield "all bits of R flipped", bytes(byte ^ 0xFF for byte in R) + S
    yield "R zero", bytes(32) + S
    yield "R no point", encoded(2) + S
    yield "R above p", encoded(P) + S
    yield "R with y = 1 and a sign", encoded(1 | 1 << 255) + S
    for bit in (0, 1, 2, 7, 8, 16, 31, 32, 63, 64, 97, 127, 240, 247, 248, 253, 254, 255):
        yield f"bit {bit} of R flipped", encoded(number(R) ^ 1 << bit) + S
    for factor in (1, 2, 4, 8):
        yield f"S + {factor} L", R + encoded(number(S) + factor * L)
    for power in (253, 254, 255):
        yield f"S + 2^{power}", R + encoded(number(S) + 2**power)
    special = {"0": 0, "1": 1, "L - 1": L - 1, "L": L, "L + 1": L + 1, "p": P, "all": 2**256 - 1}
    for r_name, r in special.items():
        for s_name, s in special.items():
            yield f"R {r_name}, S {s_name}", encoded(r) + encoded(s)


MALFORMED = dict(malformed())

# The eight points of small order, by their encodings: y and the sign of x.
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL_ORDER = {
    "order 1": encoded(1),
    "order 2": encoded(P - 1),
    "order 4": encoded(0),
    "order 4, negative": encoded(1 << 255),
    "order 8": encoded(_ORDER_8),
    "order 8, negative": encoded(_ORDER_8 | 1 << 255),
    "order 8, opposite": encoded(P - _ORDER_8),
    "order 8, opposite and negative": encoded((P - _ORDER_8) | 1 << 255),
}
NOT_CANONICAL = {
    "y = p + 1": encoded(P + 1),
    "y = p": encoded(P),
    "y = 2^255 - 1": encoded(2**255 - 1),
    "x = 0 with a sign": encoded(1 | 1 << 255),
    "y = -1, x = 0 with a sign": encoded(P - 1 | 1 << 255),
}


@pytest.mark.parametrize("vector", RFC_VECTORS, ids=["1", "2", "3", "SHA(abc)"])
def test_the_rfcs_vectors_hold(vector: tuple[str, str, str]) -> None:
    public_key, message, signature = map(bytes.fromhex, vector)
    assert verify(public_key, message, signature)
    assert not verify(public_key, message + b"x", signature)


@pytest.mark.parametrize("signature", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_is_refused(signature: bytes) -> None:
    assert not verify(PUBLIC, MESSAGE, signature)
    assert not by_cryptography(PUBLIC, MESSAGE, signature)


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(512):
        flipped = (int.from_bytes(GOOD, "little") ^ 1 << bit).to_bytes(64, "little")
        assert not verify(PUBLIC, MESSAGE, flipped), bit


def test_another_key_has_not_signed() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    assert not verify(other, MESSAGE, GOOD)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_none(length: int) -> None:
    assert not is_public_key(bytes([9]) * length)
    assert not verify(bytes([9]) * length, MESSAGE, GOOD)


@pytest.mark.parametrize("key", SMALL_ORDER.values(), ids=SMALL_ORDER.keys())
def test_nobody_signs_with_a_key_of_small_order(key: bytes) -> None:
    # R and S stand for nothing; the equation holds wherever 8 divides the hash.
    forged = [
        (message, encoded(1) + bytes(32))
        for message in (b"%d" % count for count in range(64))
        if by_cryptography(key, message, encoded(1) + bytes(32))
    ]
    assert forged, "cryptography takes this forgery; if it does not any more, so much the better"
    assert not any(verify(key, message, signature) for message, signature in forged)
    assert not is_public_key(key)


@pytest.mark.parametrize("key", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_a_second_encoding_of_a_key_is_none(key: bytes) -> None:
    assert not is_public_key(key)


def test_a_signature_with_r_of_small_order_is_as_openssl_has_it() -> None:
    """Only the owner of the key can make one: S = k a. The equation holds, so it is one."""
    secret = hashlib.sha512(bytes(range(32))).digest()[:32]
    a = number(secret) & (2**254 - 8) | 2**254
    neutral = encoded(1)
    k = number(hashlib.sha512(neutral + PUBLIC + MESSAGE).digest()) % L
    signature = neutral + encoded(k * a % L)
    assert verify(PUBLIC, MESSAGE, signature)
    assert by_cryptography(PUBLIC, MESSAGE, signature)


def test_s_just_below_l_is_taken() -> None:
    """The largest S that the RFC allows, found by trying messages until S is in the top 1/32."""
    for count in range(10_000):
        message = b"%d" % count
        signature = KEY.sign(message)
        if number(signature[32:]) > L - L // 32:
            assert verify(PUBLIC, message, signature)
            assert not verify(PUBLIC, message, signature[:32] + encoded(number(signature[32:]) + L))
            return
    raise AssertionError("no such S in ten thousand signatures")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.data())
def test_it_agrees_with_cryptography(seed: bytes, message: bytes, data: st.DataObject) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public_key = key.public_key().public_bytes_raw()
    signature = key.sign(message)
    assert verify(public_key, message, signature)
    fields = [bytearray(public_key), bytearray(message), bytearray(signature)]
    for _ in range(data.draw(st.integers(1, 3))):
        field = fields[data.draw(st.integers(0, 2))]
        if field:
            field[data.draw(st.integers(0, len(field) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged = tuple(map(bytes, fields))
    assert verify(*damaged) == by_cryptography(*damaged)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=9), st.binary(max_size=70))
def test_no_bytes_make_it_raise(key: bytes, message: bytes, signature: bytes) -> None:
    assert verify(key, message, signature) == by_cryptography(key, message, signature)


_PROGRAM = """
import json, sys
from device_agent.ed25519 import verify
cases = json.load(sys.stdin)
print(json.dumps([verify(*map(bytes.fromhex, case)) for case in cases]))
"""


@pytest.mark.skipif(not old_pythons.pythons(), reason="no pyenv with other Pythons")
@pytest.mark.parametrize("python", old_pythons.pythons(), ids=old_pythons.name)
def test_every_python_judges_alike(python: Path) -> None:
    cases = [(PUBLIC.hex(), MESSAGE.hex(), bad.hex()) for bad in MALFORMED.values()]
    cases += RFC_VECTORS
    expected = [False] * len(MALFORMED) + [True] * len(RFC_VECTORS)
    assert json.loads(old_pythons.said(python, _PROGRAM, json.dumps(cases))) == expected
