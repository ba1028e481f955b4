"""Signatures as `ssh-keygen -Y sign` writes them (OpenSSH's PROTOCOL.sshsig), by Ed25519 keys.

Read: plain keys ("ssh-ed25519") and hardware keys ("sk-ssh-ed25519@openssh.com", touched by their
owner). Other key types are refused. One signature has one form: the bytes must be those that
OpenSSH's writer makes of what is in them, so no flipped byte goes unnoticed. A public key is
handled as its SSH wire form ("blob"); `key_text` and `key_blob` translate to the text form of .pub
files. Nothing here decides whom to believe: `device_agent.trust` does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from typing import List, Tuple

from device_agent import ed25519
from device_agent.records import record

PLAIN_KEY = "ssh-ed25519"
HARDWARE_KEY = "sk-ssh-ed25519@openssh.com"
MOST_SIGNATURES = 8
"""In one signature member or file."""

_MAGIC = b"SSHSIG"
_VERSION = 1
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_BEGIN = b"-----BEGIN SSH SIGNATURE-----\n"
_END = b"-----END SSH SIGNATURE-----\n"
_LINE_CHARACTERS = 70
_MOST_BYTES = 4096
_USER_PRESENT = 0x01
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,255}")


class BadSignature(Exception):
    """Bytes that are no signature, or not the signature of this message in this namespace."""


class WrongNamespace(BadSignature):
    """A signature that was made for another purpose."""


class WrongContent(BadSignature):
    """A well-formed signature, for this purpose, of something else."""


@record(frozen=True)
class Signature:
    """What one armored signature says. Its bytes have the right form; nothing is verified yet.

    Args:
        public_key: of who claims to have signed; SSH wire form.
        namespace: what it was signed for.
        hash_algorithm: "sha512" or "sha256", of the message.
        signature: SSH wire form.
    """

    public_key: bytes
    namespace: str
    hash_algorithm: str
    signature: bytes


def split(data: bytes) -> Tuple[bytes, ...]:
    """The armored signatures of bytes that are nothing but up to 8 of them; none of no bytes.

    Raises:
        BadSignature: anything else.
    """
    parts: List[bytes] = []
    rest = data
    while rest:
        if len(parts) == MOST_SIGNATURES:
            raise BadSignature("found more than %d signatures" % MOST_SIGNATURES)
        end = rest.find(_END) + len(_END)
        if end < len(_END):
            raise BadSignature("found %d bytes that are no SSH signature" % len(rest))
        parse(rest[:end])
        parts.append(rest[:end])
        rest = rest[end:]
    return tuple(parts)


def parse(armored: bytes) -> Signature:
    """Read one armored signature.

    Raises:
        BadSignature: not exactly what OpenSSH writes, or by a key that is not Ed25519.
    """
    signature = _from_blob(_dearmored(armored))
    if armor(signature) != armored:
        raise BadSignature("the signature is not in the form that OpenSSH writes")
    return signature


def armor(signature: Signature) -> bytes:
    """The text form, as OpenSSH's writer makes it: lines of 70 characters."""
    blob = (
        _MAGIC
        + struct.pack(">I", _VERSION)
        + _string(signature.public_key)
        + _string(signature.namespace.encode("ascii"))
        + _string(b"")
        + _string(signature.hash_algorithm.encode("ascii"))
        + _string(signature.signature)
    )
    text = base64.b64encode(blob)
    starts = range(0, len(text), _LINE_CHARACTERS)
    return _BEGIN + b"".join(text[at : at + _LINE_CHARACTERS] + b"\n" for at in starts) + _END


def signed_data(message: bytes, namespace: str, hash_algorithm: str = "sha512") -> bytes:
    """The bytes that the key itself signs.

    Raises:
        BadSignature: another hash algorithm than "sha512" and "sha256", or no namespace.
    """
    if hash_algorithm not in _HASHES:
        raise BadSignature("found hash %r, expected sha512 or sha256" % hash_algorithm)
    if not _PRINTABLE.fullmatch(namespace):
        raise BadSignature("found namespace %r, expected printable ASCII" % namespace)
    return (
        _MAGIC
        + _string(namespace.encode("ascii"))
        + _string(b"")
        + _string(hash_algorithm.encode("ascii"))
        + _string(_HASHES[hash_algorithm](message).digest())
    )


def verify(armored: bytes, message: bytes, namespace: str) -> bytes:
    """Check one armored signature, and return the public key (SSH wire form) that made it.

    Raises:
        WrongNamespace: it was made for another purpose.
        WrongContent: it does not match the message.
        BadSignature: it is no signature.
    """
    signature = parse(armored)
    if signature.namespace != namespace:
        raise WrongNamespace(
            "the signature was made for %r, expected %r" % (signature.namespace, namespace)
        )
    to_sign = signed_data(message, namespace, signature.hash_algorithm)
    kind, point, application = _key_parts(signature.public_key)
    proof, appendix = _signature_parts(signature.signature, kind)
    if kind == HARDWARE_KEY:
        hashed = hashlib.sha256(to_sign).digest()
        to_sign = hashlib.sha256(application).digest() + appendix + hashed
    if not ed25519.verify(point, to_sign, proof):
        raise WrongContent("the signature does not match the content")
    return signature.public_key


def plain_signature(proof: bytes) -> bytes:
    """The wire form of the 64 bytes that a plain key signed with."""
    return _string(PLAIN_KEY.encode("ascii")) + _string(proof)


