"""How long a latency measurement takes."""

from __future__ import annotations

from dataclasses import dataclass

from edgesdk.errors import UsageError


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to measure.

    Args:
        blocks: turns of each model.
        min_runs: runs of each model, at least (74 give a 95 % interval of the 95th percentile).
        min_seconds: time in each model, at least.
        max_seconds: time in each model, at most, even if `min_runs` is not reached.
        max_warm_up_seconds: longest warm-up of each model.
        threads: 0 means one per CPU of the device, at most 4.
        cold_load: load the converted model once more than needed, as after a start of the device.
        operators: time each operator, too, in runs of their own after the clean ones.

    Raises:
        UsageError: the least time exceeds the most.
    """

    blocks: int = 10
    min_runs: int = 400
    min_seconds: float = 3.0
    max_seconds: float = 60.0
    max_warm_up_seconds: float = 10.0
    threads: int = 0
    cold_load: bool = False
    operators: bool = False

    def __post_init__(self) -> None:
        if self.min_seconds > self.max_seconds:
            raise UsageError(
                f"found at least {self.min_seconds:g} s and at most {self.max_seconds:g} s in each "
                "model, expected the least not to exceed the most"
            )
