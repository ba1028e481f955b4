"""Seal an artifact into an `.edgepkg`: a canonical manifest and an ordered, deterministic archive.

The same artifact and choices give the same bytes. Signatures and deltas are not made yet; the
manifest's canonical bytes are what a signature will cover.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from device_agent import archive
from device_agent.manifest import (
    CHUNK_BYTES,
    FORMAT,
    Compatibility,
    File,
    Limits,
    Manifest,
)
from edgesdk.errors import PackageError
from edgesdk.files import write_durable
from edgesdk.package.budget import check_budget
from edgesdk.values.artifact import Artifact, Compilation, Role
from edgesdk.values.package import Budget, Package, Release

_VERSION_MAX = 64


def build_package(
    artifact: Artifact,
    directory: Path,
    output: Path,
    release: Release,
    budget: Budget,
    gates: Mapping[str, float],
) -> Package:
    """Write the package to `output`, all or nothing.

    Args:
        directory: where the artifact's files lie.
        gates: bounds that travel with the package, in base units.

    Raises:
        BudgetExceeded: a budget is broken; nothing was written.
        PackageError: a name or sequence that is not allowed, a file of the artifact that is missing
            or has changed, or `output` is not writable.
    """
    check_release(release, artifact.plan.model_name)
    wanted: tuple[Role, ...] = ("model", "companion", "golden", "float")
    left_out = () if release.include_float else ("float",)
    roles = tuple(role for role in wanted if artifact.has(role) and role not in left_out)
    contents = dict(_pack(artifact, directory, role) for role in roles)
    manifest = _manifest(artifact, release, tuple(contents), budget, gates)
    check_budget(budget, artifact, manifest, archive.package_bytes(manifest))
    try:
        sealed = b"".join(archive.write_package(manifest, lambda file: [contents[file]]))
        output.parent.mkdir(parents=True, exist_ok=True)
        write_durable(output, sealed)
    except archive.CorruptPackage as error:
        raise PackageError(f"this package cannot be built: {error}") from error
    except OSError as error:
        raise PackageError(f"{output} cannot be written: {error.strerror}") from error
    return Package(output, manifest, len(sealed))


def package_name(release: Release, model_name: str) -> str:
    """The release's name; without one the model's, with dashes for what a package may not have."""
    return release.name or re.sub(r"[^A-Za-z0-9._-]+", "-", model_name).strip("-._") or "model"


def check_release(release: Release, model_name: str) -> None:
    """Refuse a name, version or sequence number that no package may have.

    Raises:
        PackageError: says which, and what is allowed.
    """
    name = package_name(release, model_name)
    if not archive.is_file_name(name):
        raise PackageError(
            f"found the package name {name!r}, expected letters, digits, dots, dashes and "
            "underscores, the first a letter or digit",
            hint="choose one with --name",
        )
    if not release.version.isprintable() or not 0 < len(release.version) <= _VERSION_MAX:
        raise PackageError(
            f"found the version {release.version!r}, expected 1 to {_VERSION_MAX} printable "
            "characters"
        )
    if release.sequence < 0:
        raise PackageError(f"found the sequence number {release.sequence}, expected 0 or more")


def _pack(artifact: Artifact, directory: Path, role: Role) -> tuple[File, bytes]:
    file = artifact.file(role)
    try:
        raw = (directory / file.path).read_bytes()
    except OSError as error:
        raise PackageError(f"{directory / file.path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(raw).hexdigest() != file.sha256:
        raise PackageError(
            f"{directory / file.path} has changed since the conversion",
            hint="run edgesdk convert again",
        )
    compressed = zlib.compress(raw, 9)
    codec, stored = ("zlib", compressed) if len(compressed) < len(raw) else ("none", raw)
    chunks = tuple(
        hashlib.sha256(stored[start : start + CHUNK_BYTES]).hexdigest()
        for start in range(0, len(stored), CHUNK_BYTES)
    )
    return File(role, file.path, len(raw), file.sha256, codec, len(stored), chunks), stored


def _manifest(
    artifact: Artifact,
    release: Release,
    files: tuple[File, ...],
    budget: Budget,
    gates: Mapping[str, float],
) -> Manifest:
    plan = artifact.plan
    return Manifest(
        format=FORMAT,
        name=package_name(release, plan.model_name),
        version=release.version,
        sequence=release.sequence,
        compatibility=Compatibility(
            target=plan.target_id,
            architectures=(plan.target_architecture,),
            runtime=plan.runtime.name,
            runtime_min_version=plan.runtime.min_version,
        ),
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        files=files,
        limits=Limits(budget.installed_bytes, budget.peak_ram_bytes),
        gates=dict(gates),
        provenance=_provenance(artifact),
    )


def _provenance(artifact: Artifact) -> dict[str, str]:
    plan = artifact.plan
    chosen = {"quantizer": plan.quantizer, "bridge": plan.bridge}
    return {
        "plan": artifact.plan_digest,
        "model": plan.model_name,
        "model_sha256": plan.model_sha256,
        "calibration_sha256": plan.calibration_sha256,
        "calibration_samples": str(plan.calibration_samples),
        "precision": plan.precision,
        "compilation": _compilation(artifact.compilation),
        **{key: name for key, name in chosen.items() if name},
        **{f"toolchain.{name}": version for name, version in plan.toolchain.items()},
    }


def _compilation(compilation: Compilation) -> str:
    if compilation.status in ("not compiled", "not needed"):
        return compilation.status
    compiler = " ".join(filter(None, (compilation.compiler, compilation.version)))
    return f"{compilation.status} by {compiler}"


def read_package(path: Path) -> Package:
    """Read a package and check every byte of it against its manifest.

    Raises:
        PackageError: missing, truncated or damaged.
    """
    try:
        with path.open("rb") as stream:
            manifest = _verified(stream, path)
            return Package(path, manifest, stream.tell())
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}") from error


def _verified(stream: BinaryIO, path: Path) -> Manifest:
    try:
        return archive.verify(stream.read)
    except archive.CorruptPackage as error:
        raise PackageError(
            f"{path} is not a sound package: {error}", hint="build or copy it again"
        ) from error
