"""Where a model's operators really ran, and how long each took, made of what the device said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesdk.values.forecast import Moved, Placement
from edgesdk.values.results import Role


@dataclass(frozen=True, slots=True)
class PlacementSummary:
    """The converted model's operators on the device, against where they were forecast.

    Args:
        source: what on the device said so, or why nothing does.
        units: what the runtime executes, by compute unit; operators that it fused, or that a
            vendor's compiler made one of, count as one.
        delegates: the same by what of the runtime has them; "" is its own kernels.
        accelerated_fraction: share of the model's operators off the CPU: of those the forecast
            names, else of those the runtime executes. None where nothing tells.
        accelerated_macs_fraction: share of their multiply-accumulates off the CPU; None where the
            forecast does not name them, or does not know them all.
        accelerated_time_fraction: share of the operators' time off the CPU; None without a profile.
        forecast_fraction: what `accelerated_fraction` must not be below; None where there is no
            accelerator or no compiler's word.
        on_cpu: operators that really run on the CPU, of a target that has an accelerator.
        moved: operators that are on the CPU and not where they were forecast.
    """

    source: str
    units: Mapping[str, int]
    delegates: Mapping[str, int]
    accelerated_fraction: float | None
    accelerated_macs_fraction: float | None
    accelerated_time_fraction: float | None
    forecast_fraction: float | None
    on_cpu: tuple[Placement, ...]
    moved: tuple[Moved, ...]


@dataclass(frozen=True, slots=True)
class OperatorShare:
    """One operator's time.

    Args:
        type: as the runtime spells it; empty where it does not say.
        name: its own, or its first output's.
        unit: where it ran.
        delegate: what of the runtime computed it; "" its own kernels.
        typical_ns: median of the runs; their mean where the runtime tells no more.
        share: of the sum over all operators.
    """

    type: str
    name: str
    unit: str
    delegate: str
    typical_ns: float
    share: float


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """Where one model's time goes. It is no latency: profiling takes time of its own.

    Args:
        source: what timed the operators, or why nothing did.
        runs: that the times are of; 0 where there are none.
        statistic: what `OperatorShare.typical_ns` is: "median" or "mean".
        resolution_ns: the runtime rounds times to multiples of this.
        sum_ns: of all operators.
        latency_ns: median of the clean runs; None where they were not timed.
        profiled_ns: median of the profiled runs; None where the runtime's tool does not tell it.
        overhead_percent: by how much these are slower than the clean ones; negative where faster.
        operators: the slowest first.
    """

    role: Role
    source: str
    runs: int
    statistic: str
    resolution_ns: int
    sum_ns: float
    latency_ns: float | None
    profiled_ns: float | None
    overhead_percent: float | None
    operators: tuple[OperatorShare, ...]
