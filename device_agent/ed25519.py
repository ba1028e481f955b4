"""Ed25519 (RFC 8032): checks signatures. Makes none, and thus holds no secret and times nothing.

Where RFC 8032 leaves a choice, the strict one is taken, so that one signature has one form:

* S must be below L, and R and the public key must be the one encoding of their point;
* the equation is the one without cofactor, [S]B = R + [k]A, as OpenSSL has it;
* a public key of small order is none: anybody can sign for it. OpenSSL takes it, and also public
  keys in a second encoding; in all else the two agree.

Tested against the RFC's vectors, the cases of Wycheproof's, and `cryptography`.
"""

from __future__ import annotations

import hashlib
from typing import Optional, Tuple

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)

_Point = Tuple[int, int, int, int]
"""Extended coordinates X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z."""

_NEUTRAL = (0, 1, 1, 0)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature of 64 bytes over a message is by the owner of a public key of 32 bytes.

    Whatever is of another length, or not of the form that the module's docstring asks for, is not.
    """
    point = _public_point(public_key)
    if point is None or len(signature) != SIGNATURE_BYTES:
        return False
    encoded_r, encoded_s = signature[:32], signature[32:]
    s = int.from_bytes(encoded_s, "little")
    if s >= _L:
        return False
    digest = hashlib.sha512(encoded_r + public_key + message).digest()
    k = int.from_bytes(digest, "little") % _L
    # Comparing encodings also refuses every R that is not the one encoding of its point.
    return _encode(_sum_of_multiples(s, _BASE, k, _negative(point))) == encoded_r


def is_public_key(encoded: bytes) -> bool:
    """Whether these bytes are a public key that a signature can be checked with."""
    return _public_point(encoded) is not None


def _public_point(encoded: bytes) -> Optional[_Point]:
    point = _decode(encoded)
    if point is None or _is_neutral(_double(_double(_double(point)))):
        return None
    return point


def _decode(encoded: bytes) -> Optional[_Point]:
    """The point of 32 bytes; None unless they are its only encoding (RFC 8032, 5.1.3)."""
    if len(encoded) != PUBLIC_KEY_BYTES:
        return None
    number = int.from_bytes(encoded, "little")
    y, sign = number & (2**255 - 1), number >> 255
    if y >= _P:
        return None
    x = _x_of(y)
    if x is None or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _x_of(y: int) -> Optional[int]:
    """One of the two x with -x^2 + y^2 = 1 + d x^2 y^2, if there are."""
    u, v = y * y - 1, _D * y * y + 1
    x = u * v**3 * pow(u * v**7, (_P - 5) // 8, _P) % _P
    if (v * x * x - u) % _P != 0:
        x = x * _ROOT_OF_MINUS_ONE % _P
    return x if (v * x * x - u) % _P == 0 else None


def _encode(point: _Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, _P - 2, _P)
    return (y * inverse % _P | (x * inverse % _P & 1) << 255).to_bytes(32, "little")


def _negative(point: _Point) -> _Point:
    x, y, z, t = point
    return _P - x, y, z, _P - t


def _is_neutral(point: _Point) -> bool:
    x, y, z, _ = point
    return x % _P == 0 and (y - z) % _P == 0


def _double(point: _Point) -> _Point:
    """Hisil and others 2008, dbl-2008-hwcd with a = -1."""
    x, y, z, _ = point
    a, b = x * x, y * y
    h = a + b
    e = (h - (x + y) * (x + y)) % _P
    g = (a - b) % _P
    f = (2 * z * z + g) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _add(one: _Point, other: _Point) -> _Point:
    """Hisil and others 2008, add-2008-hwcd-3: complete, so it doubles and adds nothing as well."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a = (y1 - x1) * (y2 - x2)
    b = (y1 + x1) * (y2 + x2)
    c = 2 * _D * t1 % _P * t2
    d = 2 * z1 * z2
    e, f, g, h = (b - a) % _P, (d - c) % _P, (d + c) % _P, (b + a) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _sum_of_multiples(m: int, one: _Point, n: int, other: _Point) -> _Point:
    """m times one point plus n times another, in one pass over the bits of both."""
    table = (_NEUTRAL, one, other, _add(one, other))
    total = _NEUTRAL
    for bit in range(max(m.bit_length(), n.bit_length()) - 1, -1, -1):
        total = _double(total)
        chosen = (m >> bit & 1) | (n >> bit & 1) << 1
        if chosen:
            total = _add(total, table[chosen])
    return total


def _base_point() -> _Point:
    base = _decode((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))
    assert base is not None
    return base


_BASE = _base_point()
