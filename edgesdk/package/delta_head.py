"""The head of a delta package: how each file is made from what a device has, and the patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from device_agent.archive import Head
from device_agent.codec import canonical
from device_agent.manifest import DELTA_FORMAT, Delta, DeltaFile, File, Manifest
from device_agent.trust import DELTA_NAMESPACE
from edgesdk.errors import PackageError
from edgesdk.package.chunks import hashes, pieces
from edgesdk.package.delta import Delta as MadeDelta
from edgesdk.package.delta import make_delta
from edgesdk.package.reading import full_path, read_contents
from edgesdk.package.signed import Signer, signed
from edgesdk.values.package import Package


def delta_against(
    base: Package, head: Head, contents: Mapping[str, bytes], signer: Signer | None
) -> tuple[Head, dict[str, Sequence[bytes]]]:
    """The head of the delta package, and the stored bytes of each patch by its file's name.

    Args:
        base: a full package that devices have.
        head: of the full package that the delta makes.
        contents: that package's files by their names.

    Raises:
        PackageError: the base is a delta itself.
        SigningError: the signer cannot sign.
    """
    if base.head.delta is not None:
        raise PackageError(
            f"{base.path} is a delta itself, and has no whole files to make one against",
            hint=f"name the full package beside it: {full_path(base.path)}",
        )
    made = list(_files(base.manifest, read_contents(base.path), head.manifest, contents))
    hows = tuple(how for how, _ in made)
    delta = Delta(DELTA_FORMAT, head.package_id, base.manifest.package_id, hows)
    signatures = signed(signer, canonical(delta), DELTA_NAMESPACE)
    patches: dict[str, Sequence[bytes]] = {
        how.path: list(pieces(patch)) for how, patch in made if patch
    }
    return Head(head.manifest, head.signatures, delta, signatures), patches


def _files(
    base: Manifest, old: Mapping[str, bytes], manifest: Manifest, new: Mapping[str, bytes]
) -> Iterator[tuple[DeltaFile, bytes]]:
    """How each file travels, and its patch; b"" where it has none."""
    old_model, model = _model(base, old), _model(manifest, new)
    for file in manifest.files:
        before = base.file(file.role)
        if before is None:
            yield DeltaFile(file.path, "full"), b""
        elif before.sha256 == file.sha256:
            yield DeltaFile(file.path, "same", before.sha256, before.raw_bytes), b""
        else:
            # A companion's tensors are described by the model beside it.
            described = file.role == "companion"
            yield _patched(
                file,
                before,
                make_delta(
                    old[before.path],
                    new[file.path],
                    base_described_by=old_model if described else b"",
                    described_by=model if described else b"",
                ),
            )


def _model(manifest: Manifest, contents: Mapping[str, bytes]) -> bytes:
    model = manifest.file("model")
    return b"" if model is None else contents[model.path]


def _patched(file: File, before: File, made: MadeDelta) -> tuple[DeltaFile, bytes]:
    size = len(made.patch)
    if not 0 < size < file.stored_bytes:
        return DeltaFile(file.path, "full"), b""
    chunks = hashes(pieces(made.patch), size)
    how = DeltaFile(file.path, made.codec, before.sha256, before.raw_bytes, size, chunks)
    return how, made.patch
