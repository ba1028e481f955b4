"""What ran where, and for how long, operator by operator: the messages of that.

They are part of the protocol (`device_agent.protocol`), which registers them.
"""

from __future__ import annotations

from typing import Tuple

from device_agent.records import record

FORECAST = "forecast"
"""Key of `Manifest.provenance`: operators by unit, "31 edgetpu, 1 cpu", where there is a word."""
KERNEL_PATH = "kernel_path"
"""Likewise: the kernels that the runtime took by itself where the package was made."""


@record(frozen=True)
class OperatorPlace:
    """One operator of a loaded model, and what computes it.

    Args:
        type: as the runtime spells it.
        name: its own, or its first output's; what of a fused operator the runtime kept.
        unit: "cpu", "gpu", "npu", "htp" or "edgetpu".
        delegate: what of the runtime has it: "XNNPACK", "Edge TPU", an execution provider; "" where
            the runtime's own kernels do.
    """

    type: str
    name: str
    unit: str
    delegate: str = ""


@record(frozen=True)
class ReadPlacement:
    """Where do the operators of an opened model run? Reply: `ModelPlacement`."""

    key: str


@record(frozen=True)
class ModelPlacement:
    """Found out from the loaded model; nothing is run for it.

    Args:
        operators: in the runtime's order; those it fused count as one. Empty where it does not say.
        source: what said so, or why nothing does.
        kernel_path: as in `model_messages.Opened`.
        forecast: where the package's own manifest says its operators go, "31 edgetpu, 1 cpu"; ""
            where it says nothing.
        expected_kernel_path: that the package's manifest says its maker's runtime took; likewise.
    """

    operators: Tuple[OperatorPlace, ...]
    source: str
    kernel_path: str = ""
    forecast: str = ""
    expected_kernel_path: str = ""


@record(frozen=True)
class Profile:
    """Time each operator of an opened model. Reply: `Profiled`.

    It is loaded once more, in a process of its own that is ended afterwards, so that profiling
    touches nothing that is measured. Its input is the first golden vector.

    Args:
        runs: of the model after warming up; fewer of one with very many operators.
        max_seconds: stop after this long, one run being done at least.
    """

    key: str
    runs: int
    max_seconds: float


@record(frozen=True)
class OperatorTime:
    """Times of one operator.

    Args:
        place: which one, and what computes it.
        samples_ns: of each run, in order; empty where the runtime tells a mean alone.
        mean_ns: of the runs.
    """

    place: OperatorPlace
    samples_ns: Tuple[int, ...]
    mean_ns: int


@record(frozen=True)
class Profiled:
    """Reply to `Profile`.

    Args:
        operators: in the order they ran; empty where they are not timed.
        samples_ns: wall time of each profiled run, the runtime's own bookkeeping included; empty
            where the runtime's tool does not tell it.
        runs: that the times are of.
        resolution_ns: the runtime rounds the operators' times to multiples of this.
        source: what timed them, or why nothing did.
    """

    key: str
    operators: Tuple[OperatorTime, ...]
    samples_ns: Tuple[int, ...]
    runs: int
    resolution_ns: int
    source: str
