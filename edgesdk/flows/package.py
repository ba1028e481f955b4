"""Artifact in, sealed package out; and a look into either."""

from __future__ import annotations

from pathlib import Path

from edgesdk.convert.conversion import read_artifact
from edgesdk.errors import TargetError
from edgesdk.package.budget import resolve_budget
from edgesdk.package.building import build_package, read_package
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import BudgetText, GateBounds, Target
from edgesdk.validate.gates import Gates, resolve_gates
from edgesdk.values.artifact import Artifact
from edgesdk.values.package import Package, Release


def package(
    artifact: Path | str,
    output: Path | str,
    *,
    target: str | None = None,
    release: Release | None = None,
    budget: tuple[BudgetText, ...] = (),
    gates: tuple[GateBounds, ...] = (),
) -> Package:
    """Seal an artifact directory into an `.edgepkg` file.

    Args:
        target: whose budgets and gates are the defaults; the one it was converted for unless given.
        budget: on top of the target's, the last one winning.
        gates: likewise.

    Raises:
        BudgetExceeded: it does not fit; nothing was written.
        EdgeSDKError: the artifact or the target does not hold.
    """
    directory = Path(artifact)
    read = read_artifact(directory)
    descriptor = _descriptor(target, read)
    limits = resolve_budget(descriptor.budget, *budget)
    bounds = travelling(resolve_gates(descriptor.gates, *gates, budget=limits))
    return build_package(read, directory, Path(output), release or Release(), limits, bounds)


def _descriptor(target: str | None, artifact: Artifact) -> Target:
    if target is not None:
        return load_target(target)
    try:
        return load_target(artifact.plan.target_id)
    except TargetError as error:
        raise TargetError(
            f"the artifact was converted for {artifact.plan.target_id!r}, which is not built in",
            hint="name its descriptor again: --target FILE.toml",
        ) from error


def travelling(gates: Gates) -> dict[str, float]:
    """The gates as a package's manifest holds them: those that are set, in base units."""
    return gates.bounds()


def inspect(path: Path | str) -> Artifact | Package:
    """Read an artifact directory or a package file and check all of it.

    Raises:
        MalformedFile: a directory without a sound `artifact.json`.
        PackageError: missing or damaged.
    """
    path = Path(path)
    return read_artifact(path) if path.is_dir() else read_package(path)
