"""TFLite to ONNX with tf2onnx."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesdk.models.agreement import TOLERANCE
from tests.toolkits.checks import cross, make, skip_without

skip_without("tensorflow", "keras")
skip_without("tf2onnx", "keras")
pytestmark = [pytest.mark.toolkit, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tflite")
    make("make_keras.py", "3", str(folder))
    shapes = {"image": (1, 16, 16, 3), "extra": (1, 7)}
    return cross(folder / "net.keras", "tflite", folder, shapes).lowered.path


def test_a_network_comes_across(network: Path, tmp_path: Path) -> None:
    crossing = cross(network, "onnx", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100
