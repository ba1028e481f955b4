"""When a device runs the twin in the model's place: the rule that a package carries. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath

from device_agent.manifest import Band, Fallback, InputStatistics, Port
from edgesdk.errors import PackageError
from edgesdk.targets.types import RuntimeName
from edgesdk.values.artifact import Artifact
from edgesdk.values.package import FallbackCause, Release

USUAL: tuple[FallbackCause, ...] = ("load", "parity")
"""Of a package that carries a twin. "ood" must be asked for: calibration data may be too few."""

MARGIN = 0.25
"""Each band of the calibration is widened by this share of its width at either end.

Without it, one of n + 1 samples of one distribution is the least or the most in one statistic with
a probability of 2 / (n + 1), so that many would be taken for odd. docs/fallback.md has what is
measured with it.
"""

MAX_BEYOND_PERCENT = 1.0
"""Of an input's values, outside of the widened range: a few dead pixels mean little."""

MIN_SAMPLES = 20
"""Fewer say too little of where the statistics lie."""

MAX_PARITY_MISMATCH_PERCENT = 1.0
"""Where no gate bounds it; as in the built-in targets."""

_WITHOUT_ACCELERATOR: Mapping[RuntimeName, RuntimeName] = {
    "edgetpu": "litert",
    "qnn": "onnxruntime",
    "tensorrt": "onnxruntime",
}
"""What runs the float model where the package's runtime needs an accelerator to be there."""


def fallback_rule(
    artifact: Artifact, release: Release, twin: Artifact | None, gates: Mapping[str, float]
) -> Fallback | None:
    """The rule for a package of this artifact; None where it has none.

    Args:
        release: its `fallback` says when; the usual causes where it says nothing and a twin
            travels.
        twin: another conversion of the network that travels, too; it goes before the float model.
        gates: as they travel, in base units; that of parity is the rule's.

    Raises:
        PackageError: there is nothing to fall back to, the twin takes or gives other tensors or has
            a second file, or too few samples were calibrated with.
    """
    if twin is not None:
        require_twin(artifact, twin)
    carried = twin is not None or release.include_float
    causes = release.fallback if release.fallback is not None else USUAL if carried else ()
    if not causes:
        return None
    if not carried:
        raise PackageError(
            f"found a fallback on {', '.join(causes)}, and nothing to fall back to",
            hint="add --include-float, or --twin with another conversion of the network",
        )
    runtime = artifact.plan.runtime.name
    without = _WITHOUT_ACCELERATOR.get(runtime, runtime)
    return Fallback(
        role="float" if twin is None else "twin",
        runtime=without if twin is None else twin.plan.runtime.name,
        when=causes,
        max_parity_mismatch_percent=gates.get(
            "max_parity_mismatch_percent", MAX_PARITY_MISMATCH_PERCENT
        ),
        inputs=_allowed(artifact) if "ood" in causes else (),
    )


def twin_name(twin: Artifact) -> str:
    """What the twin's model file is called in the package."""
    return "twin" + "".join(PurePath(twin.file("model").path).suffixes)


def require_twin(artifact: Artifact, twin: Artifact) -> None:
    """Refuse a twin that cannot stand in for an artifact's model.

    Raises:
        PackageError: it takes or gives other tensors, or its model is of two files.
    """
    for what, ours, theirs in (
        ("inputs", artifact.inputs, twin.inputs),
        ("outputs", artifact.outputs, twin.outputs),
    ):
        if _shapes(ours) != _shapes(theirs):
            raise PackageError(
                f"the twin's {what} are {_words(theirs)}, the model's {_words(ours)}",
                hint="convert the same network for both",
            )
    if twin.has("companion"):
        raise PackageError(
            f"the twin's model is of two files, {twin.file('model').path} and "
            f"{twin.file('companion').path}; one twin file travels in a package",
            hint="use --include-float instead",
        )


def widened(seen: InputStatistics) -> InputStatistics:
    """What the device allows, of what calibration saw."""
    return replace(
        seen,
        values=_wider(seen.values),
        mean=_wider(seen.mean),
        deviation=_wider(seen.deviation, least=0.0),
        roughness=_wider(seen.roughness, least=0.0),
        max_beyond_percent=MAX_BEYOND_PERCENT,
    )


def _allowed(artifact: Artifact) -> tuple[InputStatistics, ...]:
    samples = artifact.plan.calibration_samples
    if samples < MIN_SAMPLES:
        raise PackageError(
            f"calibrated on {samples} samples, expected at least {MIN_SAMPLES} to tell which "
            "inputs are out of distribution",
            hint="convert with more calibration samples, or leave ood out of --fallback",
        )
    return tuple(widened(seen) for seen in artifact.input_statistics)


def _wider(band: Band, least: float | None = None) -> Band:
    more = MARGIN * (band.high - band.low)
    low = band.low - more
    return Band(low if least is None else max(least, low), band.high + more)


def _shapes(ports: tuple[Port, ...]) -> list[tuple[int, ...]]:
    return [port.shape for port in ports]


def _words(ports: tuple[Port, ...]) -> str:
    return ", ".join(f"{port.name} {list(port.shape)}" for port in ports)
