"""Qualcomm's numbers of SoCs and the architecture of the HTP in each.

Qualcomm's compiler takes wrong numbers without a word and makes a binary that no device runs, so
ours are checked against this table first. It holds what two sources agree on: the enumeration
`QcomChipset` and `_soc_info_table` of ExecuTorch
(https://github.com/pytorch/executorch/blob/0e9182a36b1ca9e423e28c4fa862e47887b050c1/backends/qualcomm/serialization/qc_schema.py),
and the name and architecture that the compiler of onnxruntime-qnn 2.7.0 (QAIRT 2.51.0) writes into
a binary for that number. QCS8550 is in the second only; 93, which ExecuTorch calls QCM6490, is
QCS6490 there. Where the architectures differ there is no entry: 42 (SM8475, v69 in ExecuTorch) and
45, 46 and 58 (SXR1230P, SSG2115P, SSG2125P, v73), for all of which the compiler falls back to v68.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Soc:
    """A SoC: its name as the compiler writes it, and the version of its HTP's architecture."""

    name: str
    arch: int


SOCS: Mapping[int, Soc] = {
    30: Soc("SM8350", 68),
    36: Soc("SM8450", 69),
    39: Soc("SA8295", 68),
    43: Soc("SM8550", 73),
    52: Soc("SA8255", 73),
    53: Soc("SXR2230P", 69),
    57: Soc("SM8650", 75),
    62: Soc("SA8540", 68),
    66: Soc("QCS8550", 73),
    69: Soc("SM8750", 79),
    72: Soc("SA8797", 81),
    75: Soc("SXR2330P", 79),
    77: Soc("QCS9100", 73),
    87: Soc("SM8850", 81),
    93: Soc("QCS6490", 68),
    95: Soc("SAR2230P", 81),
    96: Soc("SW6100", 81),
    97: Soc("SM8845", 81),
}
"""Qualcomm's number to the SoC."""


def soc_problem(soc_model: int, arch: int) -> str | None:
    """What is wrong with a SoC's number and architecture; None where they hold."""
    if soc_model not in SOCS:
        known = ", ".join(f"{number} ({soc.name})" for number, soc in SOCS.items())
        return f"found the SoC number {soc_model}, expected one of {known}"
    soc = SOCS[soc_model]
    if arch != soc.arch:
        return f"found HTP architecture {arch}, expected {soc.arch}, that of {soc.name}"
    return None
