"""Size budgets: where they come from, whether they are kept, and what breaks them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from device_agent.manifest import Manifest
from edgesdk.errors import BudgetExceeded
from edgesdk.targets.types import BudgetText
from edgesdk.units import format_bytes, parse_bytes
from edgesdk.values.artifact import Artifact, TensorSize
from edgesdk.values.package import Budget

_LISTED = 8


def resolve_budget(*layers: BudgetText) -> Budget:
    """The budget in force: a later layer (project, flags) overrides an earlier one (target).

    Raises:
        UsageError: a text is not a size.
    """

    def last(texts: Iterable[str | None]) -> int | None:
        given = [text for text in texts if text is not None]
        return parse_bytes(given[-1]) if given else None

    return Budget(
        package_bytes=last(layer.package for layer in layers),
        installed_bytes=last(layer.installed for layer in layers),
        peak_ram_bytes=last(layer.peak_ram for layer in layers),
        delta_bytes=last(layer.delta for layer in layers),
    )


def check_budget(
    budget: Budget,
    artifact: Artifact,
    manifest: Manifest,
    package_bytes: int,
    delta_bytes: int | None,
) -> None:
    """Refuse a package that cannot keep its budgets.

    Peak RAM is checked against the model's working set, which is a lower bound: what exceeds the
    budget here exceeds it on any device. The device measures the truth.

    Raises:
        BudgetExceeded: with the largest contributors, files first and then tensors.
    """
    files = [
        f"{file.path} ({file.role}): {format_bytes(file.stored_bytes)} in the package, "
        f"{format_bytes(file.raw_bytes)} installed"
        for file in sorted(manifest.files, key=lambda file: -file.stored_bytes)
    ]
    constants = [size for size in artifact.tensor_sizes if size.kind == "constant"]
    installed_bytes = sum(file.raw_bytes for file in manifest.files)
    listed = [*files, *_tensors(constants)]
    smaller = "shrink the network, or raise the budget"
    if manifest.file("float") is not None:
        smaller = "leave the float model out, " + smaller
    _check("package", budget.package_bytes, package_bytes, listed, smaller)
    if delta_bytes is not None:
        _check("delta", budget.delta_bytes, delta_bytes, listed, smaller)
    _check("installed", budget.installed_bytes, installed_bytes, listed, smaller)
    _check(
        "peak_ram",
        budget.peak_ram_bytes,
        artifact.working_set_bytes,
        _tensors(artifact.tensor_sizes),
        "use a smaller input or network, or raise the budget",
    )


_TITLES = {
    "package": "the package takes",
    "delta": "the delta package takes",
    "installed": "the installed files take",
    "peak_ram": "the model's weights and live activations alone take",
}


def _check(
    what: str, limit_bytes: int | None, actual_bytes: int, largest: list[str], hint: str
) -> None:
    if limit_bytes is not None and actual_bytes > limit_bytes:
        raise BudgetExceeded(
            f"{_TITLES[what]} {format_bytes(actual_bytes)} ({actual_bytes} bytes), "
            f"the {what} budget is {format_bytes(limit_bytes)} ({limit_bytes} bytes)",
            what=what,
            limit_bytes=limit_bytes,
            actual_bytes=actual_bytes,
            hint=hint,
            details=largest,
        )


def _tensors(sizes: Iterable[TensorSize]) -> list[str]:
    return [
        f"{size.kind} {size.name}: {format_bytes(size.size_bytes)} "
        f"({size.dtype}[{', '.join(map(str, size.shape))}])"
        for size in list(sizes)[:_LISTED]
    ]
