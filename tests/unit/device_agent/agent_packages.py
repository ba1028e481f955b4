"""Small packages for tests, signed or not, whole or as deltas, and ways to spoil them."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Mapping, Sequence
from typing import Any

from device_agent import archive, reading
from device_agent.archive import Head
from device_agent.codec import canonical
from device_agent.manifest import (
    CHUNK_BYTES,
    DELTA_FORMAT,
    FORMAT,
    Compatibility,
    Delta,
    DeltaFile,
    File,
    Limits,
    Manifest,
    Port,
)
from device_agent.reading import PackageReader
from device_agent.trust import DELTA_NAMESPACE, PACKAGE_NAMESPACE
from edgesdk.keys.signing import Signer

Stored = Mapping[str, Sequence[bytes]]
"""The stored chunks of files, by their paths."""


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def pieces(data: bytes) -> list[bytes]:
    """The data in 64 KiB pieces."""
    return [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]


def hashes(chunks: Sequence[bytes], raw_bytes: int) -> tuple[str, ...]:
    """SHA-256 of each; where all are stored as they are, of all up to the end of each."""
    if sum(map(len, chunks)) != raw_bytes:
        return tuple(hashlib.sha256(chunk).hexdigest() for chunk in chunks)
    digest, found = hashlib.sha256(), []
    for chunk in chunks:
        digest.update(chunk)
        found.append(digest.hexdigest())
    return tuple(found)


def file_of(
    role: str, raw: bytes, /, *, stored: Sequence[bytes] | None = None, **changes: Any
) -> tuple[File, Sequence[bytes]]:
    """A manifest entry for some content, and its stored chunks."""
    chunks = [archive.store_chunk(piece) for piece in pieces(raw)] if stored is None else stored
    fields: dict[str, Any] = {
        "role": role,
        "path": f"{role}.bin",
        "raw_bytes": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "sizes": tuple(map(len, chunks)),
        "chunks": hashes(chunks, len(raw)),
    }
    return File(**{**fields, **changes}), chunks


def manifest_of(*files: File, **changes: Any) -> Manifest:
    """A manifest of those files."""
    fields: dict[str, Any] = {
        "format": FORMAT,
        "name": "digits",
        "version": "1.2",
        "sequence": 3,
        "compatibility": Compatibility("raspberry-pi-5", (), "onnxruntime", "1.14"),
        "inputs": (Port("image", (1, 4), "int8", 0.5, -3),),
        "outputs": (Port("logits", (1, 2), "float32"),),
        "files": files,
        "limits": Limits(),
        "gates": {"max_accuracy_drop": 0.5},
        "provenance": {"tool": "test"},
    }
    return Manifest(**{**fields, **changes})


def head_of(manifest: Manifest, signer: Signer | None = None) -> Head:
    """The head of a full package."""
    text = canonical(manifest)
    return Head(manifest, b"" if signer is None else signer.sign(text, PACKAGE_NAMESPACE))


def package_of(
    contents: Mapping[str, bytes], signer: Signer | None = None, **changes: Any
) -> bytes:
    """A sound package.

    Args:
        contents: raw bytes by role.
        changes: fields of the manifest.
    """
    entries = [file_of(role, raw) for role, raw in contents.items()]
    manifest = manifest_of(*(file for file, _ in entries), **changes)
    return sealed(head_of(manifest, signer), {file.path: chunks for file, chunks in entries})


def delta_of(
    full: bytes,
    base: bytes,
    codecs: Mapping[str, str],
    patches: Mapping[str, bytes],
    signer: Signer | None = None,
) -> bytes:
    """A delta package that makes the same as a full one, of the files of another.

    Args:
        codecs: by role; "full" for those that are not named.
        patches: by role.
    """
    head, before = head_of_package(full), verify(base)
    hows = []
    for file in head.manifest.files:
        codec = codecs.get(file.role, "full")
        based, patch = before.file(file.role), patches.get(file.role, b"")
        if codec == "full" or based is None:
            hows.append(DeltaFile(file.path, "full"))
        else:
            of = (based.sha256, based.raw_bytes)
            chunks = hashes(pieces(patch), len(patch))
            hows.append(DeltaFile(file.path, codec, *of, len(patch), chunks))
    delta = Delta(DELTA_FORMAT, head.package_id, before.package_id, tuple(hows))
    signatures = b"" if signer is None else signer.sign(canonical(delta), DELTA_NAMESPACE)
    travelling = {file.path: pieces(patches.get(file.role, b"")) for file in head.manifest.files}
    for payload, _ in PackageReader(io.BytesIO(full).read).payloads():
        if codecs.get(payload.file.role, "full") == "full":
            travelling[payload.file.path] = [
                full[archive.chunk_offset(payload, index) :][:size]
                for index, size in enumerate(payload.sizes)
            ]
    return sealed(Head(head.manifest, head.signatures, delta, signatures), travelling)


def sealed(head: Head, stored: Stored) -> bytes:
    """The package's bytes, whether or not they match the head."""
    return b"".join(archive.write_package(head, lambda payload: stored[payload.file.path]))


def verify(content: bytes) -> Manifest:
    """Check every byte."""
    return reading.verify(io.BytesIO(content).read).manifest


def head_of_package(content: bytes) -> Head:
    """What comes before the payloads."""
    return reading.read_head(io.BytesIO(content).read)


def id_of(content: bytes) -> str:
    """The package's id."""
    return head_of_package(content).package_id
