"""The digits example for an Intel box with OpenVINO, from the model to a verdict over SSH."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from edgesdk.devices.virtual import VirtualDevice
from edgesdk.distributions import is_installed
from tests.cli import CALIBRATION, DIGITS, TEST, Cli

TARGET = "intel-n100"
pytestmark = [
    pytest.mark.skipif(
        not (is_installed("openvino") and is_installed("nncf")),
        reason="openvino and nncf are not installed",
    ),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the target is an x86-64 computer"),
]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_a_model_becomes_a_verdict(cli: Cli, virtual_device: VirtualDevice) -> None:
    cli.enrol(virtual_device.as_device("bench", TARGET))
    done = cli(
        *("deploy", DIGITS / "digits.onnx", "--device", "bench", "--calibration", CALIBRATION),
        *("--dataset", TEST, "-o", "out", "--seconds", "0.3", "--json"),
    )
    assert done.code == 0, done.err
    report = done.json
    assert report["outcome"] == "pass"
    verdicts = {verdict["gate"]: verdict["status"] for verdict in report["verdicts"]}
    assert verdicts["parity"] == "pass"
    assert report["accuracy"]["drop"]["value"] <= 0.5
    assert report["artifact"]["left_in_float"] == []


def test_both_files_of_the_model_are_packaged(cli: Cli) -> None:
    arguments = ("convert", DIGITS / "digits.onnx", "-t", TARGET, "--calibration", CALIBRATION)
    assert cli(*arguments, "-o", "a").code == 0
    roles = {file["role"]: file["path"] for file in _artifact(cli)["files"]}
    assert roles["model"] == "model.xml"
    assert roles["companion"] == "model.bin"
    assert _artifact(cli)["plan"]["backend"] == "openvino"
    assert cli("package", "a", "-o", "digits.edgepkg").code == 0
    shown = cli("inspect", "digits.edgepkg").out
    assert "model.xml" in shown
    assert "model.bin" in shown


def test_half_precision_for_the_same_box(cli: Cli) -> None:
    (cli.folder / "edgesdk.toml").write_text('[recipe]\nprecision = "fp16"\n')
    done = cli(
        *("convert", DIGITS / "digits.onnx", "-t", TARGET, "--calibration", CALIBRATION),
        *("-o", "a", "--project", "edgesdk.toml"),
    )
    assert done.code == 0, done.err
    assert _artifact(cli)["plan"]["precision"] == "fp16"


def _artifact(cli: Cli) -> Any:
    return json.loads((cli.folder / "a" / "artifact.json").read_text())
