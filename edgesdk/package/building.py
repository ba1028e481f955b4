"""Seal an artifact into an `.edgepkg`: a canonical manifest, its signature, an ordered archive.

The same artifact, choices and key give the same bytes. Beside the full package a delta against an
earlier one can be made; the smaller of the two is what travels.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import edgesdk
from device_agent import archive, documents
from device_agent.archive import Head, Payload
from device_agent.codec import canonical
from device_agent.manifest import (
    FORMAT,
    Compatibility,
    Fallback,
    File,
    HealthCheck,
    Limits,
    Lock,
    Manifest,
)
from device_agent.preprocessing import Stages
from device_agent.profile_messages import FORECAST, KERNEL_PATH
from device_agent.trust import PACKAGE_NAMESPACE
from edgesdk.choices import Precision
from edgesdk.errors import PackageError
from edgesdk.files import write_durable
from edgesdk.package.budget import check_budget
from edgesdk.package.chunks import hashes, pieces
from edgesdk.package.delta_head import delta_against
from edgesdk.package.fallback import fallback_rule, twin_name
from edgesdk.package.reading import full_path
from edgesdk.package.signed import Signer, signed
from edgesdk.units import parse_duration_ns
from edgesdk.values.artifact import Artifact, Compilation, Role
from edgesdk.values.package import Budget, Package, Release

FileRole = Role | Literal["twin"]
"""What a file of a package is for."""

_VERSION_MAX = 64
_WANTED: tuple[Role, ...] = ("model", "companion", "golden", "float")


@dataclass(frozen=True, slots=True)
class Twin:
    """An artifact whose model stands in for another's, and where its files lie."""

    artifact: Artifact
    directory: Path


def build_package(
    artifact: Artifact,
    directory: Path,
    output: Path,
    release: Release,
    budget: Budget,
    gates: Mapping[str, float],
    *,
    signer: Signer | None,
    before_writing: Callable[[], None] = lambda: None,
    base: Package | None = None,
    twin: Twin | None = None,
    offered: Sequence[Precision] = (),
    stages: Stages | None = None,
) -> Package:
    """Write the package to `output`, all or nothing.

    With a base, `output` is the delta against it where that is the smaller, and the full package
    lies beside it (`full_path`), for devices that do not have the base.

    Args:
        directory: where the artifact's files lie.
        gates: bounds that travel with the package, in base units.
        signer: None leaves it unsigned.
        before_writing: called once everything has been checked, when writing is all that is left.
        base: a full package that devices have.
        twin: another conversion of the network, whose model travels as well.
        offered: precisions that the target offers with the artifact's toolchain.
        stages: what makes the model's input of a picture, and the answer of its outputs.

    Raises:
        BudgetExceeded: a budget is broken; nothing was written.
        PackageError: a name or sequence that is not allowed, a file of an artifact that is missing
            or has changed, a fallback that cannot be, or `output` is not writable, or is the base.
        SigningError: the signer cannot sign; nothing was written.
    """
    check_release(release, artifact.plan.model_name)
    if base is not None:
        _spare(base.path, output)
    contents = _contents(artifact, directory, release, twin)
    fallback = fallback_rule(artifact, release, None if twin is None else twin.artifact, gates)
    manifest = _manifest(
        *(artifact, release, contents.files, budget, gates, fallback, stages),
        sequence=_sequence(release, base, package_name(release, artifact.plan.model_name)),
    )
    head = Head(manifest, signed(signer, canonical(manifest), PACKAGE_NAMESPACE))
    full = _Archive(head, contents.stored)
    delta = None if base is None else _delta(base, full, contents.raw, signer)
    check_budget(
        *(budget, artifact, manifest, full.size_bytes, delta.size_bytes if delta else None),
        delta=delta.head.delta if delta else None,
        offered=offered,
    )
    for each in filter(None, (full, delta)):
        _require_sound(each.head)
    before_writing()
    return _written(output, full, delta)


