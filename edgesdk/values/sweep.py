"""What became of a sweep, model by model and target by target; values that can travel."""

from __future__ import annotations

from dataclasses import dataclass

from edgesdk.choices import DeviceKind
from edgesdk.values.outcome import Outcome, Problem
from edgesdk.values.report import Findings


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a model on a target.

    Args:
        float_bytes, model_bytes: of the files, before and after.
        package_bytes: of the file to push.
        worst_sqnr_db: of the activation furthest from the float model's; None where none is
            compared.
        accelerated_fraction: share of operators off the CPU by the forecast; None where the target
            has no accelerator.
    """

    package: str
    package_id: str
    float_bytes: int
    model_bytes: int
    package_bytes: int
    worst_sqnr_db: float | None
    accelerated_fraction: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A device's verdict in few figures; the whole report lies in the cell's folder.

    Args:
        kind: a board, or what stands in for one; None where nothing was measured.
    """

    device: str
    kind: DeviceKind | None
    outcome: str
    exit_code: int
    p50_ns: float | None
    accuracy_drop_points: float | None
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Swept:
    """One cell as it ended.

    Args:
        made: None where there is a problem.
        problem: None where it was made.
        measured: of the devices it was deployed to, without their raw samples.
        exit_code: the gravest of its own and its devices'.
    """

    model: str
    target: str
    made: Made | None
    problem: Problem | None
    measured: tuple[Measured, ...]
    exit_code: int
    elapsed_s: float


def measured(ended: Outcome[Findings]) -> Measured:
    """The figures of what became of a device."""
    found = ended.value
    if found is None:
        return Measured(ended.device, None, "failed", ended.exit_code, None, None, ended.problem)
    latency = found.latency("int8")
    return Measured(
        device=ended.device,
        kind=found.results.device.kind,
        outcome=found.outcome,
        exit_code=ended.exit_code,
        p50_ns=None if latency is None or latency.p50 is None else latency.p50.value,
        accuracy_drop_points=None if found.accuracy is None else found.accuracy.drop.value,
        problem=None,
    )
