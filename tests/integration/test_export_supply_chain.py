"""Facts about provenance and bills of materials, as the formats' own libraries see them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli import Cli
from tests.fleet import must, require
from tests.sealed import seal


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def export(cli: Cli, package: Path, to: str, *arguments: str | Path) -> Path:
    output = cli.folder / f"{to}.json"
    done = cli("export", package, "--to", to, "-o", output, *arguments)
    assert done.code == 0, done.err
    return output


@pytest.mark.parametrize("role", [None, "float", "golden"])
def test_cyclonedx_own_schema_accepts_the_bill(cli: Cli, tmp_path: Path, role: str | None) -> None:
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is not installed")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    contents = {"model": b"model", "golden": b"golden", "float": b"float", "companion": b"x"}
    chosen = contents if role is None else {"model": b"model", role: contents[role]}
    bill = export(cli, seal(tmp_path / "b.edgepkg", chosen).path, "cyclonedx").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None


def test_cyclonedx_own_library_reads_the_bill(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is not installed")
    from cyclonedx.model.bom import Bom

    package = seal(tmp_path / "b.edgepkg")
    bill = export(cli, package.path, "cyclonedx").read_text()
    read = Bom.from_json(json.loads(bill))  # type: ignore[attr-defined]
    found = {each.name: next(iter(each.hashes)).content for each in read.components}
    assert found == {file.path: file.sha256 for file in package.manifest.files}


def test_in_toto_own_library_accepts_the_statement(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("in_toto_attestation", reason="in-toto-attestation is not installed")
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    package = seal(tmp_path / "b.edgepkg")
    text = export(cli, package.path, "in-toto").read_text()
    statement = Statement.copy_from_pb(json_format.Parse(text, statement_pb2.Statement()))
    statement.validate()
    assert statement.pb.subject[0].digest["sha256"] == package.manifest.package_id
    predicate = json.loads(text)["predicate"]
    provenance = json_format.ParseDict(predicate, provenance_pb2.Provenance())
    assert provenance.build_definition.resolved_dependencies[0].digest["sha256"] == "a" * 64
    assert dict(provenance.run_details.builder.version) == {"onnx": "1.23.2"}


def test_securesystemslib_verifies_the_envelope_for_the_right_key_only(
    cli: Cli, tmp_path: Path
) -> None:
    pytest.importorskip("securesystemslib", reason="securesystemslib is not installed")
    require("openssl")
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    key = tmp_path / "key.pem"
    must("openssl", "genpkey", "-algorithm", "ed25519", "-out", key)
    package = seal(tmp_path / "b.edgepkg").path
    text = export(cli, package, "in-toto", "--key", key).read_text()
    (keyid,) = (each["keyid"] for each in json.loads(text)["signatures"])
    envelope = Envelope.from_dict(json.loads(text))
    private = load_pem_private_key(key.read_bytes(), None)
    ours = SSlibKey.from_crypto(private.public_key(), keyid=keyid)
    assert envelope.verify([ours], 1)
    must("openssl", "genpkey", "-algorithm", "ed25519", "-out", key)
    theirs = load_pem_private_key(key.read_bytes(), None)
    with pytest.raises(VerificationError):
        envelope.verify([SSlibKey.from_crypto(theirs.public_key(), keyid=keyid)], 1)


def test_a_key_of_ours_signs_by_its_name_and_has_openssh_fingerprint(
    cli: Cli, tmp_path: Path
) -> None:
    require("ssh-keygen")
    assert cli("key", "new", "builder").code == 0
    package = seal(tmp_path / "b.edgepkg").path
    text = export(cli, package, "in-toto", "--key", "builder").read_text()
    (signature,) = json.loads(text)["signatures"]
    assert signature["keyid"] in must("ssh-keygen", "-l", "-f", cli.home / "keys" / "builder.pub")
