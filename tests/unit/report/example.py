"""A made-up but plausible session, from raw data up: what the report's tests are built on."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from device_agent import manifest as mf
from device_agent.archive import Head
from device_agent.environment_messages import Environment, RuntimeVersion
from device_agent.measuring_messages import Conditions, CpuTime, Power, Turn
from device_agent.model_messages import Latency, Opened, Parity
from device_agent.package_messages import Installed
from edgesdk.models.types import TensorSpec
from edgesdk.targets.types import Agent, ComputeUnit, Runtime, Target
from edgesdk.validate.build import build_report
from edgesdk.validate.gates import Gates
from edgesdk.values.artifact import (
    Artifact,
    ArtifactFile,
    Compilation,
    GoldenVectors,
    Lowering,
    OperatorPrecision,
    TensorError,
    TensorSize,
)
from edgesdk.values.forecast import CacheUse, Placement
from edgesdk.values.package import Budget, Package
from edgesdk.values.report import DataSummary, Report
from edgesdk.values.results import MeasuredDevice, ModelRun, Predictions, Results, Role
from tests.plans import INT8, USUAL_PLAN

SHA = "3f0b1c5d9e7a2846" * 4
OTHER_SHA = "3f0b1c5d9e7a2847" * 4
CALIBRATION = DataSummary("keywords.npz#calibration", 200, SHA)
EVALUATION = DataSummary("keywords.npz#test", 2000, OTHER_SHA)
RUNTIME = RuntimeVersion("litert", "ai-edge-litert", "2.3.0")
GATES = Gates(
    max_accuracy_drop_points=1.0,
    max_p95_ns=5_000_000,
    max_peak_ram_bytes=128 * 2**20,
    max_parity_mismatch_percent=0.5,
    max_package_bytes=2**20,
)


def example_report(
    *,
    results: Results | None = None,
    gates: Gates = GATES,
    artifact: Artifact | None = None,
    calibration: DataSummary = CALIBRATION,
    evaluation: DataSummary | None = EVALUATION,
    package: Package | None = None,
    unhealthy: str = "",
    caveats: tuple[str, ...] = (),
) -> Report:
    """A report that passes every gate, unless told otherwise."""
    return build_report(
        artifact=artifact or example_artifact(),
        target=example_target(),
        calibration=calibration,
        evaluation=evaluation,
        package=package or example_package(),
        budget=Budget(package_bytes=2**20, delta_bytes=2**16),
        results=results or example_results(),
        gates=gates,
        created=datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC),
        unhealthy=unhealthy,
        caveats=caveats,
    )


def example_results(**changes: object) -> Results:
    """What a steady, cool board would give; `changes` replace whole fields."""
    results = Results(
        device=MeasuredDevice("bench-pi", "board", example_environment()),
        installed=Installed(
            "0123456789abcdef" * 4,
            "keywords",
            "1.2.0",
            "raspberry-pi-5",
            "litert",
            "1.0",
            300_000,
            False,
            "current",
            7,
            "anna",
        ),
        runs=(
            example_run("float", 8_412_000, 61_000_000),
            example_run("int8", 3_104_000, 48_500_000),
        ),
        predictions=example_predictions(),
        parity=Parity("xnnpack", ("xnnpack", "builtin"), 32, 320, 1, 2.0, 0),
    )
    return dataclasses.replace(results, **changes)  # type: ignore[arg-type]


def example_environment() -> Environment:
    return Environment(
        hostname="bench-pi",
        machine="aarch64",
        system="Linux",
        kernel="6.12.25+rpt-rpi-2712",
        libc="glibc 2.41",
        python="3.13.5",
        cpu_model="Cortex-A76",
        cpu_count=4,
        memory_total_bytes=8_454_688_768,
        memory_available_bytes=7_814_238_208,
        disk_free_bytes=51_200_000_000,
        governor="performance",
        max_clock_hz=2_400_000_000,
        board="Raspberry Pi 5 Model B Rev 1.0",
        runtimes=(RUNTIME,),
    )


def example_latency(
    role: Role, typical_ns: int, *, turns: int = 10, runs_a_turn: int = 60, drift: float = 0.0
) -> Latency:
    """Log-normal runs with a slow one now and then, turn by turn."""
    random = np.random.default_rng([typical_ns, turns, runs_a_turn])
    count = turns * runs_a_turn
    noise = np.exp(random.normal(0, 0.012, count)) + random.exponential(0.01, count)
    hiccups = np.where(random.random(count) < 0.015, random.uniform(1.2, 1.9, count), 1.0)
    trend = 1 + drift * np.arange(count) / count
    turn = np.repeat(np.exp(random.normal(0, 0.004, turns)), runs_a_turn)
    samples = (typical_ns * noise * hiccups * trend * turn).astype(int)
    return Latency(
        key=role,
        samples_ns=tuple(samples.tolist()),
        block_sizes=(runs_a_turn,) * turns,
        warm_up_runs=24,
        steady=True,
        conditions=tuple(example_conditions(i) for i in range(2 * turns)),
        peak_rss_bytes=None,
        turns=tuple(
            Turn(2 * i * 10**9, (2 * i + 1) * 10**9, runs_a_turn + 3) for i in range(turns)
        ),
    )


def example_conditions(second: int) -> Conditions:
    """Of a cool board with four CPUs, three of them at work for us and one per cent for others."""
    return Conditions(
        at_ns=second * 10**9,
        clock_hz=2_400_000_000,
        temperature_celsius=51.0 + 0.3 * second,
        load_average=1.1,
        wall_ns=1_800_000_000 * 10**9 + second * 10**9,
        governor="performance",
        throttled=(),
        throttle_events={"throttled": 1},
        cpu=CpuTime(4000 * second, 960 * second, 0, 3000 * second),
        power=(Power("VDD_IN", 6_100_000, None),),
    )


def example_run(
    role: Role, typical_ns: int, peak_rss_bytes: int = 1, **latency: object
) -> ModelRun:
    port = mf.Port("image", (1, 32, 32, 3), "float32")
    opened = Opened(
        key=role,
        runtime=RUNTIME,
        kernel_path="xnnpack",
        threads=4,
        load_ns=5_200_000,
        baseline_rss_bytes=41_000_000,
        inputs=(port,),
        outputs=(mf.Port("probabilities", (1, 10), "float32"),),
    )
    measured = dataclasses.replace(
        example_latency(role, typical_ns),
        peak_rss_bytes=peak_rss_bytes,
        **latency,  # type: ignore[arg-type]
    )
    return ModelRun(role, opened, measured)


def example_predictions(n: int = 2000, classes: int = 10) -> Predictions:
    """Float right nine times in ten; INT8 mostly of the same mind, a little worse on class 3."""
    random = np.random.default_rng(7)
    labels = random.integers(classes, size=n)
    wrong = (labels + 1 + random.integers(classes - 1, size=n)) % classes
    float_top1 = np.where(random.random(n) < 0.91, labels, wrong)
    flips = random.random(n) < np.where(labels == 3, 0.05, 0.012)
    other = np.where(float_top1 == labels, wrong, labels)
    keep_right = random.random(n) < 0.5
    int8_top1 = np.where(flips & ~keep_right, other, float_top1)
    return Predictions(
        tuple(labels.tolist()), tuple(float_top1.tolist()), tuple(int8_top1.tolist())
    )


def example_target() -> Target:
    return Target(
        id="raspberry-pi-5",
        name="Raspberry Pi 5",
        vendor="Raspberry Pi",
        family="arm-cpu",
        soc="Broadcom BCM2712",
        architecture="aarch64",
        compute_units=(ComputeUnit("cpu", "cpu", "Cortex-A76"),),
        runtimes=(Runtime("litert", "2.0"),),
        quantization=INT8,
        agent=Agent("3.7"),
    )


def example_artifact(name: str = "resnet8") -> Artifact:
    plan = dataclasses.replace(
        USUAL_PLAN,
        model_name=name,
        model_sha256=SHA,
        inputs=(TensorSpec("image", (1, 32, 32, 3), "float32"),),
        outputs=(TensorSpec("probabilities", (1, 10), "float32"),),
        target_id="raspberry-pi-5",
        target_architecture="aarch64",
        io="int8",
        calibration_sha256=SHA,
        calibration_samples=200,
        toolchain={"edgesdk": "0.1.0", "ai-edge-litert": "2.3.0", "ai-edge-quantizer": "0.10.0"},
    )
    operators = (
        *(OperatorPrecision(i, "CONV_2D", f"stage{i}/conv", "int8") for i in range(9)),
        *(OperatorPrecision(9 + i, "ADD", f"stage{i}/add", "int8") for i in range(3)),
        OperatorPrecision(12, "MEAN", "pool/mean", "int8"),
        OperatorPrecision(13, "RESHAPE", "flatten", "-"),
        OperatorPrecision(14, "FULLY_CONNECTED", "logits", "int8"),
        OperatorPrecision(15, "SOFTMAX", "probabilities", "float32", "kept in float by the recipe"),
    )
    errors = tuple(
        TensorError(f"stage{i}/conv", 19.4 + 2.6 * i, round(0.31 / (i + 1), 4)) for i in range(9)
    )
    return Artifact(
        schema=1,
        plan=plan,
        plan_digest=SHA,
        files=(
            ArtifactFile("model", "model.tflite", 98_304, SHA),
            ArtifactFile("float", "float.reference", 321_088, SHA),
            ArtifactFile("golden", "golden.npz", 402_100, SHA),
        ),
        inputs=(),
        outputs=(),
        operators=operators,
        tensor_errors=errors,
        tensor_sizes=(
            TensorSize("stage8/conv/weights", "constant", "int8", (64, 3, 3, 64), 36864),
        ),
        working_set_bytes=180_224,
        golden=GoldenVectors(32, ("xnnpack", "builtin")),
        input_statistics=(),
        compilation=Compilation("not needed"),
    )


def compiled_artifact() -> Artifact:
    """For an Edge TPU, with one operator that the compiler put elsewhere than forecast."""
    artifact = example_artifact()
    told = tuple(
        Placement(
            each.index, each.type, each.name, "cpu" if each.reason else "edgetpu", each.reason
        )
        for each in artifact.operators
    )
    refused = dataclasses.replace(told[2], unit="cpu", reason="Operation version not supported")
    return dataclasses.replace(
        artifact,
        forecast=told,
        compilation=Compilation(
            "compiled",
            "edgetpu_compiler",
            "16.0",
            placements=(*told[:2], refused, *told[3:]),
            cache=CacheUse(6 * 2**20, 2**19, 8 * 2**20),
        ),
        lowering=Lowering("onnx2tf", 0.0031, 0.00012, 8),
    )


def uncompiled_artifact() -> Artifact:
    """The same, on a workstation that has no compiler."""
    reason = "edgetpu_compiler is not on PATH"
    return dataclasses.replace(
        compiled_artifact(),
        compilation=Compilation("not compiled", "edgetpu_compiler", reason=reason),
    )


def example_package(delta: mf.Delta | None = None) -> Package:
    files = (
        mf.File("model", "model.tflite", 98_304, SHA, (60_000, 24_113), (SHA,) * 2),
        mf.File("golden", "golden.npz", 402_100, SHA, (61_920,) * 6 + (2,), (SHA,) * 7),
    )
    manifest = mf.Manifest(
        format=mf.FORMAT,
        name="resnet8",
        version="0.1.0",
        sequence=7,
        compatibility=mf.Compatibility("raspberry-pi-5", ("aarch64",), "litert", "2.0"),
        inputs=(),
        outputs=(),
        files=files,
        limits=mf.Limits(),
        gates={},
        provenance={},
    )
    head = Head(manifest, b"a signature", delta)
    return Package(Path("resnet8.edgepkg"), head, 458_752 if delta is None else 24_576)


def example_delta() -> mf.Delta:
    """What is left of the example's package where the device has one with the same vectors."""
    files = (
        mf.DeltaFile("model.tflite", "tensors-delta", OTHER_SHA, 98_304, 20_480, (SHA,)),
        mf.DeltaFile("golden.npz", "same", SHA, 402_100),
    )
    return mf.Delta(mf.DELTA_FORMAT, example_package().manifest.package_id, OTHER_SHA, files)
