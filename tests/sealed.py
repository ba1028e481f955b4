"""Package files for tests, sealed without a toolchain."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from device_agent import archive
from device_agent.archive import Head, Payload
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
from device_agent.trust import DELTA_NAMESPACE, PACKAGE_NAMESPACE
from edgesdk.keys.signing import Signer
from edgesdk.values.package import Package

CONTENTS = {
    "model": np.random.default_rng(0).bytes(70_000),  # two chunks that do not compress
    "golden": bytes(3000),
}


def manifest_of(contents: Mapping[str, bytes], **changes: Any) -> Manifest:
    """A manifest of a file for each role."""
    fields: dict[str, Any] = {
        "format": FORMAT,
        "name": "digits",
        "version": "1.2",
        "sequence": 3,
        "compatibility": Compatibility("raspberry-pi-5", ("aarch64",), "onnxruntime", "1.18"),
        "inputs": (Port("image", (1, 4), "int8", 0.5, -3),),
        "outputs": (Port("logits", (1, 2), "float32"),),
        "files": tuple(_file(role, raw) for role, raw in contents.items()),
        "limits": Limits(),
        "gates": {},
        "provenance": {
            "model": "digits.onnx",
            "model_sha256": "a" * 64,
            "calibration_sha256": "c" * 64,
            "calibration_samples": "5",
            "precision": "w8a8",
            "toolchain.onnx": "1.23.2",
        },
    }
    return Manifest(**{**fields, **changes})


def seal(
    path: Path,
    contents: Mapping[str, bytes] = CONTENTS,
    *,
    signer: Signer | None = None,
    **changes: Any,
) -> Package:
    """Write a sound package.

    Args:
        signer: nobody signs it unless given.
        changes: fields of the manifest.
    """
    manifest = manifest_of(contents, **changes)
    signed = b"" if signer is None else signer.sign(canonical(manifest), PACKAGE_NAMESPACE)
    head = Head(manifest, signed)
    stored = {f"{role}.bin": _stored(raw) for role, raw in contents.items()}
    return _write(path, head, stored)


def seal_delta(
    path: Path,
    base: Package,
    contents: Mapping[str, bytes] = CONTENTS,
    *,
    patches: Mapping[str, bytes] | None = None,
    signer: Signer | None = None,
    **changes: Any,
) -> Package:
    """Write a delta package: what the base has does not travel.

    Args:
        patches: by role, in the place of the files; nobody looks whether they make them.
    """
    manifest = manifest_of(contents, **changes)
    patches = patches or {}
    hows = tuple(_how(file, base, patches.get(file.role)) for file in manifest.files)
    delta = Delta(DELTA_FORMAT, manifest.package_id, base.manifest.package_id, hows)
    signed = delta_signed = b""
    if signer is not None:
        signed = signer.sign(canonical(manifest), PACKAGE_NAMESPACE)
        delta_signed = signer.sign(canonical(delta), DELTA_NAMESPACE)
    stored = {
        f"{role}.bin": _pieces(patches[role]) if role in patches else _stored(raw)
        for role, raw in contents.items()
    }
    return _write(path, Head(manifest, signed, delta, delta_signed), stored)


def _how(file: File, base: Package, patch: bytes | None) -> DeltaFile:
    before = base.manifest.file(file.role)
    if before is not None and before.sha256 == file.sha256:
        return DeltaFile(file.path, "same", before.sha256, before.raw_bytes)
    if before is None or patch is None:
        return DeltaFile(file.path, "full")
    hashes = tuple(hashlib.sha256(piece).hexdigest() for piece in _pieces(patch))
    return DeltaFile(file.path, "bytes-delta", before.sha256, before.raw_bytes, len(patch), hashes)


def _write(path: Path, head: Head, stored: Mapping[str, list[bytes]]) -> Package:
    def of(payload: Payload) -> list[bytes]:
        return stored[payload.file.path]

    path.write_bytes(b"".join(archive.write_package(head, of)))
    return Package(path, head, path.stat().st_size)


def _file(role: str, raw: bytes) -> File:
    chunks = _stored(raw)
    return File(
        role=role,
        path=f"{role}.bin",
        raw_bytes=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        sizes=tuple(map(len, chunks)),
        chunks=tuple(hashlib.sha256(chunk).hexdigest() for chunk in chunks),
    )


def _stored(raw: bytes) -> list[bytes]:
    return [archive.store_chunk(piece) for piece in _pieces(raw)]


def _pieces(raw: bytes) -> list[bytes]:
    return [raw[start : start + CHUNK_BYTES] for start in range(0, len(raw), CHUNK_BYTES)]
