"""What a long run without a pause came to: the curve, when it gave way, and where it ended up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from device_agent.measuring_messages import Sustained, Window
from device_agent.model_messages import Opened
from device_agent.package_messages import Installed
from edgesdk.errors import AgentError
from edgesdk.values.energy import Energy
from edgesdk.values.results import MeasuredDevice
from edgesdk.values.verdict import Estimate


@dataclass(frozen=True, slots=True)
class Endured:
    """One long run, raw.

    Args:
        windows: in order; each summed up on the device from all of its runs.
    """

    device: MeasuredDevice
    installed: Installed
    opened: Opened
    sustained: Sustained
    windows: tuple[Window, ...]

    def __post_init__(self) -> None:
        if not self.windows or len(self.windows) != self.sustained.windows:
            raise AgentError(
                f"found {len(self.windows)} windows of the long run, expected"
                f" {max(1, self.sustained.windows)}"
            )


@dataclass(frozen=True, slots=True)
class GaveWay:
    """The first sign that the device was held back.

    Args:
        at_s: since the first window began.
        sign: what told it first: its own flags, its clock, or the latency itself.
        sentence: what was seen.
    """

    at_s: float
    sign: Literal["flags", "clock", "latency"]
    sentence: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The last part of a long run, in which the latency no longer changed.

    Args:
        from_s: where it begins, since the first window began.
        windows: how many it has.
        p50, p90: in nanoseconds, over the samples that were kept; `n` is all of its runs.
    """

    from_s: float
    windows: int
    p50: Estimate
    p90: Estimate


@dataclass(frozen=True, slots=True)
class Endurance:
    """A long run and what follows from it.

    Args:
        seconds: from the first window's beginning to the last one's end.
        runs: all of them.
        first_p50_ns: median of the first windows' medians, which change is measured against.
        gave_way: None where nothing told that it did.
        settled: None where the latency still changed at the end.
        energy: by rail; empty without a sensor.
        remarks: what a reader must know, one sentence each.
    """

    endured: Endured
    seconds: float
    runs: int
    first_p50_ns: float
    gave_way: GaveWay | None
    settled: Settled | None
    energy: tuple[Energy, ...]
    remarks: tuple[str, ...]