# ---- keys ------------------------------------------------------------------------------------


def plain_key(point: bytes) -> bytes:
    """The wire form of the plain key with these 32 bytes (RFC 8709).

    Raises:
        BadSignature: they are no public key.
    """
    blob = _string(PLAIN_KEY.encode("ascii")) + _string(point)
    _key_parts(blob)
    return blob


def key_point(blob: bytes) -> bytes:
    """The 32 bytes of the key in a wire form: two keys that share them have one owner.

    Raises:
        BadSignature: no Ed25519 key.
    """
    return _key_parts(blob)[1]


def key_text(blob: bytes) -> str:
    """The text form, "ssh-ed25519 AAAA...", of a key's wire form.

    Raises:
        BadSignature: no Ed25519 key.
    """
    return "%s %s" % (_key_parts(blob)[0], base64.b64encode(blob).decode("ascii"))


def key_blob(text: str) -> bytes:
    """The wire form of "ssh-ed25519 AAAA...", without a comment.

    Raises:
        BadSignature: not exactly such a text.
    """
    _, _, encoded = text.partition(" ")
    try:
        blob = base64.b64decode(encoded.encode("ascii"), validate=True)
    except ValueError as error:
        raise BadSignature("found key %r, expected a type and base64" % text[:120]) from error
    if key_text(blob) != text:
        raise BadSignature("found key %r, expected a type and a key of that type" % text[:120])
    return blob


def fingerprint(blob: bytes) -> str:
    """SHA-256 fingerprint of a key's wire form, as OpenSSH shows it."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii")
    return "SHA256:" + digest.rstrip("=")


def _key_parts(blob: bytes) -> Tuple[str, bytes, bytes]:
    """Type, the 32 bytes of the key, and a hardware key's application (else empty)."""
    kind_bytes, rest = _take_string(blob)
    kind = kind_bytes.decode("ascii", "replace")
    if kind not in (PLAIN_KEY, HARDWARE_KEY):
        raise BadSignature(
            "found a key of type %r, expected %s or %s" % (kind, PLAIN_KEY, HARDWARE_KEY)
        )
    point, rest = _take_string(rest)
    application = b""
    if kind == HARDWARE_KEY:
        application, rest = _take_string(rest)
    if rest or not ed25519.is_public_key(point):
        raise BadSignature("found a %s key that is not one" % kind)
    return kind, point, application


def _signature_parts(blob: bytes, kind: str) -> Tuple[bytes, bytes]:
    """The 64 bytes of the signature, and what a hardware key signs with it: flags and counter."""
    found, rest = _take_string(blob)
    proof, appendix = _take_string(rest)
    if found != kind.encode("ascii") or len(appendix) != (5 if kind == HARDWARE_KEY else 0):
        raise BadSignature("the signature is not of its key's type %s" % kind)
    if len(proof) != ed25519.SIGNATURE_BYTES:
        raise BadSignature(
            "found a signature of %d bytes, expected %d" % (len(proof), ed25519.SIGNATURE_BYTES)
        )
    if appendix and not appendix[0] & _USER_PRESENT:
        raise BadSignature("the hardware key signed without being touched")
    return proof, appendix


# ---- bytes -----------------------------------------------------------------------------------


def _dearmored(armored: bytes) -> bytes:
    if len(armored) > _MOST_BYTES:
        raise BadSignature("found a signature of more than %d bytes" % _MOST_BYTES)
    if not (armored.startswith(_BEGIN) and armored.endswith(_END)):
        raise BadSignature("found no SSH signature")
    text = armored[len(_BEGIN) : -len(_END)].replace(b"\n", b"")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadSignature("the signature is not base64") from error


def _from_blob(blob: bytes) -> Signature:
    header = _MAGIC + struct.pack(">I", _VERSION)
    if not blob.startswith(header):
        raise BadSignature("found no SSH signature of version %d" % _VERSION)
    public_key, rest = _take_string(blob[len(header) :])
    namespace, rest = _take_string(rest)
    reserved, rest = _take_string(rest)
    hash_algorithm, rest = _take_string(rest)
    proof, rest = _take_string(rest)
    if reserved or rest:
        raise BadSignature("the signature has fields of a later version")
    signature = Signature(public_key, _ascii(namespace), _ascii(hash_algorithm), proof)
    if signature.hash_algorithm not in _HASHES:
        raise BadSignature("found hash %r, expected sha512 or sha256" % signature.hash_algorithm)
    kind, _, _ = _key_parts(public_key)
    _signature_parts(proof, kind)
    return signature


def _ascii(name: bytes) -> str:
    text = name.decode("ascii", "replace")
    if not _PRINTABLE.fullmatch(text):
        raise BadSignature("found the name %r in the signature, expected printable ASCII" % text)
    return text


def _string(content: bytes) -> bytes:
    """RFC 4251: the length in four bytes, then the bytes."""
    return struct.pack(">I", len(content)) + content


def _take_string(data: bytes) -> Tuple[bytes, bytes]:
    """The string that the bytes begin with, and what follows it."""
    if len(data) < 4:
        raise BadSignature("found %d bytes, expected a length of four" % len(data))
    size = int(struct.unpack(">I", data[:4])[0])
    if size > len(data) - 4:
        raise BadSignature("found a length of %d with %d bytes left" % (size, len(data) - 4))
    return data[4 : 4 + size], data[4 + size :]
