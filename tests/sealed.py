"""Package files for tests, sealed without a toolchain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.manifest import Compatibility, Manifest
from edgesdk.keys.signing import Signer
from edgesdk.values.package import Package
from tests.unit.device_agent import agent_packages
from tests.unit.device_agent.agent_packages import delta_of, file_of, head_of_package, package_of

CONTENTS = {
    "model": np.random.default_rng(0).bytes(70_000),  # two chunks that do not compress
    "golden": bytes(3000),
}


def manifest_of(contents: Mapping[str, bytes], **changes: Any) -> Manifest:
    """A manifest of a file for each role."""
    files = (file_of(role, raw)[0] for role, raw in contents.items())
    return agent_packages.manifest_of(*files, **_fields(changes))


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
    return _written(path, package_of(contents, signer, **_fields(changes)))


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
    full = package_of(contents, signer, **_fields(changes))
    before = {(file.role, file.sha256) for file in base.manifest.files}
    codecs = dict.fromkeys(patches or {}, "bytes-delta")
    for file in head_of_package(full).manifest.files:
        if (file.role, file.sha256) in before:
            codecs[file.role] = "same"
    content = delta_of(full, base.path.read_bytes(), codecs, patches or {}, signer)
    return _written(path, content)


def _fields(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "compatibility": Compatibility("raspberry-pi-5", ("aarch64",), "onnxruntime", "1.18"),
        "gates": {},
        "provenance": {
            "model": "digits.onnx",
            "model_sha256": "a" * 64,
            "calibration_sha256": "c" * 64,
            "calibration_samples": "5",
            "precision": "w8a8",
            "toolchain.onnx": "1.23.2",
        },
        **changes,
    }


def _written(path: Path, content: bytes) -> Package:
    path.write_bytes(content)
    return Package(path, head_of_package(content), len(content))
