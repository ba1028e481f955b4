"""Gates that a long run without a pause can be judged by, and which of them it cannot. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from edgesdk.validate.gates import Gates
from edgesdk.validate.judging import Gate, GateId, compare, doubted, without, without_emulation
from edgesdk.values.endurance import Endured, Settled, Unsettled
from edgesdk.values.validity import Validity
from edgesdk.values.verdict import Estimate, Verdict

_OTHERS: Mapping[GateId, str] = {
    "accuracy_drop": "accuracy",
    "parity": "parity",
    "placement": "placement",
    "preprocess_p95": "time of preprocessing",
    "inference_p95": "time of inference within whole runs",
    "postprocess_p95": "time of postprocessing",
    "end_to_end_p95": "time from picture to answer",
}
"""Gates that a long run has nothing to judge by, in words."""


def judge_endured(
    endured: Endured, settled: Settled | Unsettled, validity: Validity, gates: Gates
) -> tuple[Verdict, ...]:
    """One verdict for each gate that has a bound and that a long run can be judged by."""
    return tuple(
        dataclasses.replace(
            without_emulation(verdict, endured.device), asked=verdict.gate in gates.asked
        )
        for verdict in _verdicts(endured, settled, validity, gates)
    )


def not_judged(gates: Gates) -> tuple[str, ...]:
    """The gates that the user asked for and that are not judged, in words."""
    return tuple(words for gate, words in _OTHERS.items() if gate in gates.asked)


def _verdicts(
    endured: Endured, settled: Settled | Unsettled, validity: Validity, gates: Gates
) -> Iterator[Verdict]:
    if gates.max_p95_ns is not None:
        yield _p95(settled, validity, gates.max_p95_ns)
    if gates.max_peak_ram_bytes is not None:
        yield _peak_ram(endured, gates.max_peak_ram_bytes)


def _p95(settled: Settled | Unsettled, validity: Validity, bound: int) -> Verdict:
    """By the part in which the latency no longer changed: what a device keeps up."""
    gate = Gate("p95", "Steady latency, 95th percentile", "ns", bound)
    if not validity.is_valid:
        return without(gate, "invalid", " ".join(validity.reasons))
    if isinstance(settled, Unsettled):
        return without(gate, "not measured", settled.sentence)
    if settled.p95 is None:
        return without(gate, "not measured", "too few samples were kept for this percentile")
    return doubted(compare(gate, settled.p95), validity)


def _peak_ram(endured: Endured, bound: int) -> Verdict:
    gate = Gate("peak_ram", "Peak memory of the model's process", "bytes", bound)
    peak = endured.sustained.peak_rss_bytes
    if peak is None:
        return without(gate, "not measured", "the device does not tell a process's peak memory")
    return compare(gate, Estimate(float(peak), 1, None))
