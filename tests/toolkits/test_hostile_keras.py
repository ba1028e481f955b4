"""Model files that would act on the machine when opened: nothing is touched. Honest ones pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesdk.errors import ModelError
from edgesdk.models.agreement import TOLERANCE
from edgesdk.models.bridges import LoweredFormat
from edgesdk.models.opening import open_model
from tests.toolkits.checks import cross, make, skip_without

skip_without("tensorflow", "keras")
skip_without("tf2onnx", "keras")
pytestmark = [pytest.mark.toolkit, pytest.mark.timeout(900)]

KEPT = b"keep 1\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for version in ("2", "3"):
        (folder / version).mkdir()
        (folder / "victim").write_bytes(KEPT)
        make("make_hostile_keras.py", version, str(folder / version), str(folder / "victim"))
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2/write.h5", "operator layer .* of tf.io.write_file, which is no arithmetic"),
        ("2/print.h5", "operator layer .* of tf.print, which is no arithmetic"),
        ("2/download.h5", "operator layer .* of tf.keras.utils.get_file"),
        ("2/outside.h5", "takes the weights 'model_weights' from another place"),
        ("3/prints_saved", "holds PrintV2"),
        ("3/saves_saved", "holds SaveV2"),
        ("3/reads_saved", "holds ReadFile"),
        ("3/branch_saved", "holds WriteFile"),
        ("3/table_saved", "holds .*InitializeTableFromTextFileV2"),
        ("3/main_saved", "holds WriteFile"),
    ],
)
def test_a_model_that_acts_is_refused_and_touches_nothing(
    models: Path, name: str, message: str
) -> None:
    victim = models / "victim"
    victim.write_bytes(KEPT)
    before = sorted(models.rglob("*"))
    shapes = {"image": (1, 4)} if name.endswith(".h5") else {}
    with pytest.raises(ModelError, match=message):
        open_model(models / name, shapes)
    assert victim.read_bytes() == KEPT
    assert sorted(models.rglob("*")) == before


# tf2onnx 1.17 has no form for Erfc, which Keras 3 makes of GELU.
@pytest.mark.parametrize(
    ("name", "shape", "to"),
    [
        ("2/honest.h5", (1, 8, 8, 3), "onnx"),
        ("2/honest.h5", (1, 8, 8, 3), "tflite"),
        ("3/honest.keras", (1, 12, 12, 3), "tflite"),
        ("3/honest_saved", (1, 12, 12, 3), "tflite"),
    ],
)
def test_a_network_of_known_parts_passes(
    models: Path, tmp_path: Path, name: str, shape: tuple[int, ...], to: LoweredFormat
) -> None:
    crossing = cross(models / name, to, tmp_path, {"image": shape})
    assert crossing.agreement.max_relative_error < TOLERANCE


def test_a_model_of_tensorflow_1_passes(models: Path) -> None:
    assert [spec.name for spec in open_model(models / "3" / "honest_1_saved").outputs] == ["result"]
