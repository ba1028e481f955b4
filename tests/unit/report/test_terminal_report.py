"""Facts about the report on a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from edgesdk.report.terminal import render_findings, render_terminal
from edgesdk.validate.build import find
from edgesdk.validate.gates import Gates
from edgesdk.values.report import Report
from tests.unit.report.example import (
    example_report,
    example_results,
    example_target,
    uncompiled_artifact,
)
from tests.unit.report.sessions import REPORTS, UNHEALTHY, unsigned_results


def shown(report: Report, width: int = 80, colour: bool = False) -> str:
    return printed(render_terminal(report), width, colour)


def printed(rendered: RenderableType, width: int = 80, colour: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=colour)
    console.print(rendered)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def unwrapped(report: Report) -> str:
    return " ".join(shown(report).split())


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_fits_80_columns(name: str) -> None:
    assert max(map(len, shown(REPORTS[name]).splitlines())) <= 80


def test_the_three_numbers_come_first_each_with_interval_and_n() -> None:
    text = shown(REPORTS["everything passed"])
    rows = [line for line in text.splitlines() if " to " in line]
    wanted = ("Float latency", "INT8 latency", "Accuracy lost")
    heads = [row for row in rows if row.startswith(wanted)]
    assert [head.split("  ")[0] for head in heads] == list(wanted)
    assert all(head.rstrip().endswith(("600 runs", "2,000 samples")) for head in heads)
    assert text.index("Float latency") < text.index("Gate ")


def test_the_verdict_stands_in_the_first_line() -> None:
    assert shown(REPORTS["a gate failed"]).splitlines()[0].startswith(" FAIL  resnet8")


def test_a_virtual_device_is_unmistakable() -> None:
    text = shown(REPORTS["virtual device"])
    assert "VIRTUAL DEVICE" in text
    assert "Float latency (virtual)" in text and "INT8 latency (virtual)" in text
    assert "virtual" not in shown(REPORTS["everything passed"]).lower()


def test_an_emulated_device_is_unmistakable() -> None:
    text = " ".join(shown(REPORTS["emulated device"]).split())
    assert "EMULATED DEVICE Emulated aarch64 (qemu-user), latency not a device's" in text
    assert "Float latency (emulated)" in text and "INT8 latency (emulated)" in text
    assert "an emulated device" in text and "virtual" not in text.lower()
    assert "no gate was judged by them" in text


def test_a_latency_that_never_settled_shows_no_number() -> None:
    (row,) = [
        line
        for line in shown(REPORTS["never settled"]).splitlines()
        if line.startswith("INT8 latency ") and "percentile" not in line
    ]
    assert "invalid" in row and "ms" not in row


def test_nothing_measured_is_shown_as_such() -> None:
    text = shown(REPORTS["nothing measured"])
    assert text.count("not measured") >= 3
    assert "0.00" not in text


def test_without_labels_agreement_takes_accuracys_place() -> None:
    text = unwrapped(REPORTS["no labels"])
    assert "Accuracy lost not measured" in text and "same class as float 99.10 %" in text


def test_a_model_that_is_not_compiled_says_so_and_shows_the_forecast() -> None:
    text = unwrapped(REPORTS["not compiled"])
    for fact in (
        "Compilation not compiled: edgetpu_compiler is not on PATH",
        "Forecast 15 on edgetpu, 1 on cpu, by the rules of raspberry-pi-5",
        "As compiled not known: it is not compiled",
        "* The model is not compiled: the figures are those of the uncompiled model",
    ):
        assert fact in text


def test_a_compiled_model_shows_what_moved() -> None:
    text = unwrapped(REPORTS["compiled"])
    for fact in (
        "Compilation compiled by edgetpu_compiler 16.0",
        "As compiled 14 on edgetpu, 2 on cpu; 1 not as forecast",
        "On chip 6.00 MiB of parameters kept in 8.00 MiB, 512 KiB sent anew for every run",
        "2 CONV_2D stage2/conv is on cpu, not on edgetpu as forecast: Operation version not",
        "15 SOFTMAX probabilities on cpu: kept in float by the recipe",
        "Bridge onnx2tf; its outputs differ from the source model's by at most 0.00012",
    ):
        assert fact in text
    assert "stage2/conv on cpu" not in text, "told once"


def test_many_operators_off_the_accelerator_are_counted() -> None:
    artifact = uncompiled_artifact()
    forecast = tuple(
        replace(each, unit="cpu", reason="too large") for each in artifact.forecast[:5]
    )
    text = shown(example_report(artifact=replace(artifact, forecast=forecast)))
    assert text.count("too large") == 3
    assert "and 2 more" in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("everything passed", "Toolchain INT8 (w8a8) by litert"),
        ("w8a16", "Toolchain w8a16 by litert, quantized by aimet-onnx"),
        ("fp16", "Toolchain fp16 by litert"),
    ],
)
def test_the_precision_is_told_as_it_is(name: str, said: str) -> None:
    text = unwrapped(REPORTS[name])
    assert said in text
    assert ("INT8" in text) == (name == "everything passed")


def test_fp16_has_no_ranges() -> None:
    assert "Ranges minmax, from 200 samples" in unwrapped(REPORTS["w8a16"])
    assert "Ranges" not in unwrapped(REPORTS["fp16"])


def test_the_target_stands_below_the_title() -> None:
    first, second, *_ = shown(REPORTS["a gate failed"]).splitlines()
    assert first.split() == ["FAIL", "resnet8", "in", "INT8", "on", "bench-pi"]
    assert second.rstrip() == "Converted for Raspberry Pi 5"


def test_a_gate_that_was_asked_for_and_not_measured_says_so() -> None:
    text = unwrapped(REPORTS["an asked gate was not measured"])
    assert text.startswith("NOT MEASURED")
    assert "1 of 5 gates was asked for but not measured: accuracy lost to INT8." in text
    assert "this gate was asked for, so the whole does not pass" in text


def test_a_larger_file_is_not_called_smaller() -> None:
    assert "314 KiB float, 342 KiB INT8 (1.1 times larger)" in unwrapped(REPORTS["INT8 is larger"])


def test_who_signed_it_and_its_sequence_stand_beside_the_size() -> None:
    text = unwrapped(REPORTS["everything passed"])
    assert "signed by anna, sequence 7" in text and "NOT" not in text


def test_a_package_without_a_signature_says_so_at_the_head_and_beside_its_size() -> None:
    text = unwrapped(REPORTS["not signed"])
    assert "NOT SIGNED" in text[: text.index("Measured")]
    assert "NOT SIGNED, sequence 7" in text
    assert "* The package is not signed: nobody vouches for what was measured." in text


def test_findings_tell_of_a_package_without_a_signature() -> None:
    for results, told in ((unsigned_results(), True), (example_results(), False)):
        text = printed(render_findings(find(results, example_target(), Gates())))
        assert ("NOT SIGNED" in text) is told


def test_a_package_that_is_not_in_use_says_why_at_the_head() -> None:
    text = unwrapped(REPORTS["not in use"])
    assert f"NOT IN USE {UNHEALTHY}" in text[: text.index("Measured")]
    assert "NOT IN USE" not in unwrapped(REPORTS["everything passed"])


def test_a_delta_is_drawn_as_what_travels() -> None:
    text = unwrapped(REPORTS["a delta"])
    assert "Package 24.0 KiB of 64.0 KiB, 38 %" in text
    assert "signed by anna, sequence 7, a delta against an earlier one" in text
    assert "20.0 KiB model.tflite" in text and "golden.npz" not in text


@pytest.mark.parametrize(
    ("left_out", "kept", "gone"),
    [("predictions", "Converted latency", "Accuracy"), ("runs", "Accuracy lost", "latency")],
)
def test_findings_leave_out_what_was_not_tried(left_out: str, kept: str, gone: str) -> None:
    results = example_results(**{left_out: None if left_out == "predictions" else ()})
    text = printed(render_findings(find(results, example_target(), Gates())))
    assert kept in text and gone not in text


def test_doubt_is_shown_beside_the_verdict() -> None:
    assert "within uncertainty: the 95 % interval reaches 1.10 points" in unwrapped(
        REPORTS["everything passed"]
    )


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("name", ["hostile names", "hostile device"])
def test_names_cannot_drive_the_terminal(name: str, colour: bool) -> None:
    text = shown(REPORTS[name], width=200, colour=colour)
    assert "\x1b[31m[bold" not in text and "\u202e" not in text
    assert "[bold red]" in text


@pytest.mark.parametrize(("gates", "times"), [(Gates(), 2), (Gates(max_peak_ram_bytes=2**30), 0)])
def test_peak_memory_is_told_where_no_gate_tells_it(gates: Gates, times: int) -> None:
    text = printed(render_findings(find(example_results(), example_target(), gates)))
    assert text.count("  peak memory  ") == times
    assert "46.3 MiB" in text  # of the converted model


@pytest.mark.parametrize(
    ("governor", "row"), [("performance", "valid"), ("powersave", "doubtful see below")]
)
def test_each_latency_shows_how_it_is_stamped(governor: str, row: str) -> None:
    device = example_results().device
    environment = replace(device.environment, governor=governor)
    results = example_results(device=replace(device, environment=environment))
    text = printed(render_findings(find(results, example_target(), Gates())))
    stamps = [" ".join(each.split()) for each in text.splitlines() if "  measurement" in each]
    assert stamps == [f"measurement {row}"] * 2
