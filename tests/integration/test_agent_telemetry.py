"""ONNX Runtime tells its maker nothing, neither here nor on the device."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgesdk.devices.virtual import VirtualDevice
from tests.cli import CALIBRATION, DIGITS, Cli, this_machine

OURS = (".edgesdk", ".cache/edgesdk")


def files(home: Path) -> list[str]:
    """Every file in a home but what edgesdk keeps there."""
    return [
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and not any(path.is_relative_to(home / ours) for ours in OURS)
    ]


def test_a_deployment_leaves_no_telemetry(tmp_path: Path, virtual_device: VirtualDevice) -> None:
    pytest.importorskip("onnxruntime")
    cli, home = Cli(tmp_path), tmp_path / "home"
    home.mkdir()
    hidden = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    clean = {name: value for name, value in os.environ.items() if name not in hidden}
    cli.environment = {**clean, "HOME": str(home), "EDGESDK_HOME": str(cli.home)}
    cli.enrol(virtual_device.as_device("bench", this_machine()))
    done = cli(
        *("deploy", DIGITS / "digits.onnx", "--device", "bench", "--calibration", CALIBRATION),
        *("-o", "out", "--seconds", "0.1"),
    )
    assert done.code == 0, done.err
    assert files(home) == []
    assert files(virtual_device.home) == []
