"""Keys, signatures and trusts for tests, made with `cryptography`; hardware keys are played."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from device_agent import sshsig
from device_agent.clock import Clock
from device_agent.codec import canonical
from device_agent.sshsig import Signature
from device_agent.trust import TRUST_NAMESPACE, Trust, TrustedKey

NOW = Clock(now_s=1_800_000_000, floor_s=1_790_000_000)
"""A clock that is believed, in January 2027."""
LONG_AGO = "2026-12-31T00:00:00Z"
LATER = "2027-06-30T00:00:00Z"


def string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


@dataclass(frozen=True)
class Key:
    """A plain key, the same for a name at every run."""

    name: str

    @property
    def private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.name.encode()).digest())

    @property
    def point(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    @property
    def blob(self) -> bytes:
        return sshsig.plain_key(self.point)

    @property
    def text(self) -> str:
        return sshsig.key_text(self.blob)

    @property
    def pem(self) -> bytes:
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())

    def sign(self, message: bytes, namespace: str, hash_algorithm: str = "sha512") -> bytes:
        proof = self.private.sign(sshsig.signed_data(message, namespace, hash_algorithm))
        wire = sshsig.plain_signature(proof)
        return sshsig.armor(Signature(self.blob, namespace, hash_algorithm, wire))

    def trusted(self, expires: str | None = None, revoked: bool = False) -> TrustedKey:
        return TrustedKey(self.name, self.text, expires, revoked)


@dataclass(frozen=True)
class HardwareKey(Key):
    """A security key, as far as its signatures go (OpenSSH's PROTOCOL.u2f)."""

    flags: int = 0x01
    application: bytes = b"ssh:"

    @property
    def blob(self) -> bytes:
        kind = string(sshsig.HARDWARE_KEY.encode())
        return kind + string(self.point) + string(self.application)

    def sign(self, message: bytes, namespace: str, hash_algorithm: str = "sha512") -> bytes:
        to_sign = sshsig.signed_data(message, namespace, hash_algorithm)
        appendix = struct.pack(">BI", self.flags, 7)
        proof = self.private.sign(
            hashlib.sha256(self.application).digest() + appendix + hashlib.sha256(to_sign).digest()
        )
        wire = string(sshsig.HARDWARE_KEY.encode()) + string(proof) + appendix
        return sshsig.armor(Signature(self.blob, namespace, hash_algorithm, wire))


ANNA, BEN, CLARA, MALLORY = Key("anna"), Key("ben"), Key("clara"), Key("mallory")


def signed_trust(trust: Trust, *signers: Key) -> tuple[bytes, bytes]:
    """Its bytes, and these keys' signatures over them."""
    text = canonical(trust)
    return text, b"".join(signer.sign(text, TRUST_NAMESPACE) for signer in signers)
