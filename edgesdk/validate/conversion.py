"""How the model was converted and where its operators run, for the report. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from edgesdk.values.artifact import Artifact, Compilation
from edgesdk.values.forecast import Placement, moved
from edgesdk.values.report import CompilationSummary, ConversionSummary


def summarize_conversion(artifact: Artifact) -> ConversionSummary:
    """The forecast beside the compiler's own word, and what led there."""
    plan, told, found = artifact.plan, artifact.forecast, artifact.compilation.placements
    return ConversionSummary(
        toolchain=plan.backend,
        quantizer=plan.quantizer,
        range_method=plan.range_method,
        lowering=artifact.lowering,
        compilation=_summarize(artifact.compilation),
        forecast=_units(told),
        moved=moved(told, found),
        fallen_back=tuple(placement for placement in found or told if placement.reason),
    )


def conversion_caveats(conversion: ConversionSummary) -> Iterator[str]:
    """What the conversion tells against taking the figures at face value."""
    compilation = conversion.compilation
    if compilation.status == "not compiled":
        placed = "only a forecast" if conversion.forecast else "not known"
        yield (
            "The model is not compiled: the figures are those of the uncompiled model, and where"
            f" its operators run is {placed}. The reason: {compilation.reason}."
        )


def _summarize(compilation: Compilation) -> CompilationSummary:
    return CompilationSummary(
        status=compilation.status,
        compiler=compilation.compiler,
        version=compilation.version,
        reason=compilation.reason,
        units=_units(compilation.placements),
        cache=compilation.cache,
    )


def _units(placements: Sequence[Placement]) -> Mapping[str, int]:
    return dict(sorted(Counter(placement.unit for placement in placements).items()))
