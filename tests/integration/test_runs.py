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


def test_a_baseline_that_is_named_is_compared_without_a_gate(cli: Cli) -> None:
    assert bench(cli, "--json").json["since"] is None
    named = bench(cli, "--baseline", "2", "--json")
    assert named.code == 0
    since = named.json["since"]
    assert since["baseline"].startswith("run 2-")
    assert since["latency"]["word"] in ("faster", "slower", "no difference shown")
    assert since["latency"]["changes"][0]["probability"] == 0.5
    assert not any(v["gate"] == "latency_regression" for v in named.json["verdicts"])
    told = bench(cli, "--baseline", "2").out
    assert "Since the baseline, run 2-" in told and "after / before" in told
    compared = cli("compare", "2", "3", "--json").json["latencies"][0]
    assert compared == since["latency"]
    gated = bench(cli, "--baseline", "2", "--max-latency-regression", "10000", "--json").json
    assert gated["since"] is not None
    assert any(v["gate"] == "latency_regression" for v in gated["verdicts"])


def test_a_deployment_is_held_against_the_run_that_is_named_and_its_page_says_so(cli: Cli) -> None:
    done = cli(
        *("deploy", DIGITS / "digits.onnx", "--device", "bench", "--calibration", CALIBRATION),
        *("--dataset", TEST, "-o", "again", "--seconds", "0.3", "--baseline", "1"),
        *("--metric", "f1", "--max-metric-drop", "5"),
    )
    assert done.code == 0, done.err
    assert "Since the baseline, run 1-" in done.out and "F1, macro lost" in done.out
    page = (cli.folder / "again" / "report.html").read_text()
    assert "Since the baseline" in page and "Held against run 1-" in page
    assert "F1, macro" in page and "640 samples" in page
    report = json.loads((cli.folder / "again" / "report.json").read_text())
    before = json.loads((cli.folder / "out" / "report.json").read_text())
    assert report["accuracy"] == before["accuracy"]  # Read from outputs here, from classes there.
    (verdict,) = (each for each in report["verdicts"] if each["gate"] == "metric f1")
    assert verdict["status"] == "pass" and verdict["measured"]["n"] == 640


def test_a_home_that_cannot_be_written_costs_a_warning_only(cli: Cli) -> None:
    for path in cli.home.glob("runs.sqlite*"):
        path.unlink()
    (cli.home / "runs.sqlite").mkdir()
    done = bench(cli)
    assert done.code == 0 and "latency" in done.out
    assert done.err.count("warning: this run is not kept") == 1
