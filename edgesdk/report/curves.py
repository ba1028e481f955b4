"""Geometry of a long run's chart: latency, clock and temperature over time. Styles nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from edgesdk.report.charts import WIDTH, Scale, Tick, multiples, nice_step, time_ticks
from edgesdk.values.endurance import Endurance

POINTS_MOST = 600
"""More than pixels to tell them apart; neighbours are merged by their median."""
_LATENCY = (232.0, 16.0)
_BELOW = (332.0, 262.0)
_SIDES = (70.0, float(WIDTH - 70))


@dataclass(frozen=True, slots=True)
class EnduranceChart:
    """Latency above, clock and temperature below, on one axis of time.

    Args:
        settled_x: where the settled part begins, and `gave_way_x` where the device gave way; None
            where it did not.
    """

    height: int
    left: float
    right: float
    top: float
    bottom: float
    below_top: float
    below_bottom: float
    x_ticks: tuple[Tick, ...]
    time_unit: str
    y_ticks: tuple[Tick, ...]
    unit: str
    p50: str
    p90: str
    clock: str
    clock_ticks: tuple[Tick, ...]
    heat: str
    heat_ticks: tuple[Tick, ...]
    settled_x: float | None
    gave_way_x: float | None


def endurance_chart(found: Endurance) -> EnduranceChart:
    """The latency's axis begins at zero, so that a step looks as large as it is."""
    windows = found.endured.windows
    began = windows[0].began_ns
    in_minutes = found.seconds >= 300
    per_unit = 60.0 if in_minutes else 1.0
    x = Scale(0, found.seconds / per_unit, *_SIDES)
    ends = [(window.ended_ns - began) / 1e9 / per_unit for window in windows]
    p50 = _points(ends, [float(window.p50_ns) for window in windows])
    p90 = _points(ends, [float(window.p90_ns) for window in windows])
    y = Scale(0, 1.08 * max(value for _, value in (*p50, *p90)), *_LATENCY)
    y_ticks, unit = time_ticks(y)
    readings = [at for window in windows for at in window.conditions if at.at_ns >= began]
    clocks = [(at.at_ns, at.clock_hz / 1e9) for at in readings if at.clock_hz is not None]
    heats = [
        (at.at_ns, at.temperature_celsius) for at in readings if at.temperature_celsius is not None
    ]
    clock, clock_ticks = _below(clocks, began, per_unit, x, "{:.1f} GHz")
    heat, heat_ticks = _below(heats, began, per_unit, x, "{:.0f} °C")
    step = nice_step(x.high, 8)
    settled, gave_way = found.settled, found.gave_way
    return EnduranceChart(
        height=376,
        left=x.start,
        right=x.end,
        top=y.end,
        bottom=y.start,
        below_top=_BELOW[1],
        below_bottom=_BELOW[0],
        x_ticks=tuple(Tick(x(value), f"{value:g}") for value in multiples(step, 0, x.high)),
        time_unit="min" if in_minutes else "s",
        y_ticks=y_ticks,
        unit=unit,
        p50=_path(p50, x, y),
        p90=_path(p90, x, y),
        clock=clock,
        clock_ticks=clock_ticks,
        heat=heat,
        heat_ticks=heat_ticks,
        settled_x=None if settled is None else x.clamped(settled.from_s / per_unit),
        gave_way_x=None if gave_way is None else x.clamped(gave_way.at_s / per_unit),
    )


def _points(times: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    size = -(-len(times) // POINTS_MOST)
    return [
        (times[min(i + size, len(times)) - 1], median(values[i : i + size]))
        for i in range(0, len(times), size)
    ]


def _below(
    readings: Sequence[tuple[int, float]], began: int, per_unit: float, x: Scale, text: str
) -> tuple[str, tuple[Tick, ...]]:
    if not readings:
        return "", ()
    times = [(moment - began) / 1e9 / per_unit for moment, _ in readings]
    points = _points(times, [value for _, value in readings])
    low, high = min(value for _, value in points), max(value for _, value in points)
    air = (high - low) * 0.1 or 0.05 * abs(high) or 1.0
    y = Scale(low - air, high + air, *_BELOW)
    ends = (low, high) if text.format(low) != text.format(high) else (high,)
    return _path(points, x, y), tuple(Tick(y(value), text.format(value)) for value in ends)


def _path(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    return "M" + " L".join(f"{x.clamped(time)} {y.clamped(value)}" for time, value in points)
