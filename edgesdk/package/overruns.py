"""What each budget counts of a package, and which are broken. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from device_agent.manifest import Delta, Manifest
from edgesdk.choices import Precision
from edgesdk.values.artifact import Artifact, TensorSize
from edgesdk.values.overrun import Network, Overrun
from edgesdk.values.package import Budget
from edgesdk.values.remedies import BudgetName


@dataclass(frozen=True, slots=True)
class Made:
    """A package that is about to be written; see `edgesdk.package.budget.check_budget`."""

    artifact: Artifact
    manifest: Manifest
    package_bytes: int
    delta_bytes: int | None
    delta: Delta | None
    offered: Sequence[Precision]


def overruns(budget: Budget, made: Made) -> Iterator[Overrun]:
    """The budgets that are broken, in the order in which bytes are spent: travel, disk, memory."""
    found = (
        (budget.package_bytes, _package),
        (budget.delta_bytes, _delta),
        (budget.installed_bytes, _installed),
        (budget.peak_ram_bytes, _peak_ram),
    )
    for limit_bytes, count in found:
        overrun = None if limit_bytes is None else count(made, limit_bytes)
        if overrun is not None and overrun.over_bytes > 0:
            yield overrun


def spent(made: Made) -> Mapping[str, int]:
    """Role of each file to what the delta carries of it, in bytes; empty where nobody says it."""
    if made.delta is None:
        return {}
    return {
        file.role: file.stored_bytes if each.codec == "full" else each.stored_bytes
        for file, each in zip(made.manifest.files, made.delta.files, strict=True)
    }


def _package(made: Made, limit_bytes: int) -> Overrun:
    sizes = {file.role: file.stored_bytes for file in made.manifest.files}
    return _whole(made, "package", limit_bytes, made.package_bytes, sizes)


def _delta(made: Made, limit_bytes: int) -> Overrun | None:
    """Without tensors: one of another shape or type would have no base to be made from."""
    if made.delta_bytes is None:
        return None
    return _of_files(made, "delta", limit_bytes, made.delta_bytes, spent(made))


def _installed(made: Made, limit_bytes: int) -> Overrun:
    sizes = {file.role: file.raw_bytes for file in made.manifest.files}
    return _whole(made, "installed", limit_bytes, made.manifest.raw_bytes, sizes)


def _whole(
    made: Made, what: BudgetName, limit_bytes: int, actual_bytes: int, sizes: Mapping[str, int]
) -> Overrun:
    """What whole files take, and the tensors in them."""
    return replace(
        _of_files(made, what, limit_bytes, actual_bytes, sizes),
        tensors=_constants(made.artifact),
        counted=_counted(made, sizes),
    )


def _of_files(
    made: Made, what: BudgetName, limit_bytes: int, actual_bytes: int, sizes: Mapping[str, int]
) -> Overrun:
    """What files take.

    Args:
        sizes: role of each file to what counts of it, in bytes.
    """
    return Overrun(
        what=what,
        limit_bytes=limit_bytes,
        actual_bytes=actual_bytes,
        network=_network(made),
        float_bytes=sizes.get("float", 0),
        twin_bytes=sizes.get("twin", 0),
        fallback=_fallback(made),
        golden_bytes=sizes.get("golden", 0),
        golden_count=made.artifact.golden.count,
    )


def _peak_ram(made: Made, limit_bytes: int) -> Overrun:
    tensors = made.artifact.tensor_sizes
    return Overrun(
        what="peak_ram",
        limit_bytes=limit_bytes,
        actual_bytes=made.artifact.working_set_bytes,
        network=_network(made),
        tensors=tuple(size for size in tensors if size.kind == "constant" or size.at_peak),
    )


def _fallback(made: Made) -> str:
    return "" if made.manifest.fallback is None else made.manifest.fallback.role


def _constants(artifact: Artifact) -> tuple[TensorSize, ...]:
    return tuple(size for size in artifact.tensor_sizes if size.kind == "constant")


def _counted(made: Made, sizes: Mapping[str, int]) -> float:
    """What a byte of a constant takes of the file that holds it, which a compiler may have made."""
    held = "companion" if "companion" in sizes else "model"
    (raw_bytes,) = (file.raw_bytes for file in made.manifest.files if file.role == held)
    constant_bytes = sum(size.size_bytes for size in _constants(made.artifact))
    return sizes[held] / max(1, raw_bytes, constant_bytes)


def _network(made: Made) -> Network:
    artifact, plan = made.artifact, made.artifact.plan
    return Network(
        layout="NCHW" if plan.working_format == "onnx" else "NHWC",
        inputs=tuple((port.name, port.shape) for port in artifact.inputs),
        outputs=tuple((port.name, port.shape) for port in artifact.outputs),
        precision=plan.precision,
        offered=tuple(made.offered),
        keep_float=plan.keep_float,
        overrides=plan.overrides,
        operators=artifact.operators,
    )
