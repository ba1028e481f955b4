"""Gates: bounds on what was measured, and the verdicts. Pure.

A gate passes or fails by its point estimate. Where the interval reaches across the bound, the
verdict stands and its reason says so. What was not measured never passes and never fails; where the
user asked for it, the whole does not pass either.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesdk.choices import Precision
from edgesdk.errors import ExitCode, UsageError
from edgesdk.targets.types import Contract, GateBounds
from edgesdk.units import parse_bytes, parse_duration_ns
from edgesdk.validate.judging import Gate, GateId, compare, doubted, without, without_emulation
from edgesdk.validate.placement import (
    listed_operators,
    lost_xnnpack,
    misplaced_text,
    never_had_xnnpack,
)
from edgesdk.validate.stages import TITLES, stage_p95, stages_problem
from edgesdk.validate.statistics import samples_needed
from edgesdk.validate.summaries import summarize_accuracy, summarize_latency
from edgesdk.validate.validity import stamp, stamp_stages
from edgesdk.values.package import Budget
from edgesdk.values.placement import PlacementSummary
from edgesdk.values.report import converted_name, role_name
from edgesdk.values.results import Results
from edgesdk.values.stages import Stage
from edgesdk.values.verdict import Estimate, Status, Verdict

_NO_BUDGET = Budget()
_NO_CONTRACT = Contract()
_IDS: Mapping[str, GateId] = {
    "max_accuracy_drop_points": "accuracy_drop",
    "max_p95": "p95",
    "max_peak_ram": "peak_ram",
    "max_parity_mismatch_percent": "parity",
    "max_preprocess_p95": "preprocess_p95",
    "max_inference_p95": "inference_p95",
    "max_postprocess_p95": "postprocess_p95",
    "max_end_to_end_p95": "end_to_end_p95",
    "min_accelerated_fraction": "placement",
}
"""Field of `GateBounds` to the gate it bounds."""


@dataclass(frozen=True, slots=True)
class Gates:
    """The highest values that pass, in base units, and one lowest; None where there is no gate.

    Args:
        max_accuracy_drop_points: float top-1 minus the converted model's, in percentage points.
        max_p95_ns: 95th percentile of the converted model's latency.
        max_peak_ram_bytes: peak resident memory of the process that ran the converted model.
        max_parity_mismatch_percent: golden output values more than one quantization step away.
        min_accelerated_fraction: share of the operators that run off the CPU, 0 to 1; None asks for
            what was forecast.
        max_package_bytes: size of the package file.
        max_preprocess_p95_ns: 95th percentile from a decoded picture to the input.
        max_inference_p95_ns: of inference within a whole run, from picture to answer, which finds
            its caches as preprocessing left them; `max_p95_ns` is of inference alone.
        max_postprocess_p95_ns: from the outputs to the answer.
        max_end_to_end_p95_ns: from a decoded picture to the answer.
        asked: ids of the gates whose bound the user set, rather than the target.
    """

    max_accuracy_drop_points: float | None = None
    max_p95_ns: int | None = None
    max_peak_ram_bytes: int | None = None
    max_parity_mismatch_percent: float | None = None
    min_accelerated_fraction: float | None = None
    max_package_bytes: int | None = None
    max_preprocess_p95_ns: int | None = None
    max_inference_p95_ns: int | None = None
    max_postprocess_p95_ns: int | None = None
    max_end_to_end_p95_ns: int | None = None
    asked: tuple[GateId, ...] = ()

    def bounds(self) -> dict[str, float]:
        """The bounds that are set, by their names here."""
        names = (field.name for field in dataclasses.fields(self) if field.name != "asked")
        values = ((name, getattr(self, name)) for name in names)
        return {name: float(value) for name, value in values if value is not None}


def resolve_gates(
    *layers: GateBounds, budget: Budget = _NO_BUDGET, contract: Contract = _NO_CONTRACT
) -> Gates:
    """Merge bounds, a later layer winning field by field, and read their texts.

    Args:
        layers: the target's, then those the user asked for: usually the project file's and the
            command line's.
        budget: its package size becomes a gate, and its peak RAM where no layer names one.
        contract: its accelerated fraction becomes a gate where no layer names one.

    Raises:
        UsageError: a text that is no duration or size, or a number that is not finite.
    """
    bounds = {
        field.name: next(
            (
                value
                for layer in reversed(layers)
                if (value := getattr(layer, field.name)) is not None
            ),
            None,
        )
        for field in dataclasses.fields(GateBounds)
    }
    peak_ram = bounds["max_peak_ram"]
    fraction = _finite("min_accelerated_fraction", bounds)
    return Gates(
        max_accuracy_drop_points=_finite("max_accuracy_drop_points", bounds),
        max_p95_ns=_duration(bounds["max_p95"]),
        max_peak_ram_bytes=budget.peak_ram_bytes if peak_ram is None else parse_bytes(peak_ram),
        max_parity_mismatch_percent=_finite("max_parity_mismatch_percent", bounds),
        min_accelerated_fraction=(
            contract.min_accelerated_fraction if fraction is None else fraction
        ),
        max_package_bytes=budget.package_bytes,
        max_preprocess_p95_ns=_duration(bounds["max_preprocess_p95"]),
        max_inference_p95_ns=_duration(bounds["max_inference_p95"]),
        max_postprocess_p95_ns=_duration(bounds["max_postprocess_p95"]),
        max_end_to_end_p95_ns=_duration(bounds["max_end_to_end_p95"]),
        asked=tuple(
            gate
            for name, gate in _IDS.items()
            if any(getattr(layer, name) is not None for layer in layers[1:])
        ),
    )


def _duration(text: str | None) -> int | None:
    return None if text is None else parse_duration_ns(text)


def _finite(name: str, bounds: dict[str, float | None]) -> float | None:
    value = bounds[name]
    if value is not None and not math.isfinite(value):
        raise UsageError(f"found {name} = {value}, expected a finite number")
    return value


def judge(
    results: Results,
    gates: Gates,
    *,
    precision: Precision | None = None,
    package_bytes: int | None = None,
    placement: PlacementSummary | None = None,
) -> tuple[Verdict, ...]:
    """One verdict for each gate that has a bound, in a fixed order.

    Args:
        precision: of the converted model, for the gates' titles; None where it is not known.
        package_bytes: size of the package file; None when no package is at hand.
        placement: what computes the converted model's operators; None when nobody asked.
    """
    verdicts = []
    if gates.max_accuracy_drop_points is not None:
        verdicts.append(_accuracy_drop(results, gates.max_accuracy_drop_points, precision))
    if gates.max_p95_ns is not None:
        verdicts.append(_p95(results, gates.max_p95_ns, precision))
    if gates.max_peak_ram_bytes is not None:
        verdicts.append(_peak_ram(results, gates.max_peak_ram_bytes, precision))
    if gates.max_parity_mismatch_percent is not None:
        verdicts.append(_parity(results, gates.max_parity_mismatch_percent))
    verdicts += _placement(placement, gates.min_accelerated_fraction)
    verdicts += _kernels(results)
    if gates.max_package_bytes is not None:
        verdicts.append(_package(package_bytes, gates.max_package_bytes))
    verdicts += _stages(results, gates)
    return tuple(
        dataclasses.replace(
            without_emulation(verdict, results.device), asked=verdict.gate in gates.asked
        )
        for verdict in verdicts
    )


def outcome(verdicts: Sequence[Verdict]) -> Status:
    """One word for all of them: the gravest of "fail", "invalid", "pass", "not measured".

    A gate that was asked for and not measured keeps the others from being a pass.
    """
    present = {verdict.status for verdict in verdicts}
    graver: tuple[Status, ...] = ("fail", "invalid")
    for word in graver:
        if word in present:
            return word
    missed = any(verdict.missed for verdict in verdicts)
    return "pass" if "pass" in present and not missed else "not measured"


def exit_code(verdicts: Sequence[Verdict]) -> ExitCode:
    """1 if a gate failed, else 6 if one is invalid or was asked for and not measured, else 0."""
    word = outcome(verdicts)
    if word == "fail":
        return ExitCode.GATE_FAILED
    if word == "invalid" or any(verdict.missed for verdict in verdicts):
        return ExitCode.INVALID_MEASUREMENT
    return ExitCode.PASSED


def _accuracy_drop(results: Results, bound: float, precision: Precision | None) -> Verdict:
    what = "the conversion" if precision is None else converted_name(precision)
    gate = Gate("accuracy_drop", f"Accuracy lost to {what}", "points", bound)
    if results.predictions is None:
        return without(gate, "not measured", "no labelled data were run on the device")
    accuracy = summarize_accuracy(results.predictions)
    if accuracy is None:
        return without(gate, "not measured", "the data carry no labels")
    return compare(gate, accuracy.drop)


def _p95(results: Results, bound: int, precision: Precision | None) -> Verdict:
    title = f"{role_name('int8', precision)} latency, 95th percentile"
    gate = Gate("p95", title, "ns", bound)
    run = results.run("int8")
    if run is None:
        return without(gate, "not measured", "the converted model was not timed")
    stamped = stamp(run, results.device, precision)
    if not stamped.is_valid:
        return without(gate, "invalid", " ".join(stamped.reasons))
    p95 = summarize_latency(run).p95
    if p95 is None:
        return without(
            gate,
            "not measured",
            f"found {len(run.latency.samples_ns)} runs; a 95 % interval of this percentile needs"
            f" {samples_needed(0.95)}",
        )
    return doubted(compare(gate, p95), stamped)


def _peak_ram(results: Results, bound: int, precision: Precision | None) -> Verdict:
    title = f"Peak memory of the {converted_name(precision)} model's process"
    gate = Gate("peak_ram", title, "bytes", bound)
    run = results.run("int8")
    if run is None:
        return without(gate, "not measured", "the converted model was not run")
    if run.latency.peak_rss_bytes is None:
        return without(gate, "not measured", "the device does not tell a process's peak memory")
    return compare(gate, Estimate(float(run.latency.peak_rss_bytes), 1, None))


def _parity(results: Results, bound: float) -> Verdict:
    gate = Gate("parity", "Output values off the golden vectors", "percent", bound)
    parity = results.parity
    if parity is None:
        return without(gate, "not measured", "the golden vectors were not run")
    if parity.values == 0:
        known = ", ".join(parity.golden_runtime_kernels) or "no kernel path"
        return without(
            gate,
            "not measured",
            f"the device computes with {parity.kernel_path}; the package has golden vectors for"
            f" {known}",
        )
    return compare(
        gate, Estimate(100 * parity.beyond_one_step / parity.values, parity.values, None)
    )


def _stages(results: Results, gates: Gates) -> list[Verdict]:
    bounds: tuple[tuple[GateId, Stage, int | None], ...] = (
        ("preprocess_p95", "preprocess", gates.max_preprocess_p95_ns),
        ("inference_p95", "inference", gates.max_inference_p95_ns),
        ("postprocess_p95", "postprocess", gates.max_postprocess_p95_ns),
        ("end_to_end_p95", "end_to_end", gates.max_end_to_end_p95_ns),
    )
    return [
        _stage(results, Gate(gate, TITLES[stage], "ns", bound), stage)
        for gate, stage, bound in bounds
        if bound is not None
    ]


def _stage(results: Results, gate: Gate, stage: Stage) -> Verdict:
    problem = stages_problem(results)
    if problem:
        return without(gate, "invalid", problem)
    p95 = stage_p95(results, stage)
    if isinstance(p95, str):
        return without(gate, "not measured", p95)
    assert results.stages is not None
    return doubted(compare(gate, p95), stamp_stages(results.stages, results.device))


def _placement(found: PlacementSummary | None, least: float | None) -> list[Verdict]:
    """A silent fallback fails without being asked for: the forecast is the bound then."""
    told = None if found is None else found.forecast_fraction
    bound = told if least is None else least
    if bound is None:
        return []
    # A lower bound on one share is an upper bound on the rest, as all other gates are.
    gate = Gate("placement", "Operators on the CPU", "percent", _percent_left(bound))
    if found is None or found.accelerated_fraction is None:
        source = "the device was not asked" if found is None else found.source
        return [without(gate, "not measured", source)]
    count = sum(found.units.values())
    verdict = compare(gate, Estimate(_percent_left(found.accelerated_fraction), count, None))
    reason = misplaced_text(found) if verdict.status == "fail" else ""
    return [dataclasses.replace(verdict, reason=reason)]


def _kernels(results: Results) -> list[Verdict]:
    """Said only where it is broken: a delegate that fails to load is silent, and costs much."""
    found = results.placement
    if found is None or not lost_xnnpack(results) or never_had_xnnpack(results):
        return []
    count = len(found.operators)
    gate = Gate("kernels", "Operators without XNNPACK", "percent", 100 * (1 - 1 / count))
    verdict = compare(gate, Estimate(100.0, count, None))
    reason = (
        f"XNNPACK took operators of this model on the workstation and none on the device: LiteRT's "
        f"built-in kernels computed {listed_operators(found.operators)}"
    )
    return [dataclasses.replace(verdict, reason=reason)]


def _percent_left(fraction: float) -> float:
    return round(100 * (1 - fraction), 6)


def _package(package_bytes: int | None, bound: int) -> Verdict:
    gate = Gate("package_size", "Package size", "bytes", bound)
    if package_bytes is None:
        return without(gate, "not measured", "no package is at hand")
    return compare(gate, Estimate(float(package_bytes), 1, None))
