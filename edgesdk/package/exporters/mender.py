"""A Mender artifact (format 3), whose payload the update module `edge-model` hands to our agent.

`mender-artifact` writes it. Mender compares what an artifact depends on with what the device
provides for equality, so it can tell the base of a delta but no order of sequence numbers.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgesdk.errors import SigningError
from edgesdk.files import move_durable, scratch_beside, sha256_file
from edgesdk.package.exporters.content import Content, account, devices, plain_name
from edgesdk.package.exporters.private_keys import PrivateKey, load_private_key
from edgesdk.package.exporters.programs import Program
from edgesdk.progress import Progress
from edgesdk.values.export import Exported, Wanted

MENDER_ARTIFACT = Program("mender-artifact", "sudo apt-get install mender-artifact")
UPDATE_MODULE = "edge-model"
"""The artifact's payload type, and the name of the update module on the device."""


def arguments(content: Content, wanted: Wanted, payload: Path, made: Path) -> list[str]:
    """What `mender-artifact` is asked to do.

    Args:
        payload: the package, under the name that it has inside the artifact.
        made: the artifact to write.
    """
    manifest = content.manifest
    asked = ["write", "module-image", "--type", UPDATE_MODULE, "--file", str(payload)]
    asked += ["--output-path", str(made), "--artifact-name", content.label]
    # The chunks inside are compressed.
    asked += ["--compression", "none"]
    for device in devices(content, wanted):
        asked += ["--device-type", device]
    # A name of its own for the file system: the store is not in the root file system, and an update
    # of that must not make Mender forget which model is there.
    asked += ["--software-filesystem", UPDATE_MODULE, "--software-name", _software(content)]
    asked += ["--software-version", plain_name(manifest.version)]
    asked += ["--provides", f"{_key(content, 'sequence')}:{manifest.sequence}"]
    asked += ["--provides", f"{_key(content, 'package_id')}:{manifest.package_id}"]
    if content.base:
        asked += ["--depends", f"{_key(content, 'package_id')}:{content.base}"]
    return asked + (["--key", str(wanted.key.absolute())] if wanted.key else [])


def _key(content: Content, field: str) -> str:
    return f"{UPDATE_MODULE}.{_software(content)}.{field}"


def _software(content: Content) -> str:
    """The name without dots: an artifact clears what was provided under its own and a dot."""
    return content.manifest.name.replace(".", "-")


def expressed(content: Content, wanted: Wanted) -> dict[str, str]:
    """How Mender says what the package says."""
    return {
        "name": f"artifact name {content.label}",
        "version": f"provides {_key(content, 'version')}",
        "sequence": f"provides {_key(content, 'sequence')}; not compared",
        "target": f"device type {', '.join(devices(content, wanted))}",
        "package id": f"provides {_key(content, 'package_id')}",
        "base": f"depends on {_key(content, 'package_id')}",
    }


def export(content: Content, wanted: Wanted, progress: Progress) -> Exported:
    """Have `mender-artifact` write the artifact, and validate it."""
    version = MENDER_ARTIFACT.version()
    key = None if wanted.key is None else _signing_key(wanted.key)
    output = Path(wanted.output)
    with progress.task(f"writing {output.name}", 2) as advance, scratch_beside(output) as scratch:
        payload, made = scratch / content.file_name, scratch / "made.mender"
        shutil.copyfile(content.path, payload)
        asked = arguments(content, wanted, payload, made)
        MENDER_ARTIFACT.run(asked, scratch=scratch)
        advance(1)
        MENDER_ARTIFACT.run(_validation(made, key, scratch), scratch=scratch)
        advance(1)
        move_durable(made, output)
    return Exported(
        format="mender",
        output=str(output),
        package_id=content.manifest.package_id,
        sha256=sha256_file(output),
        made_with=version,
        signed=key is not None,
        mapping=account(content, expressed(content, wanted)),
        notes=() if key else ("a device that is set up with a verification key refuses it",),
    )


def _signing_key(path: Path) -> PrivateKey:
    key = load_private_key(path)
    if isinstance(key, Ed25519PrivateKey):
        raise SigningError(
            f"{path} holds an Ed25519 key, which Mender does not sign with",
            hint="openssl ecparam -genkey -name prime256v1 -noout -out mender.pem",
        )
    return key


def _validation(made: Path, key: PrivateKey | None, scratch: Path) -> list[str]:
    asked = ["validate", str(made)]
    if key is None:
        return asked
    public = scratch / "public.pem"
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return [*asked, "--key", str(public)]
