"""Provenance as an in-toto statement (v1) with SLSA's predicate (v1), from the manifest alone.

With a key it is put in a DSSE envelope. The same package and key give the same bytes: there is no
time in it, and what the manifest does not say (who ran the build, and where) is not there either.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import edgesdk
from device_agent.manifest import Manifest
from edgesdk.errors import SigningError
from edgesdk.files import sha256_file, write_durable
from edgesdk.package.exporters.content import Content, account
from edgesdk.package.exporters.private_keys import load_private_key
from edgesdk.progress import Progress
from edgesdk.values.export import Exported, Wanted

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:edgesdk:package:1"
BUILDER_ID = "urn:edgesdk:workstation"
SAMPLES_DIGEST = "edgesdkSamplesSha256"
"""Calibration data are hashed sample by sample, in the order of use, and not as a file."""

_TOOLCHAIN = "toolchain."
_PARAMETERS = ("precision", "quantizer", "bridge", "compilation", "calibration_samples")


class RawSigner(Protocol):
    """Signs with one Ed25519 key, what it is given and nothing around it."""

    @property
    def key_id(self) -> str:
        """Fingerprint of the public key, as `ssh-keygen -l` shows it: "SHA256:..."."""

    def sign_raw(self, message: bytes) -> bytes:
        """The 64 bytes of the signature.

        Raises:
            SigningError: the key cannot be used now.
        """


class KeyFile:
    """A `RawSigner` with a key from a file.

    Raises:
        SigningError: it holds no Ed25519 key.
    """

    def __init__(self, path: Path) -> None:
        key = load_private_key(path)
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningError(
                f"{path} holds no Ed25519 key, expected one",
                hint="openssl genpkey -algorithm ed25519 -out provenance.pem",
            )
        self._key = key

    @property
    def key_id(self) -> str:
        """As `RawSigner.key_id`."""
        kind, raw = b"ssh-ed25519", self._key.public_key().public_bytes_raw()
        blob = b"".join(len(part).to_bytes(4, "big") + part for part in (kind, raw))
        digest = base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii")
        return f"SHA256:{digest.rstrip('=')}"

    def sign_raw(self, message: bytes) -> bytes:
        """As `RawSigner.sign_raw`."""
        return self._key.sign(message)


def statement(manifest: Manifest) -> dict[str, Any]:
    """The statement; its first subject is the manifest, whose SHA-256 is the package id."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            _resource(f"{manifest.name}/manifest.json", sha256=manifest.package_id),
            *(_resource(f"{manifest.name}/{f.path}", sha256=f.sha256) for f in manifest.files),
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _asked_for(manifest),
                "resolvedDependencies": _materials(manifest),
            },
            "runDetails": {"builder": {"id": BUILDER_ID, "version": _versions(manifest)}},
        },
    }


def _resource(name: str, **digests: str) -> dict[str, Any]:
    return {"name": name, "digest": digests}


def _asked_for(manifest: Manifest) -> dict[str, Any]:
    made, where = manifest.provenance, manifest.compatibility
    return {
        "name": manifest.name,
        "version": manifest.version,
        "sequence": manifest.sequence,
        "min_sequence": manifest.min_sequence,
        "expires": manifest.expires,
        "target": where.target,
        "architectures": list(where.architectures),
        "boards": list(where.boards),
        "runtime": where.runtime,
        "runtime_min_version": where.runtime_min_version,
        **{key: made[key] for key in _PARAMETERS if key in made},
    }


def _materials(manifest: Manifest) -> list[dict[str, Any]]:
    made, found = manifest.provenance, []
    if "model_sha256" in made:
        found.append(_resource(made.get("model", "model"), sha256=made["model_sha256"]))
    if "calibration_sha256" in made:
        digests = {SAMPLES_DIGEST: made["calibration_sha256"]}
        found.append(_resource("calibration data", **digests))
    return found


def _versions(manifest: Manifest) -> dict[str, str]:
    """Of edgesdk, where the manifest says it, and of the toolchain that it was made with."""
    made = manifest.provenance
    tools = {
        key.removeprefix(_TOOLCHAIN): version
        for key, version in made.items()
        if key.startswith(_TOOLCHAIN)
    }
    return ({"edgesdk": made["edgesdk"]} if "edgesdk" in made else {}) | tools


def pre_authentication(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """What a DSSE signature is over (its protocol's PAE)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def envelope(payload: bytes, signer: RawSigner) -> dict[str, Any]:
    """The payload, signed."""
    proof = signer.sign_raw(pre_authentication(payload))
    return {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [
            {"keyid": signer.key_id, "sig": base64.b64encode(proof).decode("ascii")},
        ],
    }


def document(manifest: Manifest, signer: RawSigner | None) -> bytes:
    """The file's bytes: the envelope, or the bare statement where nobody signs."""
    payload = _json(statement(manifest))
    return payload if signer is None else _json(envelope(payload, signer))


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode("ascii")


def export(content: Content, wanted: Wanted, progress: Progress) -> Exported:
    """Write the statement."""
    signer = None if wanted.key is None else KeyFile(wanted.key)
    output = Path(wanted.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_durable(output, document(content.manifest, signer))
    return Exported(
        format="in-toto",
        output=str(output),
        package_id=content.manifest.package_id,
        sha256=sha256_file(output),
        made_with=f"edgesdk {edgesdk.__version__}",
        signed=signer is not None,
        mapping=account(content, _EXPRESSED),
        notes=() if signer else ("nobody answers for it: give --key to sign it",),
    )


_EXPRESSED = {
    **{
        field: f"externalParameters.{field}"
        for field in ("name", "version", "sequence", "min_sequence", "expires", "target")
    },
    **{field: f"externalParameters.{field}" for field in ("architectures", "boards", "runtime")},
    "package id": "the first subject's SHA-256",
}
