"""Facts about the report as a value: what it derives, what it warns of, that it survives JSON."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.choices import DeviceKind, Precision
from edgesdk.data.samples import Samples
from edgesdk.errors import MalformedFile
from edgesdk.serial import from_dict, to_dict
from edgesdk.validate.build import build_report, find, summarize_data
from edgesdk.validate.gates import Gates
from edgesdk.validate.summaries import speedup
from edgesdk.values.artifact import ArtifactFile, OperatorPrecision
from edgesdk.values.package import Budget
from edgesdk.values.plan import ConversionPlan
from edgesdk.values.report import DataSummary, Report
from edgesdk.values.results import ModelRun, Predictions, Results, Role
from edgesdk.values.verdict import Estimate
from tests.unit.report.example import (
    CALIBRATION,
    GATES,
    SHA,
    compiled_artifact,
    example_artifact,
    example_delta,
    example_package,
    example_report,
    example_results,
    example_run,
    example_target,
    uncompiled_artifact,
)


def caveats(results: Results) -> str:
    return "\n".join(find(results, example_target(), Gates(), precision="w8a8").caveats)


def with_environment(kind: DeviceKind = "board", **changes: object) -> Results:
    device = example_results().device
    environment = dataclasses.replace(device.environment, **changes)  # type: ignore[arg-type]
    return example_results(device=dataclasses.replace(device, kind=kind, environment=environment))


def test_a_good_session_passes_without_caveats() -> None:
    report = example_report()
    assert (report.outcome, report.exit_code, report.caveats) == ("pass", 0, ())


def test_a_broken_gate_fails_the_report() -> None:
    report = example_report(gates=Gates(max_p95_ns=1))
    assert (report.outcome, report.exit_code) == ("fail", 1)


def test_the_time_is_written_as_utc() -> None:
    report = build_report(
        artifact=example_artifact(),
        target=example_target(),
        calibration=CALIBRATION,
        evaluation=None,
        package=example_package(),
        budget=Budget(),
        results=example_results(),
        gates=Gates(),
        created=datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2))),
    )
    assert report.created == "2025-12-31T23:30:00+00:00"


def test_the_model_comes_from_the_artifact() -> None:
    model = example_report().model
    assert (model.name, model.float_bytes, model.int8_bytes) == ("resnet8", 321_088, 98_304)


def test_operators_are_counted_and_those_in_float_listed() -> None:
    artifact = example_report().artifact
    assert artifact.precisions == {"int8": 14, "float32": 1, "-": 1}
    assert [operator.name for operator in artifact.left_in_float] == ["probabilities"]


@pytest.mark.parametrize(
    ("precision", "computed", "left"),
    [
        ("w8a8", "float32", 1),
        ("w8a8", "float16", 1),
        ("w8a16", "int16", 0),
        ("fp16", "float16", 0),
        ("fp16", "float32", 1),
    ],
)
def test_what_is_left_in_float_depends_on_what_was_asked_for(
    precision: Precision, computed: str, left: int
) -> None:
    artifact = example_artifact()
    operators = (OperatorPrecision(0, "CONV_2D", "stem", computed),)
    artifact = dataclasses.replace(artifact, plan=with_precision(precision), operators=operators)
    assert len(example_report(artifact=artifact).artifact.left_in_float) == left


def with_precision(precision: Precision) -> ConversionPlan:
    return dataclasses.replace(example_artifact().plan, precision=precision)


@pytest.mark.parametrize(
    ("precision", "name"), [("w8a8", "INT8"), ("w8a16", "w8a16"), ("fp16", "fp16")]
)
def test_gates_and_caveats_call_the_model_by_its_precision(precision: Precision, name: str) -> None:
    artifact = dataclasses.replace(example_artifact(), plan=with_precision(precision))
    slow, fast = example_results().runs
    slower = (
        dataclasses.replace(fast, latency=slow.latency),
        dataclasses.replace(slow, latency=fast.latency),
    )
    results = example_results(
        runs=(
            dataclasses.replace(slower[1], role="float"),
            dataclasses.replace(slower[0], role="int8"),
        )
    )
    report = example_report(artifact=artifact, results=results)
    titles = [verdict.title for verdict in report.verdicts]
    assert titles[:3] == [
        f"Accuracy lost to {name}",
        f"{name} latency, 95th percentile",
        f"Peak memory of the {name} model's process",
    ]
    assert report.caveats[0].startswith(f"The {name} model is slower than the float one here")


def test_a_model_of_unknown_precision_is_called_converted() -> None:
    titles = [
        verdict.title for verdict in find(example_results(), example_target(), GATES).verdicts
    ]
    assert titles[:3] == [
        "Accuracy lost to the conversion",
        "Converted latency, 95th percentile",
        "Peak memory of the converted model's process",
    ]


def test_the_converted_size_is_that_of_every_file_that_the_device_loads() -> None:
    artifact = example_artifact()
    companion = ArtifactFile("companion", "model.bin", 1000, SHA)
    artifact = dataclasses.replace(artifact, files=(*artifact.files, companion))
    assert example_report(artifact=artifact).model.int8_bytes == 99_304


def test_the_forecast_stands_beside_what_the_compiler_says() -> None:
    conversion = example_report(artifact=compiled_artifact()).conversion
    assert conversion.forecast == {"cpu": 1, "edgetpu": 15}
    assert conversion.compilation.units == {"cpu": 2, "edgetpu": 14}
    assert [each.found.name for each in conversion.moved] == ["stage2/conv"]
    assert [each.name for each in conversion.fallen_back] == ["stage2/conv", "probabilities"]


def test_a_compiled_model_has_no_caveat() -> None:
    assert example_report(artifact=compiled_artifact()).caveats == ()


def test_a_model_that_is_not_compiled_is_a_caveat() -> None:
    (found,) = example_report(artifact=uncompiled_artifact()).caveats
    assert found == (
        "The model is not compiled: the figures are those of the uncompiled model, and where its"
        " operators run is only a forecast. The reason: edgetpu_compiler is not on PATH."
    )


def test_without_a_compiler_what_falls_back_is_the_forecasts() -> None:
    conversion = example_report(artifact=uncompiled_artifact()).conversion
    assert [each.name for each in conversion.fallen_back] == ["probabilities"]
    assert (conversion.compilation.units, conversion.moved) == ({}, ())


def test_the_package_lists_its_files_largest_first() -> None:
    package = example_report().package
    assert [part.name for part in package.contributors] == ["golden.npz", "model.tflite"]
    assert (package.size_bytes, package.installed_bytes) == (458_752, 500_404)
    assert package.budget_bytes == 2**20


def test_of_a_delta_only_what_travels_is_listed() -> None:
    package = example_report(package=example_package(example_delta())).package
    assert package.delta
    assert [(part.name, part.size_bytes) for part in package.contributors] == [
        ("model.tflite", 20_480)
    ]
    assert (package.size_bytes, package.installed_bytes) == (24_576, 500_404)
    assert package.budget_bytes == 2**16, "that of deltas"


def test_the_package_says_who_signed_it_and_where_it_stands() -> None:
    package = example_report().package
    assert (package.signed_by, package.sequence, package.delta) == ("anna", 7, False)
    assert package.unhealthy == ""


def test_a_package_without_a_signature_is_a_caveat() -> None:
    unsigned = dataclasses.replace(example_results().installed, signed_by="")
    assert "The package is not signed" in caveats(example_results(installed=unsigned))
    assert "signed" not in caveats(example_results())


def test_a_package_that_is_not_in_use_is_a_caveat_and_no_verdict() -> None:
    report = example_report(unhealthy="found 9 bytes, expected at most 8")
    assert report.package.unhealthy == "found 9 bytes, expected at most 8"
    assert "The device does not use this package: found 9 bytes" in "".join(report.caveats)
    assert (report.outcome, report.verdicts) == (
        example_report().outcome,
        example_report().verdicts,
    )


def test_a_virtual_device_is_named_as_such() -> None:
    assert "The device is virtual" in caveats(with_environment(kind="python"))
    assert "virtual" not in caveats(example_results())


def test_another_architecture_than_the_targets_is_a_caveat() -> None:
    assert "The device is x86_64, the target aarch64" in caveats(with_environment(machine="x86_64"))


@pytest.mark.parametrize(("governor", "warned"), [("ondemand", 1), ("performance", 0), (None, 0)])
def test_a_clock_left_to_a_governor_is_a_caveat(governor: str | None, warned: int) -> None:
    assert caveats(with_environment(governor=governor)).count("governor") == warned


def test_a_latency_that_never_settled_is_a_caveat() -> None:
    runs = (example_run("float", 8_000_000, 1, steady=False),)
    assert "Float latency is invalid" in caveats(example_results(runs=runs))


def test_turns_that_differ_are_a_caveat() -> None:
    runs = (example_run("int8", 1, 1, samples_ns=(100, 100, 112, 112), block_sizes=(2, 2)),)
    found = caveats(example_results(runs=runs))
    assert "INT8 latency drifted: the medians of its 2 turns lie between 100 and 112 ns" in found


def test_turns_that_barely_differ_are_none() -> None:
    runs = (example_run("int8", 1, 1, samples_ns=(100, 100, 109, 109), block_sizes=(2, 2)),)
    assert caveats(example_results(runs=runs)) == ""


def test_models_run_in_two_settings_are_a_caveat() -> None:
    slow, fast = example_results().runs
    single = dataclasses.replace(fast, opened=dataclasses.replace(fast.opened, threads=1))
    found = caveats(example_results(runs=(slow, single)))
    assert "xnnpack kernels, 4 threads, INT8 with" in found and "1 thread." in found


def timed(float_ns: tuple[int, ...], int8_ns: tuple[int, ...], sizes: tuple[int, ...]) -> Results:
    return example_results(
        runs=(
            example_run("float", 1, 1, samples_ns=float_ns, block_sizes=sizes),
            example_run("int8", 1, 1, samples_ns=int8_ns, block_sizes=sizes),
        )
    )


def test_int8_that_is_slower_is_a_caveat() -> None:
    slow, fast = example_results().runs
    swapped = (
        dataclasses.replace(slow, latency=fast.latency),
        dataclasses.replace(fast, latency=slow.latency),
    )
    found = caveats(example_results(runs=swapped))
    assert found == (
        "The INT8 model is slower than the float one here: 0.368 times as fast (0.366 to 0.369)."
    )


def test_the_speed_up_is_resampled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100,000 runs that takes seconds."""
    times = []

    def counted(results: Results) -> Estimate | None:
        times.append(results)
        return speedup(results)

    monkeypatch.setattr("edgesdk.validate.build.speedup", counted)
    assert example_report().speedup is not None
    assert len(times) == 1


