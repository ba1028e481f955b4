"""What a device is, as its descriptor says: frozen, every hardware figure with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgesdk.choices import Precision

RuntimeName = Literal["litert", "onnxruntime", "edgetpu", "qnn", "tensorrt", "openvino"]
"""What runs a model on the device; "edgetpu" is LiteRT with libedgetpu, "qnn" ONNX Runtime's."""


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
class Fact:
    """One text that a source gives, such as a version, and the key of its `Source`."""

    value: str
    source: str


@dataclass(frozen=True, slots=True)
class ComputeUnit:
    """One place where operators can run; a CPU of unlike cores has one for each, fastest first.

    Args:
        id: name used in placements, e.g. "cpu" or "edgetpu".
        kind: what it is.
        core: the core's name, e.g. "Cortex-A76" or "Hexagon v73".
        cores: how many.
        clock_hz: highest clock that every board of this id reaches as shipped.
        features: instruction-set features that matter to INT8, as /proc/cpuinfo spells them;
            empty where nobody has read them, which does not say that the core has none.
        features_source: key of the source that names the features.
    """

    id: str
    kind: Literal["cpu", "gpu", "npu"]
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

    bits: Literal[4, 8, 16]
    symmetric: bool
    granularity: Literal["per-tensor", "per-channel"]


@dataclass(frozen=True, slots=True)
class Scheme:
    """The quantization the device wants, e.g. w8a8 with per-channel symmetric weights."""

    weights: TensorScheme
    activations: TensorScheme


@dataclass(frozen=True, slots=True)
class Limit:
    """What an operator must hold to run on a compute unit; one of the three bounds is set.

    Args:
        quantity: what is looked at, by its name in `edgesdk.targets.quantities`, e.g. "rank",
            "version" or "attribute.stride_w".
        at_most: largest number allowed.
        at_least: smallest number allowed.
        one_of: texts allowed; numbers and truth values are compared as Python writes them.
        reason: why an operator outside stays off the unit, in the vendor's words where it has any.
        cure: what the user can do about it; empty where nothing.
    """

    quantity: str
    at_most: float | None = None
    at_least: float | None = None
    one_of: tuple[str, ...] = ()
    reason: str = ""
    cure: str = ""


@dataclass(frozen=True, slots=True)
class OperatorRule:
    """When operators of one type run on a compute unit.

    Args:
        dtypes: of the activations it computes on; those of the unit where empty.
        limits: all of them must hold, besides those of the unit.
    """

    dtypes: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class OperatorRules:
    """What a compute unit runs, as data: the ground of the placement forecast.

    Args:
        format: whose operator types these are; a unit that runs a compiled form of ONNX or TFLite
            models has the types of that format.
        source: key of the source that says so.
        types: operator type to its rule; a type that is not there stays off the unit.
        dtypes: of the activations that operators compute on, after the conversion.
        limits: for operators of every type.
        contiguous: the compiler makes one piece: once an operator that follows a mapped one stays
            off the unit, none behind it returns.
        unsupported: why a type that is not there stays off the unit, in the vendor's words.
        no_fallback: a model with an operator off this unit does not run at all.
    """

    format: Literal["onnx", "tflite"]
    source: str
    types: Mapping[str, OperatorRule]
    dtypes: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    contiguous: bool = False
    unsupported: str = "Operation not supported"
    no_fallback: bool = False


@dataclass(frozen=True, slots=True)
class EdgeTpu:
    """What the Edge TPU compiler is asked for.

    Args:
        parameter_cache_bytes: on-chip memory for parameters.
        min_runtime_version: of libedgetpu, for which is compiled; None leaves it to the compiler.
    """

    parameter_cache_bytes: Figure
    min_runtime_version: Figure | None = None


