"""PyTorch programs to TFLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesdk.errors import ConversionError
from edgesdk.models.agreement import TOLERANCE
from tests.toolkits.checks import HERE, cross, make, skip_without

skip_without("litert_torch", "torch-litert")
pytestmark = [pytest.mark.toolkit, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    make("make_torch.py", str(folder))
    return folder


@pytest.mark.parametrize("name", ["net.pt2", "named.pt2"])
def test_a_program_comes_across(models: Path, tmp_path: Path, name: str) -> None:
    crossing = cross(models / name, "tflite", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_a_factory_comes_across(tmp_path: Path) -> None:
    crossing = cross(f"{HERE / 'networks_torch.py'}:named_outputs", "tflite", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_the_operator_that_tflite_lacks_is_named(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"no TFLite form for .*bessel_j0"):
        cross(models / "bessel.pt2", "tflite", tmp_path)
