"""Keras files and SavedModels, from Keras 2 and 3, to TFLite and ONNX."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesdk.errors import ConversionError, ModelError
from edgesdk.models.agreement import TOLERANCE
from edgesdk.models.bridges import LoweredFormat
from edgesdk.models.opening import open_model
from tests.toolkits.checks import cross, make, skip_without

skip_without("tensorflow", "keras")
skip_without("tf2onnx", "keras")
pytestmark = [pytest.mark.toolkit, pytest.mark.timeout(900)]

SHAPES = {"image": (1, 16, 16, 3), "extra": (1, 7)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    for version in ("2", "3"):
        (folder / version).mkdir()
        make("make_keras.py", version, str(folder / version))
    return folder


@pytest.mark.parametrize("to", ["tflite", "onnx"])
@pytest.mark.parametrize("name", ["net.keras", "net.h5", "net_saved"])
@pytest.mark.parametrize("version", ["2", "3"])
def test_a_network_comes_across(
    models: Path, tmp_path: Path, version: str, name: str, to: LoweredFormat
) -> None:
    crossing = cross(models / version / name, to, tmp_path, SHAPES)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_a_keras_model_keeps_its_own_order_of_inputs_and_outputs(models: Path) -> None:
    model = open_model(models / "3" / "net.keras", SHAPES)
    assert [spec.name for spec in model.inputs] == ["image", "extra"]
    assert [spec.name for spec in model.outputs] == ["probs", "map"]


def test_the_versions_that_made_the_file_are_named(models: Path, tmp_path: Path) -> None:
    versions = cross(models / "3" / "net.keras", "tflite", tmp_path, SHAPES).lowered.versions
    assert {"tensorflow", "keras"} <= set(versions)


def test_an_unrolled_recurrent_layer_comes_across(models: Path, tmp_path: Path) -> None:
    crossing = cross(models / "3" / "unrolled.keras", "tflite", tmp_path, {"series": (1, 10, 4)})
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_a_loop_is_refused_with_what_to_do(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="has 3 subgraphs, expected 1") as error:
        cross(models / "3" / "series.keras", "tflite", tmp_path, {"series": (1, 10, 4)})
    assert "unroll=True" in error.value.hint


def test_a_layer_of_the_users_own_comes_across_in_a_saved_model(
    models: Path, tmp_path: Path
) -> None:
    crossing = cross(models / "3" / "own_saved", "tflite", tmp_path, {"values": (1, 4)})
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_an_open_batch_names_the_flag_that_fixes_it(models: Path) -> None:
    with pytest.raises(
        ModelError, match=r"'image' of net.keras is .* dimension 0 is dynamic"
    ) as error:
        open_model(models / "3" / "net.keras")
    assert error.value.hint == "fix it with --input-shape image=1,16,16,3"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("code.keras", "holds the Lambda layer 'lambda', which is Python code"),
        ("code.h5", "holds the Lambda layer 'lambda', which is Python code"),
        ("own.keras", r"holds the custom object 'Twice' \('twice"),
        ("only.weights.h5", "holds weights only"),
        ("two_saved", "holds the 2 signatures first, second, expected one"),
        ("none_saved", "holds no signature"),
        ("files_saved", "holds WriteFile, which may do more than arithmetic"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_in_one_sentence(
    models: Path, name: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as error:
        open_model(models / "3" / name)
    assert "\n" not in error.value.message


def test_a_lambda_of_keras_2_is_refused(models: Path) -> None:
    with pytest.raises(ModelError, match="holds the Lambda layer"):
        open_model(models / "2" / "code.h5")


def test_the_operator_that_tflite_lacks_is_named(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no TFLite form for MatrixInverse"):
        cross(models / "3" / "inverse_saved", "tflite", tmp_path)


def test_the_operator_that_onnx_lacks_is_named(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="holds MatrixInverse, which is no operator"):
        cross(models / "3" / "inverse_saved", "onnx", tmp_path)


def test_a_saved_model_cut_short_is_refused(models: Path, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match=r"its saved_model.pb is not a SavedModel"):
        open_model(tmp_path)
