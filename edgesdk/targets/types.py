"""What a device is, as its descriptor says: frozen, every hardware figure with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

RuntimeName = Literal["litert", "onnxruntime"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where figures come from. A figure that nobody has read in its source stays out.

    Args:
        title: of the document.
        url: of the text that was read, pinned to a revision where it has one.
        kind: what sort of source it is; "measured" is read off a device.
        accessed: ISO date on which its figures were read.
    """

    title: str
    url: str
    kind: Literal["datasheet", "documentation", "device-tree", "measured"]
    accessed: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One hardware figure: an integer in the unit its key names, and the key of its `Source`."""

    value: int
    source: str


@dataclass(frozen=True, slots=True)
class ComputeUnit:
    """One place where operators can run; a CPU of unlike cores has one for each, fastest first.

    Args:
        id: name used in placements, e.g. "cpu".
        kind: what it is.
        core: the core's name, e.g. "Cortex-A76".
        cores: how many.
        clock_hz: highest clock that every board of this id reaches as shipped.
        features: instruction-set features that matter to INT8, as /proc/cpuinfo spells them;
            empty where nobody has read them, which does not say that the core has none.
        features_source: key of the source that names the features.
    """

    id: str
    kind: Literal["cpu"]
    core: str
    cores: Figure | None = None
    clock_hz: Figure | None = None
    features: tuple[str, ...] = ()
    features_source: str | None = None


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime the device can run, and the oldest version of its distribution we support there."""

    name: RuntimeName
    min_version: str


@dataclass(frozen=True, slots=True)
class TensorScheme:
    """How one kind of tensor is quantized."""

    bits: Literal[8]
    symmetric: bool
    granularity: Literal["per-tensor", "per-channel"]


@dataclass(frozen=True, slots=True)
class Scheme:
    """The quantization the device wants, e.g. w8a8 with per-channel symmetric weights."""

    weights: TensorScheme
    activations: TensorScheme


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the device. `ram_bytes` is the smallest configuration sold under this id."""

    ram_bytes: Figure | None = None


@dataclass(frozen=True, slots=True)
class BudgetText:
    """Size budgets as people write them ("16 MiB"); None where there is none."""

    package: str | None = None
    installed: str | None = None
    peak_ram: str | None = None


@dataclass(frozen=True, slots=True)
class GateBounds:
    """Default bounds of the gates; None where there is none.

    Args:
        max_accuracy_drop_points: float top-1 minus INT8 top-1, in percentage points.
        max_p95: 95th percentile of INT8 latency, as people write it ("10 ms").
        max_peak_ram: peak resident memory of the process that runs the model ("256 MiB").
        max_parity_mismatch_percent: golden output values more than one quantization step away.
    """

    max_accuracy_drop_points: float | None = None
    max_p95: str | None = None
    max_peak_ram: str | None = None
    max_parity_mismatch_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    """What the agent needs on the device."""

    min_python: str


@dataclass(frozen=True, slots=True)
class Target:
    """A named device.

    Args:
        id: the descriptor's file name without its suffix, e.g. "raspberry-pi-5".
        family: the folder it lies in, e.g. "arm-cpu".
        architecture: `platform.machine()` of its usual operating system.
        runtimes: in order of preference.
        sources: every document its figures name.
    """

    id: str
    name: str
    vendor: str
    family: str
    soc: str
    architecture: Literal["aarch64", "armv7l", "x86_64"]
    compute_units: tuple[ComputeUnit, ...]
    runtimes: tuple[Runtime, ...]
    quantization: Scheme
    agent: Agent
    memory: Memory = Memory()
    budget: BudgetText = BudgetText()
    gates: GateBounds = GateBounds()
    sources: Mapping[str, Source] = field(default_factory=dict)
    notes: str = ""
