"""Artifact in, sealed package out; and a look into either."""

from __future__ import annotations

from pathlib import Path

from edgesdk.convert.conversion import ARTIFACT_FILE, read_artifact
from edgesdk.errors import PackageError
from edgesdk.package.budget import resolve_budget
from edgesdk.package.building import Release, build_package, read_package
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import BudgetText, GateBounds
from edgesdk.validate.gates import bounds_to_send, resolve_gates
from edgesdk.values.artifact import Artifact
from edgesdk.values.package import Package


def package(
    artifact: Path | str,
    output: Path | str,
    *,
    target: str | None = None,
    name: str | None = None,
    version: str = "0.1.0",
    sequence: int = 1,
    include_float: bool = False,
    budget: tuple[BudgetText, ...] = (),
    gates: tuple[GateBounds, ...] = (),
) -> Package:
    """Seal an artifact directory into an `.edgepkg` file.

    Args:
        target: whose budgets and gates are the defaults; the one it was converted for unless given.
        name: what the package is called on the device; the model's name unless given.
        budget: on top of the target's, the last one winning.
        gates: likewise.

    Raises:
        BudgetExceeded: it does not fit; nothing was written.
        EdgeSDKError: the artifact or the target does not hold.
    """
    directory = Path(artifact)
    read = read_artifact(directory)
    descriptor = load_target(target or read.plan.target_id)
    return build_package(
        read,
        directory,
        Path(output),
        Release(name or read.plan.model_name, version, sequence),
        resolve_budget(descriptor.budget, *budget),
        bounds_to_send(resolve_gates(descriptor.gates, *gates)),
        include_float,
    )


def inspect(path: Path | str) -> Artifact | Package:
    """Read an artifact directory or a package file and check all of it.

    Raises:
        PackageError: missing or damaged, or neither of the two.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / ARTIFACT_FILE).is_file():
            raise PackageError(f"{path} holds no {ARTIFACT_FILE}, expected an artifact directory")
        return read_artifact(path)
    return read_package(path)
