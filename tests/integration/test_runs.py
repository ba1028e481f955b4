"""The history over real SSH: what was measured is kept, shown, and held against what follows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edgesdk.devices.virtual import VirtualDevice
from tests.cli import CALIBRATION, DIGITS, TEST, Cli, Done, this_machine


@pytest.fixture
def cli(tmp_path: Path, virtual_device: VirtualDevice) -> Cli:
    """With a device, and the example deployed on it as run 1."""
    made = Cli(tmp_path)
    made.enrol(virtual_device.as_device("bench", this_machine()))
    done = made(
        *("deploy", DIGITS / "digits.onnx", "--device", "bench", "--calibration", CALIBRATION),
        *("--dataset", TEST, "-o", "out", "--seconds", "0.3", "--max-accuracy-drop", "5"),
    )
    assert done.code == 0, done.err
    assert "to see a drop of 5 points with 95 % confidence and 80 % power, " in done.err
    assert re.search(r"kept as run 1-[0-9a-f]{8}: edgesdk runs show 1", done.err)
    return made


def bench(cli: Cli, *more: str) -> Done:
    return cli("bench", "--device", "bench", "--seconds", "0.3", *more)


def test_every_measurement_is_kept_and_shown_again(cli: Cli) -> None:
    measured = bench(cli, "--json")
    evaluated = cli(
        *("eval", "--device", "bench", "--dataset", TEST, "--model", DIGITS / "digits.onnx"),
        *("--max-accuracy-drop", "1"),
    )
    assert "as in run 1-" in evaluated.err  # How often the models differ was seen there.
    listed = cli("runs", "ls", "--json").json
    assert [run["command"] for run in listed] == ["deploy", "bench", "eval"]
    assert listed[0]["data_sha256"] == listed[2]["data_sha256"] != ""
    assert cli("runs", "show", "2", "--json").json == measured.json
    assert cli("runs", "show", "1", "--json").json == json.loads(
        (cli.folder / "out" / "report.json").read_text()
    )
    assert "Accuracy lost" in cli("runs", "show", "last").out
    assert cli("runs", "show", "1", "--html", "again.html").code == 0
    again = (cli.folder / "again.html").read_text()
    assert again == (cli.folder / "out" / "report.html").read_text()
    assert cli("runs", "show", "2", "--html", "no.html").code == 2
    assert cli("runs", "rm", "2").code == 0
    assert cli("runs", "show", "2").code == 3


def test_a_run_is_held_against_the_accepted_one(cli: Cli) -> None:
    first = bench(cli, "--max-latency-regression", "10000", "--json")
    assert first.code == 6
    (verdict,) = (v for v in first.json["verdicts"] if v["gate"] == "latency_regression")
    assert verdict["status"] == "not measured" and "edgesdk runs accept RUN" in verdict["reason"]
    assert "is the baseline of digits on bench" in cli("runs", "accept", "last").out
    second = bench(cli, "--max-latency-regression", "10000", "--json")
    assert second.code == 0, second.err
    (verdict,) = (v for v in second.json["verdicts"] if v["gate"] == "latency_regression")
    assert verdict["status"] == "pass" and "the baseline, run 2-" in verdict["title"]
    compared = cli("compare", "baseline", "last", "--json")
    assert compared.code == 0
    assert compared.json["before"]["number"] == 2 and compared.json["after"]["number"] == 3
    shown = cli("runs", "compare", "1", "last")
    assert shown.code == 0 and "Latency of the converted model: " in shown.out
    assert "virtual devices" in shown.out


def test_a_home_that_cannot_be_written_costs_a_warning_only(cli: Cli) -> None:
    for path in cli.home.glob("runs.sqlite*"):
        path.unlink()
    (cli.home / "runs.sqlite").mkdir()
    done = bench(cli)
    assert done.code == 0 and "latency" in done.out
    assert done.err.count("warning: this run is not kept") == 1
