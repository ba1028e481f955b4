"""Size budgets: where they come from, whether they are kept, what breaks them and helps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from device_agent.manifest import Delta, Manifest
from edgesdk.choices import Precision
from edgesdk.errors import BudgetExceeded
from edgesdk.package.overruns import Made, overruns, spent
from edgesdk.package.remedies import remedies
from edgesdk.targets.types import BudgetText
from edgesdk.units import format_bytes, parse_bytes
from edgesdk.values.artifact import Artifact
from edgesdk.values.overrun import Overrun
from edgesdk.values.package import Budget
from edgesdk.values.remedies import BudgetName, Remedy

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
    *,
    delta: Delta | None = None,
    offered: Sequence[Precision] = (),
) -> None:
    """Refuse a package that cannot keep its budgets.

    Peak RAM is checked against the model's working set, which is a lower bound: what exceeds the
    budget here exceeds it on any device. The device measures the truth.

    Args:
        package_bytes: of the package file that holds everything. It is checked where a delta is
            made, too: a device that lacks the delta's base needs it.
        delta_bytes: of the delta's package file; None without a delta.
        delta: what it holds; says what it spends on which file.
        offered: precisions that the target offers with the artifact's toolchain.

    Raises:
        BudgetExceeded: with the largest contributors, files first and then tensors, and with what
            would bring it under.
    """
    made = Made(artifact, manifest, package_bytes, delta_bytes, delta, offered)
    overrun = next(overruns(budget, made), None)
    if overrun is None:
        return
    found = remedies(overrun)
    raise BudgetExceeded(
        _sentence(overrun, made),
        what=overrun.what,
        limit_bytes=overrun.limit_bytes,
        actual_bytes=overrun.actual_bytes,
        hint=_hint(overrun, found),
        largest=_largest(overrun, made),
        remedies=found,
    )


_TITLES: Final[dict[BudgetName, str]] = {
    "package": "the package takes",
    "delta": "the delta package takes",
    "installed": "the installed files take",
    "peak_ram": "the model's weights and live activations alone take",
}


def _sentence(overrun: Overrun, made: Made) -> str:
    actual_bytes, limit_bytes = overrun.actual_bytes, overrun.limit_bytes
    beside = overrun.what == "package" and made.delta_bytes is not None
    return (
        f"{_TITLES[overrun.what]} {format_bytes(actual_bytes)} ({actual_bytes} bytes), the "
        f"{overrun.what} budget is {format_bytes(limit_bytes)} ({limit_bytes} bytes): "
        f"{format_bytes(overrun.over_bytes)} too much"
        + ("; devices without the delta's base take it" if beside else "")
    )


def _hint(overrun: Overrun, found: Sequence[Remedy]) -> str:
    option = {"peak_ram": "--ram-budget"}.get(overrun.what, f"--{overrun.what}-budget")
    larger = f"raise the budget ({option}, or [budget] in edgesdk.toml)"
    if overrun.what == "delta":
        return (
            "train fewer layers, and keep the calibration data and the recipe: what does not "
            f"change does not travel; or {larger}"
        )
    enough = any(remedy.enough_together for remedy in found)
    return f"{'do what is enough' if enough else 'use a smaller network'}, or {larger}"


def _largest(overrun: Overrun, made: Made) -> list[str]:
    if overrun.what == "delta":
        return _delta_files(made)
    tensors = [
        f"{size.kind} {size.name}: {format_bytes(size.size_bytes)} "
        f"({size.dtype}[{', '.join(map(str, size.shape))}])"
        for size in overrun.tensors[:_LISTED]
    ]
    return tensors if overrun.what == "peak_ram" else [*_files(made.manifest), *tensors]


def _files(manifest: Manifest) -> list[str]:
    return [
        f"{file.path} ({file.role}): {format_bytes(file.stored_bytes)} in the package, "
        f"{format_bytes(file.raw_bytes)} installed"
        for file in sorted(manifest.files, key=lambda file: -file.stored_bytes)
    ]


def _delta_files(made: Made) -> list[str]:
    carried = spent(made)
    return [
        f"{file.path} ({file.role}): {format_bytes(carried[file.role])} in the delta, "
        f"{format_bytes(file.stored_bytes)} in the full package"
        for file in sorted(made.manifest.files, key=lambda file: -carried.get(file.role, 0))
        if file.role in carried
    ]
