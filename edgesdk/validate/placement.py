"""What really ran where, against what was forecast, and where the time goes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from device_agent.profile_messages import ModelPlacement, OperatorPlace, OperatorTime, Profiled
from edgesdk.values.forecast import (
    CPU,
    Moved,
    Placement,
    accelerated_fraction,
    accelerated_macs,
    moved,
)
from edgesdk.values.placement import OperatorShare, PlacementSummary, ProfileSummary
from edgesdk.values.results import Results, Role

_NAMED = 4


def summarize_placement(
    results: Results, expected: Sequence[Placement] = ()
) -> PlacementSummary | None:
    """The operators where the device says they are; None where it was not asked.

    Args:
        expected: where they must be, by the artifact; without it, the package's own manifest says
            how many.
    """
    found = results.placement
    if found is None:
        return None
    real = tuple(_really(found.operators, expected)) if found.operators else ()
    told = _counts(found.forecast)
    accelerated = any(place.unit != CPU for place in found.operators)
    return PlacementSummary(
        source=found.source,
        units=_tally(place.unit for place in found.operators),
        delegates=_tally(place.delegate for place in found.operators),
        accelerated_fraction=_fraction(found, real, told),
        accelerated_macs_fraction=accelerated_macs(real),
        accelerated_time_fraction=_time_fraction(results.profile("int8")),
        forecast_fraction=accelerated_fraction(expected) if expected else _told_fraction(told),
        on_cpu=_on_cpu(found.operators, real) if accelerated or expected or told else (),
        moved=tuple(each for each in moved(expected, real) if each.found.unit == CPU),
    )


def _really(
    operators: Sequence[OperatorPlace], expected: Sequence[Placement]
) -> Iterator[Placement]:
    """The forecast's operators on the units where the device has them.

    A runtime fuses operators, and a compiled file has one in place of many. So where everything it
    executes is on one unit, all are; else they are found by their names, and those that are in
    nothing else are in what was compiled.
    """
    units = {place.unit for place in operators}
    by_name = {place.name: place.unit for place in operators}
    compiled = next((unit for unit in sorted(units) if unit != CPU), CPU)
    for each in expected:
        unit = each.unit if each.unit == CPU else compiled
        if len(units) == 1:
            unit = compiled
        elif each.name in by_name:
            unit = by_name[each.name]
        if (unit == CPU) == (each.unit == CPU):
            yield each  # Units have the target's names there, the runtime's here.
        else:
            yield replace(each, unit=unit, reason="", cure="")


def _fraction(
    found: ModelPlacement, real: Sequence[Placement], told: Mapping[str, int]
) -> float | None:
    if real:
        return accelerated_fraction(real)
    on_cpu = sum(place.unit == CPU for place in found.operators)
    if not found.operators or on_cpu == len(found.operators):
        return 0.0 if found.operators else None
    total = sum(told.values()) or len(found.operators)
    return max(0, total - on_cpu) / total


def _told_fraction(told: Mapping[str, int]) -> float | None:
    total = sum(told.values())
    return (total - told.get(CPU, 0)) / total if total else None


def _counts(text: str) -> Mapping[str, int]:
    """ "31 edgetpu, 1 cpu", as `package.building` writes it; what is not so counts nothing."""
    pairs = (part.split(maxsplit=1) for part in text.split(",") if part.strip())
    return {pair[1]: int(pair[0]) for pair in pairs if len(pair) == 2 and pair[0].isdecimal()}


def _on_cpu(operators: Sequence[OperatorPlace], real: Sequence[Placement]) -> tuple[Placement, ...]:
    if real:
        return tuple(each for each in real if each.unit == CPU)
    return tuple(
        Placement(index, place.type, place.name, place.unit)
        for index, place in enumerate(operators)
        if place.unit == CPU
    )


def _time_fraction(profile: Profiled | None) -> float | None:
    if profile is None or not profile.operators:
        return None
    times = [(each.place.unit, _typical(each)) for each in profile.operators]
    total = sum(time for _, time in times)
    return sum(time for unit, time in times if unit != CPU) / total if total else None


def _tally(names: Iterator[str]) -> Mapping[str, int]:
    return dict(sorted(Counter(names).items()))


def summarize_profiles(results: Results) -> tuple[ProfileSummary, ...]:
    """Each profile beside the clean latency of the same model."""
    roles: tuple[Role, ...] = ("float", "int8")
    pairs = ((role, results.profile(role)) for role in roles)
    return tuple(_summarize(role, each, results) for role, each in pairs if each is not None)


def _summarize(role: Role, profile: Profiled, results: Results) -> ProfileSummary:
    run = results.run(role)
    clean = None if run is None else float(median(run.latency.samples_ns))
    profiled = float(median(profile.samples_ns)) if profile.samples_ns else None
    total = sum(_typical(each) for each in profile.operators)
    shares = (_share(each, total) for each in profile.operators)
    return ProfileSummary(
        role=role,
        source=profile.source,
        runs=profile.runs,
        statistic="median" if all(each.samples_ns for each in profile.operators) else "mean",
        resolution_ns=profile.resolution_ns,
        sum_ns=total,
        latency_ns=clean,
        profiled_ns=profiled,
        overhead_percent=100 * (profiled / clean - 1) if profiled and clean else None,
        operators=tuple(sorted(shares, key=lambda each: -each.typical_ns)),
    )


def _typical(time: OperatorTime) -> float:
    return float(median(time.samples_ns)) if time.samples_ns else float(time.mean_ns)


def _share(time: OperatorTime, total: float) -> OperatorShare:
    place, typical = time.place, _typical(time)
    return OperatorShare(
        place.type, place.name, place.unit, place.delegate, typical, typical / total if total else 0
    )


def lost_xnnpack(results: Results) -> bool:
    """LiteRT's fast kernels took something of the model where it was made, and nothing here."""
    found = results.placement
    return (
        found is not None
        and bool(found.operators)
        and (found.expected_kernel_path, found.kernel_path) == ("xnnpack", "builtin")
    )


def never_had_xnnpack(results: Results) -> bool:
    """The device's LiteRT is tflite-runtime, which leaves INT8 to the built-in kernels."""
    installed = results.device.environment.runtimes
    first = next((each for each in installed if each.runtime == "litert"), None)
    return first is not None and first.package.startswith("tflite-runtime")


def listed_operators(operators: Sequence[OperatorPlace]) -> str:
    """The first few of them, by type and name."""
    return _listed([f"{each.type} {each.name}".strip() for each in operators])


def misplaced_text(found: PlacementSummary) -> str:
    """The operators that are on the CPU, those that were forecast elsewhere first."""
    if found.moved:
        return _listed([_moved_text(each) for each in found.moved])
    names = [f"{each.type} {each.name}".strip() for each in found.on_cpu]
    if names:
        return f"on the CPU: {_listed(names)}"
    return "all operators run on the CPU, and none was forecast elsewhere"


def _moved_text(each: Moved) -> str:
    return f"{each.found.type} {each.found.name} is on cpu, not on {each.forecast.unit} as forecast"


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _NAMED
    return "; ".join(texts[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
