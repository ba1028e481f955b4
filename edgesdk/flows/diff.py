"""Two versions of a model in, what changed and what shipping that costs out."""

from __future__ import annotations

from pathlib import Path

from edgesdk.convert.conversion import read_artifact
from edgesdk.errors import ModelError
from edgesdk.package.contents import PACKAGE_SUFFIX, read_raw
from edgesdk.package.delta.explain import explain
from edgesdk.values.difference import Difference, Explanation

_WEIGHTS = {".xml": ".bin"}
"""Model files whose weights lie beside them."""


def diff(old: Path | str, new: Path | str) -> Difference:
    """Explain, tensor by tensor, the delta between two versions.

    Args:
        old, new: each an `.edgepkg`, an artifact directory or a model file.

    Raises:
        ModelError: one of them is not there.
        EdgeSDKError: a package or an artifact that does not hold.
    """
    before, after = _files(Path(old)), _files(Path(new))
    explained: dict[str, Explanation] = {}
    for role, content in after.items():
        if role not in before:
            continue
        described = (before["model"], after["model"]) if role == "companion" else (b"", b"")
        explained[role] = explain(
            before[role], content, base_described_by=described[0], described_by=described[1]
        )
    return Difference(str(old), str(new), explained)


def _files(path: Path) -> dict[str, bytes]:
    """What a device loads, by role: the model, and its companion where it has one."""
    if path.is_dir():
        artifact = read_artifact(path)
        roles = ("model", "companion")
        found = {file.role: path / file.path for file in artifact.files if file.role in roles}
        return {str(role): place.read_bytes() for role, place in found.items()}
    if not path.is_file():
        raise ModelError(
            f"found nothing at {path}, expected an .edgepkg, an artifact directory or a model file"
        )
    if path.suffix == PACKAGE_SUFFIX:
        return read_raw(path, ("model", "companion"))
    files = {"model": path.read_bytes()}
    weights = path.with_suffix(_WEIGHTS.get(path.suffix, path.suffix))
    if weights != path and weights.is_file():
        files["companion"] = weights.read_bytes()
    return files
