"""What a long run without a pause came to: the curve, when it gave way, and where it ended up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from device_agent.measuring_messages import Sustained, Window
from device_agent.model_messages import Opened
from device_agent.package_messages import Installed
from edgesdk.errors import AgentError
from edgesdk.values.energy import Energy
from edgesdk.values.results import MeasuredDevice
from edgesdk.values.validity import Validity
from edgesdk.values.verdict import Estimate, Status, Verdict

BLOCKS_MOST = 20
"""Windows follow one another closely and are alike; so whole blocks of them are drawn again."""
W = TypeVar("W")


def blocks_of(windows: Sequence[W]) -> Iterator[Sequence[W]]:
    """The windows of a long run in at most `BLOCKS_MOST` blocks of neighbours."""
    size = math.ceil(len(windows) / BLOCKS_MOST)
    for start in range(0, len(windows), size):
        yield windows[start : start + size]


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
        p50: in nanoseconds, over the samples that were kept; `n` is all of its runs.
        p90, p95: likewise; None where too few samples were kept for it.
    """

    from_s: float
    windows: int
    p50: Estimate
    p90: Estimate | None
    p95: Estimate | None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Why a long run has no settled part.

    Args:
        windows: of its end, those in which the latency no longer changed.
        needed: of them, to call that settled.
        seconds_needed: how long the run must be for so many at the least; None where it was that
            long, and the latency changed.
    """

    windows: int
    needed: int
    seconds_needed: float | None

    @property
    def sentence(self) -> str:
        """What is known, without a full stop."""
        if self.seconds_needed is not None:
            return (
                f"the run was too short to tell whether the latency settles: that takes"
                f" {self.needed} windows, {self.seconds_needed:.0f} s at the least"
            )
        last = "1 window" if self.windows == 1 else f"{self.windows} windows"
        return f"the latency still changed before the last {last}; {self.needed} alike are needed"


@dataclass(frozen=True, slots=True)
class Endurance:
    """A long run and what follows from it, judged.

    Args:
        seconds: from the first window's beginning to the last one's end.
        runs: all of them.
        first_p50_ns: median of the first windows' medians, which change is measured against.
        gave_way: None where nothing told that it did.
        settled: None where it is not known to have.
        unsettled: why; None where it has.
        energy: by rail; empty without a sensor.
        validity: whether it tells of the device at all, and what a reader must know.
        verdicts: of the gates that a run without a pause can be judged by.
        not_judged: names of the gates that were asked for and are others'.
        outcome, exit_code: as in `edgesdk.values.report.Findings`.
    """

    endured: Endured
    seconds: float
    runs: int
    first_p50_ns: float
    gave_way: GaveWay | None
    settled: Settled | None
    unsettled: Unsettled | None
    energy: tuple[Energy, ...]
    validity: Validity
    verdicts: tuple[Verdict, ...]
    not_judged: tuple[str, ...]
    outcome: Status
    exit_code: int
