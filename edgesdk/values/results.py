"""What was measured on a device, raw: the wire's own records, kept so that all else can be derived.

Nothing here is a percentile, an accuracy or a verdict. The records are checked only for being
whole, since they come from another machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from device_agent.environment_messages import Environment
from device_agent.model_messages import Latency, Opened, Parity
from device_agent.package_messages import Installed
from device_agent.profile_messages import ModelPlacement, Profiled
from edgesdk.choices import DeviceKind
from edgesdk.errors import AgentError
from edgesdk.values.stages import StageRun

Role = Literal["float", "int8"]
Prepared = Literal["as given", "workstation", "device"]


@dataclass(frozen=True, slots=True)
class MeasuredDevice:
    """The device that was measured.

    Args:
        name: as enrolled.
        kind: "board", or what stands in for one.
        environment: what the agent read there.
    """

    name: str
    kind: DeviceKind
    environment: Environment

    @property
    def virtual(self) -> bool:
        """It is software on a workstation: its latencies and memory are not a board's."""
        return self.kind != "board"

    @property
    def emulated(self) -> bool:
        """Its processor is emulated: its latencies and memory are not even a computer's."""
        return self.kind == "arm64"


@dataclass(frozen=True, slots=True)
class ModelRun:
    """One model, loaded and timed on the device.

    Args:
        role: the user's float model, or its INT8 form.
        opened: runtime, kernel path, threads, load time, memory before loading.
        latency: raw nanoseconds in run order, in turns, with the conditions between them.
        cold: the same model loaded before, in another process, its file not in the page cache; None
            where that was not tried.
    """

    role: Role
    opened: Opened
    latency: Latency
    cold: Opened | None = None

    def __post_init__(self) -> None:
        samples, sizes = self.latency.samples_ns, self.latency.block_sizes
        if not samples or min(samples) <= 0:
            raise AgentError(
                f"the {self.role} model has no latency samples, or some that are not positive"
            )
        if min(sizes, default=0) < 0 or sum(sizes) != len(samples):
            raise AgentError(
                f"the {self.role} model has {len(samples)} latency samples in turns of {sum(sizes)}"
            )


@dataclass(frozen=True, slots=True)
class Predictions:
    """Top-1 class of each sample by both models on the device, in the data's order.

    Args:
        labels: the true classes; None when the data have none.
        float_top1: by the float model.
        int8_top1: by the INT8 model.
        prepared: where the pictures became inputs; "as given" where they were none.
    """

    labels: tuple[int, ...] | None
    float_top1: tuple[int, ...]
    int8_top1: tuple[int, ...]
    prepared: Prepared = "as given"

    def __post_init__(self) -> None:
        counts = {len(self.float_top1), len(self.int8_top1)}
        if self.labels is not None:
            counts.add(len(self.labels))
        if len(counts) > 1 or 0 in counts:
            raise AgentError(
                f"found {len(self.float_top1)} float and {len(self.int8_top1)} INT8 predictions"
                + ("" if self.labels is None else f" for {len(self.labels)} labels"),
            )


@dataclass(frozen=True, slots=True)
class Results:
    """Everything measured in one session.

    Args:
        device: where.
        installed: the package that was measured, as the device knows it.
        runs: at most one a role.
        predictions: None when no data were run.
        parity: the INT8 model against its golden vectors; None when not checked.
        stages: the INT8 model from picture to answer; None when not timed.
        placement: what computes each operator of the INT8 model; None when not asked.
        profiles: times of the operators, one a role that was profiled, its `key` the role.
    """

    device: MeasuredDevice
    installed: Installed
    runs: tuple[ModelRun, ...]
    predictions: Predictions | None
    parity: Parity | None
    stages: StageRun | None = None
    placement: ModelPlacement | None = None
    profiles: tuple[Profiled, ...] = ()

    def run(self, role: Role) -> ModelRun | None:
        """The run of that role, or None."""
        return next((run for run in self.runs if run.role == role), None)

    def profile(self, role: Role) -> Profiled | None:
        """The profile of that role, or None."""
        return next((each for each in self.profiles if each.key == role), None)
