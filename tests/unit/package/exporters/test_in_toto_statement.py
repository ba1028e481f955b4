"""Facts about provenance: what it says, that it says no more, and how it is signed."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgesdk.errors import SigningError
from edgesdk.package.exporters import in_toto
from tests.sealed import CONTENTS, manifest_of


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(
        Ed25519PrivateKey.from_private_bytes(bytes(32)).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    return path


def made(**changes: Any) -> Any:
    return json.loads(in_toto.document(manifest_of(CONTENTS, **changes), None))


def test_the_subjects_are_the_manifest_and_each_file() -> None:
    manifest = manifest_of(CONTENTS)
    found = {each["name"]: each["digest"]["sha256"] for each in made()["subject"]}
    assert found == {
        "digits/manifest.json": manifest.package_id,
        **{f"digits/{file.path}": file.sha256 for file in manifest.files},
    }


def test_the_materials_are_the_float_model_and_the_calibration_samples() -> None:
    model, samples = made()["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert model == {"name": "digits.onnx", "digest": {"sha256": "a" * 64}}
    # It is no hash of a file, and must not be taken for one.
    assert samples["digest"] == {"edgesdkSamplesSha256": "c" * 64}


def test_the_builder_has_the_versions_that_the_manifest_names() -> None:
    provenance = {"toolchain.onnx": "1.23.2", "edgesdk": "0.2.0"}
    builder = made(provenance=provenance)["predicate"]["runDetails"]["builder"]
    assert builder["version"] == {"edgesdk": "0.2.0", "onnx": "1.23.2"}


def test_nothing_is_made_up_where_the_manifest_is_silent() -> None:
    predicate = made(provenance={})["predicate"]
    assert predicate["buildDefinition"]["resolvedDependencies"] == []
    assert predicate["runDetails"]["builder"]["version"] == {}
    assert set(predicate["runDetails"]) == {"builder"}  # no time, no invocation


def test_the_pre_authentication_encoding_is_dsses() -> None:
    # The example of the DSSE protocol's specification.
    found = in_toto.pre_authentication(b"hello world", "http://example.com/HelloWorld")
    assert found == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_the_signature_is_over_that_and_by_that_key(key: Path) -> None:
    signer = in_toto.KeyFile(key)
    found = json.loads(in_toto.document(manifest_of(CONTENTS), signer))
    payload = base64.b64decode(found["payload"])
    assert payload == in_toto.document(manifest_of(CONTENTS), None)
    (signature,) = found["signatures"]
    Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().verify(
        base64.b64decode(signature["sig"]),
        b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload),
    )
    assert signature["keyid"] == signer.key_id


def test_the_same_package_and_key_give_the_same_bytes(key: Path) -> None:
    first = in_toto.document(manifest_of(CONTENTS), in_toto.KeyFile(key))
    assert first == in_toto.document(manifest_of(CONTENTS), in_toto.KeyFile(key))


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ec.pem"
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    with pytest.raises(SigningError, match="no Ed25519 key"):
        in_toto.KeyFile(path)
