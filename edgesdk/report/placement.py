"""How the model was converted and where its operators run, in words. Lays nothing out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgesdk.report.wording import count_text
from edgesdk.units import format_bytes
from edgesdk.values.artifact import Lowering
from edgesdk.values.forecast import CPU, CacheUse, Moved, Placement
from edgesdk.values.report import CompilationSummary, ConversionSummary, Report, converted_name


def conversion_facts(report: Report) -> Iterator[tuple[str, str]]:
    """Name and text of each fact of the conversion, from the toolchain to the on-chip memory."""
    conversion = report.conversion
    yield "Toolchain", _toolchain(report)
    if report.precision != "fp16":
        samples = count_text(report.calibration.samples, "sample")
        yield "Ranges", f"{conversion.range_method}, from {samples}"
    if conversion.lowering is not None:
        yield "Bridge", _bridge(conversion.lowering)
    yield "Compilation", compilation_text(conversion.compilation)
    if conversion.forecast:
        yield "Forecast", f"{units_text(conversion.forecast)}, by the rules of {report.target.id}"
    if conversion.compilation.status != "not needed":
        yield "As compiled", _as_compiled(conversion)
    if conversion.compilation.cache is not None:
        yield "On chip", _cache(conversion.compilation.cache)


def compilation_text(compilation: CompilationSummary) -> str:
    """What the vendor's compiler said: "compiled by X 16.0", "not compiled: ...", "not needed"."""
    if compilation.status == "not needed":
        return "not needed: the runtime takes the converted model as it is"
    if compilation.status == "not compiled":
        return f"not compiled: {compilation.reason}"
    by = " ".join(filter(None, (compilation.compiler, compilation.version)))
    reason = f" ({compilation.reason})" if compilation.reason else ""
    return f"{compilation.status} by {by}{reason}"


def units_text(units: Mapping[str, int]) -> str:
    """ "31 on edgetpu, 1 on cpu": the CPU, which is what falls back, comes last."""
    ordered = sorted(units.items(), key=lambda item: (item[0] == CPU, item[0]))
    return ", ".join(f"{count} on {unit}" for unit, count in ordered)


def moved_text(moved: Moved) -> str:
    """An operator that is not where it was forecast."""
    found = moved.found
    why = f": {found.reason}" if found.reason else ""
    return (
        f"{found.index} {found.type} {found.name} is on {found.unit}, not on {moved.forecast.unit}"
        f" as forecast{why}"
    )


def fallen_text(placement: Placement) -> str:
    """An operator that no accelerator takes, why, and what to do about it."""
    why = "; ".join(filter(None, (placement.reason, placement.cure)))
    return f"{placement.index} {placement.type} {placement.name} on {placement.unit}: {why}"


def first(lines: Sequence[str], most: int) -> tuple[str, ...]:
    """The lines, those beyond `most` counted in a last one."""
    if len(lines) <= most:
        return tuple(lines)
    return (*lines[:most], f"and {len(lines) - most} more")


def _toolchain(report: Report) -> str:
    conversion = report.conversion
    name = converted_name(report.precision)
    spelled = f" ({report.precision})" if report.precision and name != report.precision else ""
    quantizer = f", quantized by {conversion.quantizer}" if conversion.quantizer else ""
    return f"{name}{spelled} by {conversion.toolchain}{quantizer}"


def _bridge(lowering: Lowering) -> str:
    return (
        f"{lowering.bridge}; its outputs differ from the source model's by at most"
        f" {lowering.max_relative_error:.2g} of the largest, over"
        f" {count_text(lowering.probes, 'probe')}"
    )


def _as_compiled(conversion: ConversionSummary) -> str:
    compilation = conversion.compilation
    if compilation.status == "not compiled":
        return "not known: it is not compiled"
    if not compilation.units:
        return "not known: the compiler does not say where the operators go"
    text = units_text(compilation.units)
    if not conversion.forecast:
        return text
    count = len(conversion.moved)
    return f"{text}; {f'{count} not' if count else 'all'} as forecast"


def _cache(cache: CacheUse) -> str:
    return (
        f"{format_bytes(cache.on_chip_bytes)} of parameters kept in"
        f" {format_bytes(cache.capacity_bytes)}, {format_bytes(cache.streamed_bytes)} sent anew for"
        " every run"
    )
