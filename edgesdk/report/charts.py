"""Geometry of the page's charts: from report to positions and SVG paths. Draws and styles nothing.

Positions are in the user units of each chart's `viewBox`; y grows downwards, as in SVG.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgesdk.values.report import ClassAccuracy, Contributor, LatencySummary, Report
from edgesdk.values.results import ModelRun
from edgesdk.values.verdict import Verdict, written

WIDTH = 960
MOST_POINTS = 1500
MOST_CLASSES = 20
_LABEL_SHARES = {"float": 0.3, "int8": 0.65}
"""Where on its curve a name stands: apart, so that two curves of one speed stay legible."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to positions."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def clamped(self, value: float) -> float:
        """As calling, with values outside the scale moved to its ends."""
        return self(min(self.high, max(self.low, value)))


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Share of runs finished by a time, as a path; `label_x`, `label_y` is a place beside it."""

    role: str
    path: str
    label_x: float
    label_y: float


@dataclass(frozen=True, slots=True)
class CumulativeChart:
    """All latencies on one axis from zero: how many runs had finished by then."""

    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    unit: str
    curves: tuple[Curve, ...]
    beyond: int
    """Runs to the right of the axis."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class RunChart:
    """One model's runs in order, with the histogram of the same runs beside them."""

    role: str
    height: int
    left: float
    right: float
    top: float
    bottom: float
    histogram_left: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    unit: str
    dots: str
    arrows: str
    turns: tuple[Box, ...]
    turn_count: int
    bars: tuple[Box, ...]
    lines: tuple[Tick, ...]
    every: int
    beyond: int
    slowest: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar."""

    x: float
    width: float
    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SizeBar:
    """The package drawn against its budget; `budget_x` is None without one."""

    segments: tuple[Segment, ...]
    end_x: float
    budget_x: float | None


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gate's value, interval and bound on a line; without interval, `low` = `high` = `value`."""

    zero: float
    bound: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class in the chart: change in points, its interval, `sure` when that excludes zero."""

    row: ClassAccuracy
    y: float
    value: float
    low: float
    high: float
    sure: Literal["worse", "better", ""]


@dataclass(frozen=True, slots=True)
class ClassChart:
    """The change of each class's accuracy; `left_out` classes changed least and are not drawn."""

    height: int
    left: float
    right: float
    bottom: float
    zero: float
    x_ticks: tuple[Tick, ...]
    rows: tuple[ClassRow, ...]
    left_out: int


def cumulative_chart(runs: Sequence[ModelRun]) -> CumulativeChart | None:
    """None without runs. The axis ends where 99.5 % of the slower model's runs have finished."""
    if not runs:
        return None
    ordered = {run.role: np.sort(_samples(run)) for run in runs}
    end = 1.05 * max(float(np.quantile(values, 0.995)) for values in ordered.values())
    x, y = Scale(0, end, 64, WIDTH - 20), Scale(0, 1, 232, 16)
    x_ticks, unit = time_ticks(x)
    return CumulativeChart(
        height=280,
        left=x.start,
        right=x.end,
        top=y.end,
        bottom=y.start,
        x_ticks=x_ticks,
        y_ticks=tuple(
            Tick(y(share), f"{100 * share:.0f} %") for share in (0, 0.25, 0.5, 0.75, 0.95)
        ),
        unit=unit,
        curves=tuple(_curve(role, values, x, y) for role, values in ordered.items()),
        beyond=sum(int(np.sum(values > end)) for values in ordered.values()),
    )


def _curve(role: str, ordered: Values, x: Scale, y: Scale) -> Curve:
    shares = np.linspace(0, 1, min(len(ordered), 300))
    times = np.quantile(ordered, shares, method="inverted_cdf")
    points = [(x.clamped(time), y(share)) for time, share in zip(times, shares, strict=True)]
    inside = " ".join(f"H{time} V{share}" for time, share in points)
    path = f"M{points[0][0]} {y.start} {inside}"
    beside = _LABEL_SHARES[role]
    label_x = x.clamped(float(np.quantile(ordered, beside))) + 9
    return Curve(role, path, label_x, y(beside) + 5)