def test_int8_that_is_slower_in_too_few_turns_for_an_interval_is_a_caveat() -> None:
    found = caveats(timed((100,), (125,), (1,)))
    assert found == "The INT8 model is slower than the float one here: 0.80 times as fast."


def test_int8_that_may_be_as_fast_is_none() -> None:
    even = tuple(100 + 2 * (i % 2) for i in range(10))
    odd = tuple(101 + 2 * ((i + 1) % 2) for i in range(10))
    results = timed(even, odd, (1,) * 10)
    ratio = speedup(results)
    assert ratio is not None and ratio.interval is not None
    assert ratio.interval.low < 1 <= ratio.interval.high
    assert "slower" not in caveats(results)


@pytest.mark.parametrize(("int8_bytes", "warned"), [(321_088, True), (321_087, False)])
def test_an_int8_file_that_is_not_smaller_is_a_caveat(int8_bytes: int, warned: bool) -> None:
    artifact = example_artifact()
    model, *others = artifact.files
    model = dataclasses.replace(model, size_bytes=int8_bytes)
    report = example_report(artifact=dataclasses.replace(artifact, files=(model, *others)))
    wanted = "The INT8 model is not smaller than the float one: 314 KiB against 314 KiB."
    assert report.caveats == ((wanted,) if warned else ())


