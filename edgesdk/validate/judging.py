"""One gate, one measured value: the verdict, or why there is none. Pure.

Which gates there are and what each is judged by is `edgesdk.validate.gates`' to know.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from edgesdk.validate.validity import spoilt
from edgesdk.values.results import MeasuredDevice
from edgesdk.values.validity import Validity
from edgesdk.values.verdict import Estimate, Status, Unit, Verdict, written

GateId = Literal[
    "accuracy_drop",
    "p95",
    "peak_ram",
    "parity",
    "placement",
    "kernels",
    "package_size",
    "preprocess_p95",
    "inference_p95",
    "postprocess_p95",
    "end_to_end_p95",
]


@dataclass(frozen=True, slots=True)
class Gate:
    """A bound: the highest value that passes."""

    id: GateId
    title: str
    unit: Unit
    bound: float


def compare(gate: Gate, measured: Estimate) -> Verdict:
    """Pass or fail by the value; the reason says where the interval leaves room for doubt."""
    passed = measured.value <= gate.bound
    return Verdict(
        gate=gate.id,
        title=gate.title,
        unit=gate.unit,
        bound=gate.bound,
        measured=measured,
        status="pass" if passed else "fail",
        reason=doubt(gate.unit, gate.bound, measured, passed),
    )


def doubt(unit: Unit, bound: float, measured: Estimate, passed: bool) -> str:
    """Says so when the interval reaches across the bound; empty when it does not."""
    if measured.interval is None:
        return ""
    end = measured.interval.high if passed else measured.interval.low
    if (end > bound) is not passed:
        return ""
    symbol, (_, text) = written(unit, bound, end)
    verb = "reaches" if passed else "reaches down to"
    return f"within uncertainty: the 95 % interval {verb} {text} {symbol}".rstrip()


def without(gate: Gate, status: Status, reason: str) -> Verdict:
    """The verdict where there is no value to judge."""
    return Verdict(gate.id, gate.title, gate.unit, gate.bound, None, status, reason)


def without_emulation(verdict: Verdict, device: MeasuredDevice) -> Verdict:
    """The same, but time and memory that only an emulated processor took are not measured."""
    if not device.emulated or not (verdict.unit == "ns" or verdict.gate == "peak_ram"):
        return verdict
    what = "latency" if verdict.unit == "ns" else "memory"
    reason = f"emulated aarch64 (qemu-user), {what} not a device's"
    return dataclasses.replace(verdict, measured=None, status="not measured", reason=reason)


def doubted(verdict: Verdict, stamped: Validity) -> Verdict:
    """The same, but it says what would have made it invalid if the device were a board."""
    reasons = (spoilt(stamped), verdict.reason)
    return dataclasses.replace(verdict, reason=" ".join(filter(None, reasons)))
