"""An OCI artifact: pushed to a registry, or written as an image layout, a folder on disk.

Its manifest follows from the package alone, so the same package has the same digest everywhere. It
has one layer, the package file as it is. `oras` talks to the registry and finds the credentials
that `docker login` or `oras login` has stored; a layout needs nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgesdk
from edgesdk.errors import PackageError, UsageError
from edgesdk.files import new_directory
from edgesdk.package.exporters import require
from edgesdk.package.exporters.content import (
    Content,
    account,
    delta_notes,
    plain_name,
    statements,
)
from edgesdk.progress import Progress
from edgesdk.values.export import Exported, Wanted

ARTIFACT_TYPE = "application/vnd.edgesdk.package.v1+tar"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
ANNOTATION = "vnd.edgesdk.package."
"""Before the name of each statement of the package."""

_SCHEME = "oci://"
_REFERENCE = re.compile(
    r"(?P<registry>[A-Za-z0-9.-]+(?::[0-9]{1,5})?)/"
    r"(?P<repository>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in a registry."""

    registry: str
    repository: str
    tag: str

    @property
    def is_loopback(self) -> bool:
        """On this machine; such a registry is spoken to without TLS."""
        return self.registry.partition(":")[0] in ("localhost", "127.0.0.1")

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"


def parse_reference(text: str, content: Content) -> Reference | None:
    """Where to push; None for a folder. Without a tag, it is the package's version.

    Raises:
        UsageError: it begins with oci:// and is no reference.
    """
    if not text.startswith(_SCHEME):
        return None
    found = _REFERENCE.fullmatch(text.removeprefix(_SCHEME))
    if found is None:
        raise UsageError(f"found {text}, expected oci://HOST[:PORT]/REPOSITORY[:TAG]")
    return Reference(found["registry"], found["repository"], found["tag"] or default_tag(content))


def default_tag(content: Content) -> str:
    """The version, as far as a tag can say it."""
    return plain_name(content.manifest.version).replace("+", "_").lstrip(".-")[:128] or "latest"


def manifest(content: Content) -> bytes:
    """The image manifest."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": _descriptor(EMPTY_TYPE, _sha256(EMPTY), len(EMPTY)),
            "layers": [
                {
                    **_descriptor(ARTIFACT_TYPE, content.sha256, content.size_bytes),
                    "annotations": {"org.opencontainers.image.title": content.file_name},
                }
            ],
            "annotations": labels(content),
        }
    )


def labels(content: Content) -> dict[str, str]:
    """The package's statements, for who looks at the registry."""
    of = content.manifest
    ours = {
        ANNOTATION + field.replace(" ", "-").replace("_", "-"): value
        for field, value in statements(content).items()
    }
    return {
        "org.opencontainers.image.title": of.name,
        "org.opencontainers.image.version": of.version,
        **ours,
    }


def expressed(content: Content, reference: Reference | None) -> dict[str, str]:
    """How a registry says what the package says: it stores it, and compares nothing."""
    said = {
        field: f"annotation {ANNOTATION}{field.replace(' ', '-').replace('_', '-')}; not compared"
        for field in statements(content)
    }
    if reference is not None:
        said["version"] = f"tag {reference.tag}, and {said['version']}"
    return said


def export(content: Content, wanted: Wanted, progress: Progress) -> Exported:
    """Push it, or write the layout."""
    reference = parse_reference(wanted.output, content)
    text = manifest(content)
    if reference is None:
        with progress.task(f"writing {wanted.output}", 0):
            write_layout(Path(wanted.output), content, text)
        made_with, output = f"edgesdk {edgesdk.__version__}", wanted.output
    else:
        made_with = _push(reference, content, text, progress)
        output = f"{reference.registry}/{reference.repository}@sha256:{_sha256(text)}"
    return Exported(
        format="oci",
        output=output,
        package_id=content.manifest.package_id,
        sha256=_sha256(text),
        made_with=made_with,
        signed=False,
        mapping=account(content, expressed(content, reference)),
        notes=(*_tag_notes(reference), *delta_notes(content)),
    )


def _tag_notes(reference: Reference | None) -> tuple[str, ...]:
    return () if reference is None else (f"{reference} names it until something else does",)


def write_layout(folder: Path, content: Content, text: bytes) -> None:
    """An image layout with this one artifact, under the tag that it would have in a registry.

    Raises:
        PackageError: the folder holds something else, which would be lost.
    """
    if folder.exists() and not _may_replace(folder):
        raise PackageError(
            f"{folder} is there and holds no OCI image layout", hint="choose another --output"
        )
    named = {
        **_descriptor(MANIFEST_TYPE, _sha256(text), len(text)),
        "artifactType": ARTIFACT_TYPE,
        "annotations": {"org.opencontainers.image.ref.name": default_tag(content)},
    }
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [named],
    }
    with new_directory(folder) as work:
        blobs = work / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for blob in (text, EMPTY):
            (blobs / _sha256(blob)).write_bytes(blob)
        shutil.copyfile(content.path, blobs / content.sha256)
        (work / "index.json").write_bytes(_json(index))
        (work / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def _may_replace(folder: Path) -> bool:
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / "oci-layout").is_file())


def _push(reference: Reference, content: Content, text: bytes, progress: Progress) -> str:
    require("an OCI registry", "oras")
    # A layout on disk needs no oras, so it is imported here only.
    from edgesdk.package.exporters import oci_registry

    return oci_registry.push(reference, content, text, progress)


def _descriptor(media_type: str, sha256: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": size}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode("ascii")
