"""Small packages for tests, and ways to spoil them."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Mapping
from typing import Any

from device_agent import archive
from device_agent.manifest import CHUNK_BYTES, Compatibility, File, Limits, Manifest, Port


def file_of(
    role: str, raw: bytes, /, *, codec: str = "none", stored: bytes | None = None, **changes: Any
) -> tuple[File, bytes]:
    """A manifest entry for some content, and its stored bytes."""
    if stored is None:
        stored = zlib.compress(raw, 9) if codec == "zlib" else raw
    fields: dict[str, Any] = {
        "role": role,
        "path": f"{role}.bin",
        "raw_bytes": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "codec": codec,
        "stored_bytes": len(stored),
        "chunks": tuple(
            hashlib.sha256(stored[start : start + CHUNK_BYTES]).hexdigest()
            for start in range(0, len(stored), CHUNK_BYTES)
        ),
    }
    return File(**{**fields, **changes}), stored


def manifest_of(*files: File, **changes: Any) -> Manifest:
    """A manifest of those files."""
    fields: dict[str, Any] = {
        "format": "edgepkg/1",
        "name": "digits",
        "version": "1.2",
        "sequence": 3,
        "compatibility": Compatibility("raspberry-pi-5", (), "onnxruntime", "1.14"),
        "inputs": (Port("image", (1, 4), "int8", 0.5, -3),),
        "outputs": (Port("logits", (1, 2), "float32"),),
        "files": files,
        "limits": Limits(None, None),
        "gates": {"max_accuracy_drop": 0.5},
        "provenance": {"tool": "test"},
    }
    return Manifest(**{**fields, **changes})


def package_of(contents: Mapping[str, bytes], codec: str = "none", **changes: Any) -> bytes:
    """A sound package.

    Args:
        contents: raw bytes by role.
        changes: fields of the manifest.
    """
    entries = dict(file_of(role, raw, codec=codec) for role, raw in contents.items())
    return sealed(manifest_of(*entries, **changes), entries)


def sealed(manifest: Manifest, stored: Mapping[File, bytes]) -> bytes:
    """The package's bytes, whether or not they match the manifest."""
    return b"".join(archive.write_package(manifest, lambda file: [stored[file]]))


def verify(content: bytes) -> Manifest:
    """Check every byte."""
    return archive.verify(io.BytesIO(content).read)


def id_of(content: bytes) -> str:
    """The package's id."""
    return verify(content).package_id
