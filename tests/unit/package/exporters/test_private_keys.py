"""Facts about the keys that users bring, and about what an error says of them."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from edgesdk.errors import SigningError
from edgesdk.package.exporters.private_keys import (
    PrivateKey,
    load_certificate,
    load_private_key,
    require_pair,
)

KEYS = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "ecdsa": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def written(path: Path, key: PrivateKey, form: PrivateFormat = PrivateFormat.PKCS8) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    return path


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.OpenSSH])
def test_each_kind_is_read_in_either_form(tmp_path: Path, kind: str, form: PrivateFormat) -> None:
    path = written(tmp_path / "key", KEYS[kind], form)
    assert load_private_key(path).public_key() == KEYS[kind].public_key()


def test_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = dsa.generate_private_key(2048)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SigningError, match="expected an RSA, ECDSA or Ed25519 key"):
        load_private_key(path)


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    locked = BestAvailableEncryption(b"secret")
    path.write_bytes(KEYS["ecdsa"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    with pytest.raises(SigningError, match="has a passphrase"):
        load_private_key(path)


def test_a_broken_key_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----\n")
    with pytest.raises(SigningError, match="holds no private key") as caught:
        load_private_key(path)
    assert caught.value.__cause__ is None and "CANARY" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match=r"none\.pem cannot be read: No such file"):
        load_private_key(tmp_path / "none.pem")


def test_a_certificate_of_another_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    path.write_bytes(_certificate(KEYS["rsa"]).public_bytes(Encoding.PEM))
    require_pair(KEYS["rsa"], load_certificate(path), path)
    with pytest.raises(SigningError, match="is of another key"):
        require_pair(KEYS["ecdsa"], load_certificate(path), path)


def test_what_is_no_certificate_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "key", KEYS["rsa"])
    with pytest.raises(SigningError, match="holds no certificate"):
        load_certificate(path)


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