def run_chart(run: ModelRun, summary: LatencySummary) -> RunChart:
    """The vertical axis covers the bulk of the runs, not zero; slower ones stand at its top."""
    samples = _samples(run)
    low, high = _bulk(samples)
    y, x = Scale(low, high, 206, 16), Scale(1, max(2, len(samples)), 64, 730)
    y_ticks, unit = time_ticks(y)
    histogram = Scale(0, 1, 750, WIDTH - 70)
    every = math.ceil(len(samples) / MOST_POINTS)
    indices = np.arange(0, len(samples), every)
    late = np.flatnonzero(samples > high)[:MOST_POINTS]
    return RunChart(
        role=run.role,
        height=252,
        left=x.start,
        right=x.end,
        top=y.end,
        bottom=y.start,
        histogram_left=histogram.start,
        x_ticks=_run_ticks(x, len(samples)),
        y_ticks=y_ticks,
        unit=unit,
        dots=" ".join(
            f"M{x(i + 1)} {y(samples[i])}h0" for i in indices.tolist() if samples[i] <= high
        ),
        arrows=" ".join(f"M{x(i + 1)} {y.end - 9}l4 7h-8z" for i in late.tolist()),
        turns=_turn_boxes(run.latency.block_sizes, x, y),
        turn_count=len(run.latency.block_sizes),
        bars=_bars(samples[samples <= high], y, histogram),
        lines=tuple(
            Tick(y.clamped(estimate.value), name)
            for name, estimate in (("p50", summary.p50), ("p95", summary.p95))
            if estimate is not None
        ),
        every=every,
        beyond=int(np.sum(samples > high)),
        slowest=_one(float(samples.max())),
    )


def _samples(run: ModelRun) -> Values:
    return np.asarray(run.latency.samples_ns, dtype=np.float64)


def _one(value_ns: float) -> str:
    symbol, (text,) = written("ns", value_ns)
    return f"{text} {symbol}"


def _bulk(samples: Values) -> tuple[float, float]:
    """From the fastest run to where only far outliers lie, with some air."""
    fastest, middle, late = (float(q) for q in np.quantile(samples, [0, 0.5, 0.95]))
    high = min(float(samples.max()), middle + 2.5 * (late - middle) + 0.01 * middle)
    air = 0.06 * (high - fastest) or 0.01 * fastest
    return fastest - air, high + air


def _turn_boxes(sizes: Sequence[int], x: Scale, y: Scale) -> tuple[Box, ...]:
    """Every second turn, to be shaded."""
    ends = np.cumsum([0, *sizes]).tolist()
    return tuple(
        Box(
            x.clamped(start + 0.5),
            y.end,
            round(x.clamped(end + 0.5) - x.clamped(start + 0.5), 1),
            y.start - y.end,
        )
        for start, end in list(itertools.pairwise(ends))[1::2]
    )


def _bars(samples: Values, y: Scale, length: Scale, bins: int = 38) -> tuple[Box, ...]:
    counts, edges = np.histogram(samples, bins=bins, range=(y.low, y.high))
    most = max(1, int(counts.max()))
    return tuple(
        Box(
            length.start,
            y(upper),
            round(length(count / most) - length.start, 1),
            round(y(lower) - y(upper), 1),
        )
        for count, lower, upper in zip(counts.tolist(), edges[:-1], edges[1:], strict=True)
        if count
    )


def _run_ticks(x: Scale, count: int) -> tuple[Tick, ...]:
    step = max(1, nice_step(count, 8))
    return tuple(Tick(x(i), f"{i:,.0f}") for i in (1, *multiples(step, 2, count)))