@dataclass(frozen=True, slots=True)
class _Contents:
    """The files that go in: as the manifest has them, and by name raw and as they are stored."""

    files: tuple[File, ...]
    raw: Mapping[str, bytes]
    stored: Mapping[str, Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class _Archive:
    """A package file that has not been written.

    Args:
        stored: of every file that may travel in it, by its name.
    """

    head: Head
    stored: Mapping[str, Sequence[bytes]]

    @property
    def size_bytes(self) -> int:
        return archive.package_bytes(self.head)


def _contents(
    artifact: Artifact, directory: Path, release: Release, twin: Twin | None
) -> _Contents:
    left_out = () if release.include_float else ("float",)
    roles = [role for role in _WANTED if artifact.has(role) and role not in left_out]
    paths: dict[FileRole, str] = {role: artifact.file(role).path for role in roles}
    raw = {paths[role]: _read(artifact, directory, role) for role in roles}
    if twin is not None:
        paths["twin"] = twin_name(twin.artifact)
        raw[paths["twin"]] = _read(twin.artifact, twin.directory, "model")
    entries = [_stored(role, path, raw[path]) for role, path in paths.items()]
    stored = {file.path: chunks for file, chunks in entries}
    return _Contents(tuple(file for file, _ in entries), raw, stored)


def _delta(
    base: Package, full: _Archive, raw: Mapping[str, bytes], signer: Signer | None
) -> _Archive | None:
    """The delta against a base; None where it is not the smaller."""
    head, patches = delta_against(base, full.head, raw, signer)
    made = _Archive(head, {**full.stored, **patches})
    return made if made.size_bytes < full.size_bytes else None


def package_name(release: Release, model_name: str) -> str:
    """The release's name; without one the model's, with dashes for what a package may not have."""
    return release.name or re.sub(r"[^A-Za-z0-9._-]+", "-", model_name).strip("-._") or "model"


def check_release(release: Release, model_name: str) -> None:
    """Refuse a name, version or sequence number that no package may have.

    Raises:
        PackageError: says which, and what is allowed.
    """
    name = package_name(release, model_name)
    if not documents.is_file_name(name):
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
    if release.sequence is not None:
        _check_sequence(release.sequence, release.min_sequence)


def _check_sequence(sequence: int, least: int) -> None:
    if not 0 <= least <= sequence:
        raise PackageError(
            f"found the sequence number {sequence} with a least one of {least}, expected neither "
            "below 0, nor the latter above the former"
        )


def _spare(base: Path, output: Path) -> None:
    """The next delta, and devices that come later, need the base as it is."""
    for written in (output, full_path(output)):
        if written.exists() and written.samefile(base):
            raise PackageError(
                f"writing {output} would replace the base {base}",
                hint="choose another --output, and keep the base: later deltas may need it",
            )


def _sequence(release: Release, base: Package | None, name: str) -> int:
    """The release's own; else the one after the base's, and 1 without a base."""
    found = release.sequence
    if found is None and base is not None and base.manifest.name == name:
        found = base.manifest.sequence + 1
    found = 1 if found is None else found
    _check_sequence(found, release.min_sequence)
    return found


def _read(artifact: Artifact, directory: Path, role: Role) -> bytes:
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
    return raw


def _stored(role: FileRole, path: str, raw: bytes) -> tuple[File, Sequence[bytes]]:
    chunks = [archive.store_chunk(piece) for piece in pieces(raw)]
    file = File(
        role=role,
        path=path,
        raw_bytes=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        sizes=tuple(map(len, chunks)),
        chunks=hashes(chunks, len(raw)),
    )
    return file, chunks


def _require_sound(head: Head) -> None:
    try:
        documents.check_manifest(head.manifest)
        if head.delta is not None:
            documents.check_delta(head.delta, head.manifest)
    except documents.CorruptPackage as error:
        raise PackageError(f"this package cannot be built: {error}") from error


def _written(output: Path, full: _Archive, delta: _Archive | None) -> Package:
    if delta is None:
        _write(output, full)
        return Package(output, full.head, full.size_bytes)
    beside = full_path(output)
    _write(beside, full)
    _write(output, delta)
    return Package(output, delta.head, delta.size_bytes, beside)


def _write(output: Path, package: _Archive) -> None:
    def of(payload: Payload) -> Sequence[bytes]:
        return package.stored[payload.file.path]

    sealed = b"".join(archive.write_package(package.head, of))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_durable(output, sealed)
    except OSError as error:
        raise PackageError(f"{output} cannot be written: {error.strerror}") from error


def _manifest(
    artifact: Artifact,
    release: Release,
    files: tuple[File, ...],
    budget: Budget,
    gates: Mapping[str, float],
    fallback: Fallback | None,
    stages: Stages | None,
    sequence: int,
) -> Manifest:
    plan = artifact.plan
    return Manifest(
        format=FORMAT,
        name=package_name(release, plan.model_name),
        version=release.version,
        sequence=sequence,
        min_sequence=release.min_sequence,
        expires=release.expires,
        compatibility=Compatibility(
            target=plan.target_id,
            architectures=(plan.target_architecture,),
            runtime=plan.runtime.name,
            runtime_min_version=plan.runtime.min_version,
            boards=release.boards,
        ),
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        files=files,
        limits=Limits(
            package_bytes=budget.package_bytes,
            delta_bytes=budget.delta_bytes,
            installed_bytes=budget.installed_bytes,
            peak_ram_bytes=budget.peak_ram_bytes,
        ),
        gates=dict(gates),
        health=_health(release, gates),
        provenance=_provenance(artifact),
        fallback=fallback,
        stages=stages,
        lock=_lock(artifact),
    )


def _lock(artifact: Artifact) -> Lock:
    """What was compiled is bound to what it was compiled for; what was not, is not."""
    compilation, accelerator = artifact.compilation, artifact.plan.accelerator
    asked = compilation.status in ("compiled", "accepted")
    htp = accelerator.htp if compilation.status == "compiled" else None
    tensorrt = accelerator.tensorrt
    return Lock(
        kernels=artifact.golden.kernels,
        compiler=compilation.compiler if asked else "",
        compiler_version=compilation.version if asked else "",
        edgetpu_runtime=compilation.min_runtime_version,
        htp_arch=None if htp is None else htp.arch.value,
        htp_soc_model=None if htp is None else htp.soc_model.value,
        tensorrt="" if tensorrt is None else tensorrt.version.value,
        jetpack="" if tensorrt is None else tensorrt.jetpack.value,
    )


def _health(release: Release, gates: Mapping[str, float]) -> HealthCheck:
    """Parity is asked for as in the gates; latency and a command where the release names them."""
    latency = release.max_latency
    return HealthCheck(
        max_parity_mismatch_percent=gates.get("max_parity_mismatch_percent"),
        max_latency_ns=None if latency is None else parse_duration_ns(latency),
        command=release.health_command,
    )


def _provenance(artifact: Artifact) -> dict[str, str]:
    plan = artifact.plan
    chosen = {"quantizer": plan.quantizer, "bridge": plan.bridge}
    return {
        "edgesdk": edgesdk.__version__,
        "plan": artifact.plan_digest,
        "model": plan.model_name,
        "model_sha256": plan.model_sha256,
        "calibration_sha256": plan.calibration_sha256,
        "calibration_samples": str(plan.calibration_samples),
        "precision": plan.precision,
        "compilation": _compilation(artifact.compilation),
        **_forecast(artifact),
        **({KERNEL_PATH: artifact.kernel_path} if artifact.kernel_path else {}),
        **{key: name for key, name in chosen.items() if name},
        **{f"toolchain.{name}": version for name, version in plan.toolchain.items()},
    }


def _forecast(artifact: Artifact) -> dict[str, str]:
    """Where the operators go, for whoever measures the package without the artifact."""
    told = artifact.expected_placements
    units = Counter(placement.unit for placement in told)
    text = ", ".join(f"{count} {unit}" for unit, count in sorted(units.items()))
    return {FORECAST: text} if told else {}


def _compilation(compilation: Compilation) -> str:
    if compilation.status in ("not compiled", "not needed"):
        return compilation.status
    compiler = " ".join(filter(None, (compilation.compiler, compilation.version)))
    return f"{compilation.status} by {compiler}"