@dataclass(frozen=True, slots=True)
class Htp:
    """A Hexagon Tensor Processor, as Qualcomm's compiler knows it.

    Args:
        soc_model: Qualcomm's number of the SoC.
        arch: version of the Hexagon architecture, e.g. 73.
    """

    soc_model: Figure
    arch: Figure


@dataclass(frozen=True, slots=True)
class TensorRt:
    """The TensorRT on a Jetson and the GPU it builds engines for.

    Args:
        jetpack: release, e.g. "6.2".
        version: of TensorRT in it, e.g. "10.3".
        compute_capability: of the GPU, e.g. "8.7".
    """

    jetpack: Fact
    version: Fact
    compute_capability: Fact


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What a vendor's compiler must know of the device; None for what it does not have."""

    edgetpu: EdgeTpu | None = None
    htp: Htp | None = None
    tensorrt: TensorRt | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """What must hold of a model before it is converted; None where nothing must.

    Args:
        min_accelerated_fraction: share of the operators that run off the CPU, 0 to 1.
    """

    min_accelerated_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the device. `ram_bytes` is the smallest configuration sold under this id."""

    ram_bytes: Figure | None = None


@dataclass(frozen=True, slots=True)
class BudgetText:
    """Size budgets as people write them ("16 MiB"); None where there is none.

    Args:
        package: of the package file that holds everything.
        installed: of its files on the device.
        peak_ram: of the process that runs the model.
        delta: of a package file that is made against another one.
    """

    package: str | None = None
    installed: str | None = None
    peak_ram: str | None = None
    delta: str | None = None


@dataclass(frozen=True, slots=True)
class GateBounds:
    """Default bounds of the gates; None where there is none.

    Args:
        max_accuracy_drop_points: float top-1 minus INT8 top-1, in percentage points.
        max_p95: 95th percentile of INT8 latency, as people write it ("10 ms").
        max_peak_ram: peak resident memory of the process that runs the model ("256 MiB").
        max_parity_mismatch_percent: golden output values more than one quantization step away.
        max_preprocess_p95: 95th percentile from a decoded picture to the model's input ("10 ms").
        max_inference_p95: of inference within a whole run; `max_p95` is of inference alone.
        max_postprocess_p95: from the outputs to the answer.
        max_end_to_end_p95: from a decoded picture to the answer.
        max_latency_regression_percent: by which the converted model may be slower than in the
            baseline, the run that was accepted for its package and device.
        max_metric_drop: by metric, how much worse the converted model may be than the float one;
            in points where the metric is a share, else in its own unit.
        min_accelerated_fraction: share of the operators that really run off the CPU, 0 to 1.
    """

    max_accuracy_drop_points: float | None = None
    max_p95: str | None = None
    max_peak_ram: str | None = None
    max_parity_mismatch_percent: float | None = None
    max_preprocess_p95: str | None = None
    max_inference_p95: str | None = None
    max_postprocess_p95: str | None = None
    max_end_to_end_p95: str | None = None
    max_latency_regression_percent: float | None = None
    max_metric_drop: Mapping[str, float] | None = None
    min_accelerated_fraction: float | None = None


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
        compute_units: the one with the accelerator first, the CPU last.
        runtimes: in order of preference.
        quantization: how w8a8 is stored; other precisions differ from it in bits only.
        precisions: that its runtimes offer, the usual one first.
        operators: compute unit to what it runs; a unit without rules runs everything.
        sources: every document its figures name.
        board: how the name begins that such a board gives itself, in /proc/device-tree/model or the
            firmware's tables; None where nobody has read it.
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
    precisions: tuple[Precision, ...] = ("w8a8",)
    accelerator: Accelerator = Accelerator()
    operators: Mapping[str, OperatorRules] = field(default_factory=dict)
    memory: Memory = Memory()
    budget: BudgetText = BudgetText()
    gates: GateBounds = GateBounds()
    contract: Contract = Contract()
    sources: Mapping[str, Source] = field(default_factory=dict)
    notes: str = ""
    board: Fact | None = None
