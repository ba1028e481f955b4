"""What a measurement says of the device while it goes on, and messages for long ones.

Part of the wire, as `protocol` is, which knows all of them. What cannot be read is None, never a
guess; what a sensor says that cannot be true is None too, and `Conditions.odd` quotes it.
"""

from __future__ import annotations

from dataclasses import field
from typing import Dict, Optional, Tuple

from device_agent.records import record


@record(frozen=True)
class CpuTime:
    """CPU time spent since some moment, in milliseconds, summed over all CPUs; differences count.

    Args:
        all_ms: of every kind, idle too.
        idle_ms: with nothing to do, or waiting for a disk.
        steal_ms: taken by the hypervisor for other guests.
        own_ms: of the agent and its workers.
    """

    all_ms: int
    idle_ms: int
    steal_ms: int
    own_ms: int


@record(frozen=True)
class Power:
    """What a power sensor says; of the two, most have one.

    Args:
        rail: what it measures, as the sensor is labelled: "VDD_IN", "package-0".
        microwatts: at this moment.
        microjoules: since some moment; differences count.
    """

    rail: str
    microwatts: Optional[int]
    microjoules: Optional[int]


@record(frozen=True)
class Conditions:
    """State of the device at one moment of a measurement; None where it cannot be read.

    Args:
        at_ns: by the device's monotonic clock.
        clock_hz: the fastest CPU's current clock.
        temperature_celsius: of the hottest CPU sensor.
        load_average: over the last minute.
        wall_ns: by the device's wall clock, since 1970.
        governor: of the CPU clocks, several joined by ",".
        throttled: what holds the device back at this moment, in its own words; () is nothing, None
            where it has no source that would tell.
        throttle_events: how often it was held back so far, by source; that of a quota of CPU time
            since the sensors were first read.
        cpu: CPU time so far, of all and of ours.
        power: by rail.
        odd: readings that cannot be true, as "SENSOR: VALUE".
    """

    at_ns: int
    clock_hz: Optional[int]
    temperature_celsius: Optional[float]
    load_average: Optional[float]
    wall_ns: Optional[int] = None
    governor: Optional[str] = None
    throttled: Optional[Tuple[str, ...]] = None
    throttle_events: Dict[str, int] = field(default_factory=dict)
    cpu: Optional[CpuTime] = None
    power: Tuple[Power, ...] = ()
    odd: Tuple[str, ...] = ()


@record(frozen=True)
class Turn:
    """One turn of a model, between the first and the last reading of the conditions in it.

    Args:
        began_ns, ended_ns: by the device's monotonic clock.
        runs: of the model in it, those that were not timed included.
    """

    began_ns: int
    ended_ns: int
    runs: int


@record(frozen=True)
class Sustain:
    """Run one opened model without a pause for long. Reply: `Sustained`.

    Before it comes a `Window` for each window of time, as soon as it is over.

    Args:
        key: the model.
        seconds: how long, after the warm-up.
        window_seconds: least time of a window; it has `WINDOW_RUNS_MIN` runs at least.
        kept_samples: of each window, at most.
        max_warm_up_seconds: longest warm-up.
    """

    key: str
    seconds: float
    window_seconds: float
    kept_samples: int
    max_warm_up_seconds: float


WINDOW_RUNS_MIN = 10
"""The fewest runs of which a 90th percentile is not simply the slowest."""


@record(frozen=True)
class Window:
    """What one window of time gave, summed up on the device from all of its runs.

    Args:
        began_ns, ended_ns: by the device's monotonic clock.
        runs: all of them.
        total_ns, fastest_ns, slowest_ns: of all of them.
        p50_ns, p90_ns: the runs of rank ceil(p * runs), of all of them.
        samples_ns: every `every`-th run, in order.
        conditions: read in the window or at its ends.
    """

    began_ns: int
    ended_ns: int
    runs: int
    total_ns: int
    fastest_ns: int
    slowest_ns: int
    p50_ns: int
    p90_ns: int
    every: int
    samples_ns: Tuple[int, ...]
    conditions: Tuple[Conditions, ...]


@record(frozen=True)
class Sustained:
    """The end of it.

    Args:
        warm_up_runs: runs before the first window.
        steady: the warm-up ended because the latency no longer fell, not because time was up.
        windows: how many there were.
        peak_rss_bytes: highest resident memory of the worker process, since it started.
    """

    key: str
    warm_up_runs: int
    steady: bool
    windows: int
    peak_rss_bytes: Optional[int]