@pytest.mark.parametrize(
    ("samples", "said"), [(1, "on 1 sample:"), (19, "on 19 samples:"), (20, "")]
)
def test_few_calibration_samples_are_a_caveat(samples: int, said: str) -> None:
    report = example_report(calibration=DataSummary("few.npz", samples, SHA))
    assert [caveat for caveat in report.caveats if "Calibrated" in caveat] == (
        [f"Calibrated {said} fewer than 20 may miss values that the device will meet."]
        if said
        else []
    )


def test_evaluation_on_the_calibration_data_is_a_caveat() -> None:
    (found,) = example_report(evaluation=DataSummary("copy.npz", 200, SHA)).caveats
    assert "The evaluation data are the calibration data" in found


def test_the_report_names_both_data_sets() -> None:
    samples = Samples("mine.npz#test", 3, SHA, None, lambda: iter(()))
    report = example_report(evaluation=summarize_data(samples))
    assert report.calibration == CALIBRATION
    assert report.evaluation == DataSummary("mine.npz#test", 3, SHA)
    assert example_report(evaluation=None).evaluation is None


def test_a_gate_that_was_asked_for_and_not_measured_keeps_the_report_from_passing() -> None:
    results = example_results(predictions=None)
    asked = dataclasses.replace(GATES, asked=("accuracy_drop",))
    report = example_report(gates=asked, results=results)
    assert (report.outcome, report.exit_code) == ("not measured", 6)
    default = example_report(gates=GATES, results=results)
    assert (default.outcome, default.exit_code) == ("pass", 0)


