"""Facts about the report on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgesdk.report.terminal import render_terminal
from edgesdk.values.report import Report
from tests.unit.report.sessions import REPORTS


def shown(report: Report, width: int = 80, colour: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=colour)
    console.print(render_terminal(report))
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


def test_doubt_is_shown_beside_the_verdict() -> None:
    assert "within uncertainty: the 95 % interval reaches 1.10 points" in unwrapped(
        REPORTS["everything passed"]
    )


@pytest.mark.parametrize("colour", [False, True])
def test_names_cannot_drive_the_terminal(colour: bool) -> None:
    text = shown(REPORTS["hostile names"], width=200, colour=colour)
    assert "\x1b[31m[bold" not in text and "\u202e" not in text
    assert "[bold red]" in text