def time_ticks(scale: Scale) -> tuple[tuple[Tick, ...], str]:
    """Ticks of a scale in nanoseconds, and the symbol that their texts leave out."""
    values = list(multiples(nice_step(scale.high - scale.low, 7.5), scale.low, scale.high))
    unit, texts = written("ns", scale.high, *values)
    decimals = max((len(_trimmed(text).partition(".")[2]) for text in texts[1:]), default=0)
    return (
        tuple(Tick(scale(v), _fixed(t, decimals)) for v, t in zip(values, texts[1:], strict=True)),
        unit,
    )


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _fixed(text: str, decimals: int) -> str:
    return f"{float(text):.{decimals}f}"


def nice_step(span: float, count: float) -> float:
    """1, 2 or 5 times a power of ten, for about `count` ticks over `span`."""
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def multiples(step: float, low: float, high: float) -> Iterable[float]:
    """Those of `step` from `low` to `high`."""
    first, last = math.ceil(low / step), math.floor(high / step)
    return (step * i for i in range(first, last + 1))


def size_bar(report: Report) -> SizeBar:
    """The package's files and its few own bytes, on a scale that holds package and budget."""
    package = report.package
    files = sum(part.size_bytes for part in package.contributors)
    rest = Contributor("manifest and framing", max(0, package.size_bytes - files))
    x = Scale(0, max(1, package.size_bytes, package.budget_bytes or 0), 0, WIDTH)
    segments, start = [], 0
    for part in (*package.contributors, rest):
        left, right = x.clamped(start), x.clamped(start + part.size_bytes)
        segments.append(Segment(left, round(right - left, 1), part.name, part.size_bytes))
        start += part.size_bytes
    budget = package.budget_bytes
    return SizeBar(tuple(segments), x(package.size_bytes), None if budget is None else x(budget))


def gauge(verdict: Verdict) -> Gauge | None:
    """None when nothing was measured."""
    measured = verdict.measured
    if measured is None:
        return None
    interval = measured.interval
    low, high = (interval.low, interval.high) if interval else (measured.value, measured.value)
    ends = (0.0, verdict.bound, low, high)
    span = (max(ends) - min(ends)) or 1.0
    x = Scale(min(ends) - 0.04 * span, max(ends) + 0.04 * span, 0, 200)
    return Gauge(x(0), x(verdict.bound), x(measured.value), x(low), x(high))


def class_chart(classes: Sequence[ClassAccuracy]) -> ClassChart | None:
    """The classes that changed most, in label order; None without classes."""
    if not classes:
        return None
    most_changed = sorted(classes, key=lambda row: -abs(row.drop.value))[:MOST_CLASSES]
    shown = sorted(most_changed, key=lambda row: row.label)
    ends = [_change(row) for row in shown]
    x = Scale(min(-1.0, *(e[0] for e in ends)), max(1.0, *(e[2] for e in ends)), 76, WIDTH - 190)
    rows = [
        ClassRow(row, 20 + 24 * i, x(value), x(low), x(high), _sure(low, high))
        for i, (row, (low, value, high)) in enumerate(zip(shown, ends, strict=True))
    ]
    bottom = 12 + 24 * len(rows)
    ticks = multiples(nice_step(x.high - x.low, 8), x.low, x.high)
    return ClassChart(
        height=bottom + 44,
        left=x.start,
        right=x.end,
        bottom=bottom,
        zero=x(0),
        x_ticks=tuple(Tick(x(value), f"{value + 0.0:+g}" if value else "0") for value in ticks),
        rows=tuple(rows),
        left_out=len(classes) - len(shown),
    )


def _sure(low: float, high: float) -> Literal["worse", "better", ""]:
    return "worse" if high < 0 else "better" if low > 0 else ""


def _change(row: ClassAccuracy) -> tuple[float, float, float]:
    """Low, value and high of converted minus float: lost accuracy points left."""
    drop = row.drop
    low, high = (drop.interval.low, drop.interval.high) if drop.interval else (drop.value,) * 2
    return -high, -drop.value, -low