def test_the_caller_adds_what_only_it_knows() -> None:
    assert example_report(caveats=("The device is emulated.",)).caveats == (
        "The device is emulated.",
    )


CLASSES = st.integers(-1, 5)
ROLES: list[tuple[Role, ...]] = [("float", "int8"), ("int8",), ()]


@st.composite
def sessions(draw: st.DrawFn) -> Results:
    sizes = tuple(draw(st.lists(st.integers(0, 90), min_size=1, max_size=8)))
    count = sum(sizes)
    runs: tuple[ModelRun, ...] = ()
    if count:
        samples = draw(st.lists(st.integers(1, 10**10), min_size=count, max_size=count))
        runs = tuple(
            example_run(
                role, 1, 1, samples_ns=tuple(samples), block_sizes=sizes, steady=draw(st.booleans())
            )
            for role in draw(st.sampled_from(ROLES))
        )
    answers = draw(st.lists(st.tuples(CLASSES, CLASSES, CLASSES), max_size=60))
    predictions = None
    if answers:
        labels, first, second = zip(*answers, strict=True)
        predictions = Predictions(labels if draw(st.booleans()) else None, first, second)
    parity = draw(st.sampled_from([None, example_results().parity]))
    return example_results(runs=runs, predictions=predictions, parity=parity)


@settings(max_examples=40, deadline=None)
@given(sessions())
def test_every_report_survives_json(results: Results) -> None:
    report = example_report(results=results)
    text = json.dumps(to_dict(report), allow_nan=False)
    assert from_dict(Report, json.loads(text), origin="the report") == report


def test_a_report_is_read_strictly() -> None:
    data = json.loads(json.dumps(to_dict(example_report())))
    data["outcome"] = "fine"
    data["results"]["runs"][0]["latency"]["samples_ns"][0] = "8"
    with pytest.raises(MalformedFile) as raised:
        from_dict(Report, data, origin="report.json")
    paths = "\n".join(raised.value.details)
    assert "$.outcome" in paths and "$.results.runs[0].latency.samples_ns[0]" in paths


def test_a_report_made_twice_is_the_same() -> None:
    assert example_report() == example_report()
    assert datetime.fromisoformat(example_report().created).tzinfo == UTC


def test_fallbacks_that_the_device_counted_are_told() -> None:
    results = example_results()
    assert "fallback" not in caveats(results)
    installed = dataclasses.replace(
        results.installed, fallbacks={"run_failed": 2, "out_of_distribution": 40}
    )
    assert "runs by reason: out_of_distribution 40, run_failed 2." in caveats(
        dataclasses.replace(results, installed=installed)
    )
