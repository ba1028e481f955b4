"""An SWUpdate image (.swu): the package as a file, and a script that hands it to our agent.

It is a cpio archive with a description that names the SHA-256 of all the rest and is signed as CMS.
SWUpdate's own tool only reads images, so this one is written here.
"""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import (
    PKCS7Options,
    PKCS7SignatureBuilder,
)

import edgesdk
from edgesdk.errors import ExportError, SigningError, UsageError
from edgesdk.files import move_durable, scratch_beside, sha256_file
from edgesdk.package.exporters.content import Content, account, delta_notes, letters_name
from edgesdk.package.exporters.cpio import write_cpio
from edgesdk.package.exporters.private_keys import (
    load_certificate,
    load_private_key,
    require_pair,
)
from edgesdk.progress import Progress
from edgesdk.values.export import Exported, Wanted

SCRIPT = "edgesdk-install.sh"
INCOMING = "/var/lib/edgesdk-incoming"
"""Where SWUpdate puts the package on the device, for the script to take it from."""

SEQUENCE_MAX = 2**31 - 1
"""SWUpdate reads the parts of a semantic version as signed 32-bit numbers."""

_ANY_REVISION = "#RE:.*"
_BOARD = re.compile(r"[A-Za-z*][A-Za-z0-9_*-]*")
_REVISION = re.compile(r"[A-Za-z0-9#:.*^$()|_+-]+")


def boards(content: Content, wanted: Wanted) -> dict[str, str]:
    """Name of each board and the revision that the image is for.

    Raises:
        UsageError: SWUpdate could not read one.
    """
    names = wanted.compatible or (letters_name(content.manifest.compatibility.target),)
    found = {}
    for text in names:
        board, _, revision = text.partition(":")
        revision = revision or _ANY_REVISION
        if not _BOARD.fullmatch(board) or not _REVISION.fullmatch(revision):
            raise UsageError(
                f"found --compatible {text}, expected BOARD or BOARD:REVISION, the board of "
                "letters, digits, dashes and underscores, a letter first"
            )
        found[board] = revision
    return found


def version(content: Content) -> str:
    """The image's version, a semantic one: the sequence orders it, the version is for people.

    Raises:
        UsageError: the sequence is larger than SWUpdate can compare.
    """
    sequence = content.manifest.sequence
    if sequence > SEQUENCE_MAX:
        raise UsageError(f"found sequence {sequence}, SWUpdate compares at most {SEQUENCE_MAX}")
    # What follows the plus sign is not compared; it may hold letters, digits, dots and dashes.
    told = re.sub(r"[^A-Za-z0-9.-]+", "-", content.manifest.version)
    return f"{sequence}.0.0+{told}"


def description(content: Content, wanted: Wanted, script: bytes) -> str:
    """The `sw-description`: one section a board, so that no other board finds anything in it."""
    of = content.manifest
    sections = "\n".join(
        _section(board, revision, content, hashlib.sha256(script).hexdigest())
        for board, revision in boards(content, wanted).items()
    )
    return f"""\
software =
{{
    version = "{version(content)}";
    description = "{of.name}, edgesdk package {of.package_id}";
{sections}
}};
"""


def _section(board: str, revision: str, content: Content, script_sha256: str) -> str:
    return f"""\
    {board} = {{
        hardware-compatibility: [ "{revision}" ];
        files: (
            {{
                filename = "{content.file_name}";
                path = "{INCOMING}/{content.file_name}";
                sha256 = "{content.sha256}";
                properties = {{ create-destination = "true"; atomic-install = "true"; }};
            }}
        );
        scripts: (
            {{
                filename = "{SCRIPT}";
                type = "shellscript";
                sha256 = "{script_sha256}";
            }}
        );
    }};"""


def script_for(content: Content) -> bytes:
    """What SWUpdate runs on the device. Names of packages need no quotes in a shell."""
    template = (files(__package__) / "on_device" / "swupdate-script").read_bytes()
    return template.replace(b"@PACKAGE@", f"{INCOMING}/{content.file_name}".encode("ascii"))


def expressed(content: Content, wanted: Wanted) -> dict[str, str]:
    """How SWUpdate says what the package says."""
    where = ", ".join(
        board if revision == _ANY_REVISION else f"{board}:{revision}"
        for board, revision in boards(content, wanted).items()
    )
    return {
        "name": f"file {content.file_name}",
        "version": f"version {version(content)}, behind the plus sign; not compared",
        "sequence": f"version {version(content)}, first part",
        "target": f"hardware-compatibility of {where}",
        "package id": "description; not compared",
    }


def export(content: Content, wanted: Wanted, progress: Progress) -> Exported:
    """Write and sign the image."""
    script = script_for(content)
    text = description(content, wanted, script).encode("ascii")
    signature = _signature(wanted, text)
    signed = [] if signature is None else [("sw-description.sig", signature)]
    members: list[tuple[str, bytes | Path]] = [("sw-description", text), *signed]
    members += [(content.file_name, content.path), (SCRIPT, script)]
    output = Path(wanted.output)
    with progress.task(f"writing {output.name}", 0), scratch_beside(output) as scratch:
        made = scratch / "made.swu"
        _write(members, made)
        move_durable(made, output)
    return Exported(
        format="swupdate",
        output=str(output),
        package_id=content.manifest.package_id,
        sha256=sha256_file(output),
        made_with=f"edgesdk {edgesdk.__version__}",
        signed=signature is not None,
        mapping=account(content, expressed(content, wanted)),
        notes=(*_unsigned_notes(signature), *delta_notes(content)),
    )


def _unsigned_notes(signature: bytes | None) -> tuple[str, ...]:
    return () if signature else ("an SWUpdate that is built for signed images refuses it",)


def _write(members: list[tuple[str, bytes | Path]], made: Path) -> None:
    try:
        with made.open("wb") as stream:
            for piece in write_cpio(members):
                stream.write(piece)
    except ValueError as error:
        raise ExportError(f"the image cannot be written: {error}") from error


def _signature(wanted: Wanted, text: bytes) -> bytes | None:
    """The detached CMS signature; None where the user gives no key."""
    if wanted.key is None and wanted.certificate is None:
        return None
    if wanted.key is None or wanted.certificate is None:
        raise UsageError("SWUpdate's signature takes both --key and --cert")
    key, certificate = load_private_key(wanted.key), load_certificate(wanted.certificate)
    require_pair(key, certificate, wanted.certificate)
    if isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{wanted.key} holds an Ed25519 key, expected RSA or ECDSA for CMS")
    builder = PKCS7SignatureBuilder().set_data(text).add_signer(certificate, key, hashes.SHA256())
    options = [PKCS7Options.DetachedSignature, PKCS7Options.Binary, PKCS7Options.NoCapabilities]
    return builder.sign(Encoding.DER, options)
