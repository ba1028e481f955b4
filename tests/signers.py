"""Keys that sign for tests, the same at every run, and the trust in one of them."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_agent import sshsig
from device_agent.codec import canonical
from device_agent.trust import Trust, TrustedKey
from device_agent.trust_messages import SignedTrust
from edgesdk.keys.signing import FileSigner


def key_called(name: str) -> FileSigner:
    """The key of that name."""
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    blob = sshsig.plain_key(private.public_key().public_bytes_raw())
    return FileSigner(sshsig.key_text(blob), private)


OWNER, STRANGER = key_called("owner"), key_called("stranger")
BELIEVES_OWNER = Trust(1, 1, (TrustedKey("owner", OWNER.public_key),))
TRUST = SignedTrust(canonical(BELIEVES_OWNER).decode(), "")
"""What a device that believes the owner was given."""
