"""Private keys and certificates that the user brings, as the other systems want them.

A key stays in its file and in this process; no program gets more of it than the file's path. Keys
with a passphrase are refused, as nothing here may ask for one.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
)

from edgesdk.errors import SigningError

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"


def load_private_key(path: Path) -> PrivateKey:
    """A private key in PEM (PKCS#8, PKCS#1, SEC1) or in OpenSSH's form, without a passphrase.

    Raises:
        SigningError: there is none, it is locked, or of another kind than RSA, ECDSA and Ed25519.
    """
    content = _read(path, "private key")
    load = load_ssh_private_key if content.lstrip().startswith(_OPENSSH) else load_pem_private_key
    try:
        key = load(content, password=None)
    except TypeError as error:
        raise SigningError(
            f"the private key {path} has a passphrase, which nobody can be asked for here",
            hint="use a key without one, readable by you alone",
        ) from error
    except (ValueError, UnsupportedAlgorithm):
        # Not chained: a message about broken data might quote them.
        raise SigningError(
            f"{path} holds no private key in PEM or OpenSSH form",
            hint="openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
        ) from None
    if not isinstance(key, PrivateKey):
        raise SigningError(
            f"{path} holds a {type(key).__name__}, expected an RSA, ECDSA or Ed25519 key"
        )
    return key


def load_certificate(path: Path) -> x509.Certificate:
    """A certificate in PEM; of several in one file, the first.

    Raises:
        SigningError: there is none.
    """
    try:
        return x509.load_pem_x509_certificate(_read(path, "certificate"))
    except ValueError as error:
        raise SigningError(f"{path} holds no certificate in PEM form") from error


def require_pair(key: PrivateKey, certificate: x509.Certificate, path: Path) -> None:
    """Refuse a certificate of another key.

    Raises:
        SigningError: it is one.
    """
    if certificate.public_key() != key.public_key():
        raise SigningError(f"the certificate {path} is of another key than the one given")


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SigningError(f"the {what} {path} cannot be read: {error.strerror}") from error
