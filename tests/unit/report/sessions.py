"""Sessions in which something is missing, wrong or hostile, by name."""

from __future__ import annotations

import dataclasses

from device_agent.stage_messages import StagesBenched
from edgesdk.data.preprocessing import Postprocessing, Preprocessing
from edgesdk.validate.gates import Gates
from edgesdk.values.artifact import Compilation
from edgesdk.values.forecast import Placement
from edgesdk.values.report import DataSummary, Report
from edgesdk.values.results import Results
from edgesdk.values.stages import StageRun
from tests.unit.report.example import (
    GATES,
    OTHER_SHA,
    SHA,
    compiled_artifact,
    example_artifact,
    example_delta,
    example_latency,
    example_package,
    example_report,
    example_results,
    example_run,
    uncompiled_artifact,
)

HOSTILE = "<script>alert('x')</script>\x1b[31m[bold red]\"&\u202e"
UNHEALTHY = (
    "the package is not healthy on this device, and is not used: found 3100 us median"
    " latency, expected at most 1000"
)
LONG_NAME = "model/block_1/conv/Relu6;model/block_1/bn/FusedBatchNormV3;model/block_1/conv/Conv2D1"


def virtual_results() -> Results:
    device = example_results().device
    environment = dataclasses.replace(device.environment, machine="x86_64", board=None)
    return example_results(
        device=dataclasses.replace(device, name="demo", kind="python", environment=environment)
    )


def emulated_results() -> Results:
    device = example_results().device
    return example_results(device=dataclasses.replace(device, kind="arm64"))


def unsigned_results() -> Results:
    installed = dataclasses.replace(example_results().installed, signed_by="")
    return example_results(installed=installed)


def unhealthy_report(reason: str = UNHEALTHY, signed_by: str = "anna") -> Report:
    """What was measured on trial of a package that did not become the current one."""
    installed = dataclasses.replace(example_results().installed, state="trial", signed_by=signed_by)
    return example_report(results=example_results(installed=installed), unhealthy=reason)


def unlabelled_results() -> Results:
    predictions = example_results().predictions
    assert predictions is not None
    return example_results(predictions=dataclasses.replace(predictions, labels=None))


def unsettled_results() -> Results:
    drifting = dataclasses.replace(example_latency("int8", 3_104_000, drift=0.4), steady=False)
    slow, fast = example_results().runs
    return example_results(runs=(slow, dataclasses.replace(fast, latency=drifting)))


def hostile_report() -> Report:
    device = example_results().device
    environment = dataclasses.replace(
        device.environment, hostname=HOSTILE, board=HOSTILE, cpu_model=HOSTILE, governor=HOSTILE
    )
    device = dataclasses.replace(device, name=HOSTILE, environment=environment)
    parity = example_results().parity
    assert parity is not None
    artifact = example_artifact(name=HOSTILE)
    operators = tuple(
        dataclasses.replace(operator, name=HOSTILE, type=HOSTILE, precision="float32")
        for operator in artifact.operators
    )
    placed = Placement(0, HOSTILE, HOSTILE, "npu", HOSTILE, HOSTILE)
    compilation = Compilation(
        "accepted", HOSTILE, HOSTILE, HOSTILE, (dataclasses.replace(placed, unit="cpu"),)
    )
    return example_report(
        artifact=dataclasses.replace(
            artifact, operators=operators, forecast=(placed,), compilation=compilation
        ),
        results=example_results(
            device=device,
            parity=dataclasses.replace(parity, kernel_path=HOSTILE, values=0),
        ),
        caveats=(HOSTILE,),
    )


def wide_report() -> Report:
    """Weights in 8 bits, activations in 16, by a quantizer of the user's choice."""
    artifact = example_artifact()
    plan = dataclasses.replace(artifact.plan, precision="w8a16", quantizer="aimet-onnx")
    return example_report(artifact=dataclasses.replace(artifact, plan=plan))


def half_report() -> Report:
    """All in 16-bit float."""
    artifact = example_artifact()
    plan = dataclasses.replace(artifact.plan, precision="fp16")
    return example_report(artifact=dataclasses.replace(artifact, plan=plan))


def larger_report() -> Report:
    """INT8 gained nothing, its tensors have the names that TFLite gives fused ones."""
    artifact = example_artifact()
    files = tuple(
        dataclasses.replace(file, size_bytes=350_000) if file.role == "model" else file
        for file in artifact.files
    )
    errors = tuple(dataclasses.replace(error, name=LONG_NAME) for error in artifact.tensor_errors)
    return example_report(
        artifact=dataclasses.replace(artifact, files=files, tensor_errors=errors),
        calibration=DataSummary("few.npz", 5, SHA),
        evaluation=None,
    )


def staged_results(**changes: object) -> Results:
    """The converted model timed from pictures of 480 x 640 to its three best classes."""
    declared = Preprocessing(resize=(32, 32), scale=1 / 255, source=(480, 640))
    installed = dataclasses.replace(
        example_results().installed, stages=declared.stages(Postprocessing(softmax=True, top_k=3))
    )
    before, within, after = (
        example_latency("int8", typical) for typical in (2_410_000, 3_190_000, 21_000)
    )
    benched = StagesBenched(
        preprocess_ns=before.samples_ns,
        inference_ns=within.samples_ns,
        postprocess_ns=after.samples_ns,
        block_sizes=within.block_sizes,
        warm_up_runs=20,
        steady=True,
        input_sha256=SHA,
        conditions=within.conditions,
        turns=within.turns,
    )
    benched = dataclasses.replace(benched, **changes)  # type: ignore[arg-type]
    return example_results(installed=installed, stages=StageRun(benched, SHA))


REPORTS = {
    "from picture to answer": example_report(
        results=staged_results(),
        gates=dataclasses.replace(GATES, max_end_to_end_p95_ns=5_000_000),
    ),
    "another input": example_report(results=staged_results(input_sha256=OTHER_SHA)),
    "everything passed": example_report(),
    "virtual device": example_report(results=virtual_results()),
    "emulated device": example_report(results=emulated_results()),
    "a gate failed": example_report(gates=Gates(max_p95_ns=1)),
    "no gates": example_report(gates=Gates()),
    "no labels": example_report(results=unlabelled_results()),
    "never settled": example_report(results=unsettled_results()),
    "nothing measured": example_report(
        results=example_results(runs=(), predictions=None, parity=None)
    ),
    "INT8 only, three runs": example_report(
        results=example_results(
            runs=(example_run("int8", 1, 1, samples_ns=(5, 5, 5), block_sizes=(3,)),)
        )
    ),
    "an asked gate was not measured": example_report(
        gates=dataclasses.replace(GATES, asked=("accuracy_drop", "p95")),
        results=example_results(predictions=None),
    ),
    "INT8 is larger": larger_report(),
    "hostile names": hostile_report(),
    "compiled": example_report(artifact=compiled_artifact()),
    "not compiled": example_report(artifact=uncompiled_artifact()),
    "not signed": example_report(results=unsigned_results()),
    "not in use": unhealthy_report(),
    "hostile device": unhealthy_report(HOSTILE, HOSTILE),
    "a delta": example_report(package=example_package(example_delta())),
    "w8a16": wide_report(),
    "fp16": half_report(),
}
