"""PyTorch programs and factories to ONNX and TFLite."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from edgesdk.errors import ConversionError, ModelError
from edgesdk.models.agreement import TOLERANCE
from edgesdk.models.opening import open_model
from tests.toolkits.checks import HERE, cross, make, skip_without

skip_without("torch", "torch")
skip_without("onnxscript", "torch")
pytestmark = [pytest.mark.toolkit, pytest.mark.timeout(900)]

NETWORKS = str(HERE / "networks_torch.py")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    make("make_torch.py", str(folder))
    return folder


@pytest.mark.parametrize("name", ["net.pt2", "named.pt2"])
def test_a_program_comes_across_to_onnx(models: Path, tmp_path: Path, name: str) -> None:
    crossing = cross(models / name, "onnx", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_a_factory_comes_across_to_onnx(tmp_path: Path) -> None:
    crossing = cross(f"{NETWORKS}:named_outputs", "onnx", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_outputs_are_called_by_their_keys_in_the_order_of_the_module(models: Path) -> None:
    outputs = open_model(models / "named.pt2").outputs
    assert [spec.name for spec in outputs] == ["total", "map"]


def test_outputs_without_names_are_numbered(models: Path) -> None:
    outputs = open_model(models / "net.pt2").outputs
    assert [spec.name for spec in outputs] == ["output_0", "output_1"]


def test_a_factory_is_the_same_model_each_time_it_gives_the_same_weights() -> None:
    first, second = (open_model(f"{NETWORKS}:named_outputs") for _ in range(2))
    assert first.sha256 == second.sha256


def test_a_factory_that_gives_other_weights_each_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gave other weights than when the model was opened"):
        cross(f"{NETWORKS}:unseeded", "onnx", tmp_path)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("raises", "raised RuntimeError: the checkpoint is not there"),
        ("only_the_module", "returned Image"),
        ("nothing_of_the_kind", "has no function 'nothing_of_the_kind'"),
    ],
)
def test_a_factory_that_does_not_do_its_part_is_refused(function: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        open_model(f"{NETWORKS}:{function}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open.pt2", "has dynamic shapes"),
        ("training.pt2", "was exported in training mode"),
        ("pickled.pt2", "is a torch.save file"),
    ],
)
def test_a_program_that_cannot_be_used_is_refused(models: Path, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        open_model(models / name)


def test_a_shape_that_the_program_was_not_exported_for_is_refused(models: Path) -> None:
    with pytest.raises(
        ModelError, match=r"is \[1, 3, 16, 16\], which \[1, 3, 32, 32\] does not fit"
    ):
        open_model(models / "net.pt2", {"image": (1, 3, 32, 32)})


def test_the_operator_that_onnx_lacks_is_named(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"no ONNX form for .*bessel_j0"):
        cross(models / "bessel.pt2", "onnx", tmp_path)


def test_a_pickle_inside_a_program_is_not_run(models: Path, tmp_path: Path) -> None:
    """`torch.export.load` unpickles sample inputs without restriction when it has to."""
    touched = tmp_path / "touched"
    program = tmp_path / "evil.pt2"
    _with_pickle(models / "net.pt2", program, f"open({str(touched)!r}, 'w')")
    with pytest.raises(ModelError, match="holds pickled objects that are no tensors"):
        open_model(program)
    assert not touched.exists()


def _with_pickle(source: Path, target: Path, code: str) -> None:
    payload = f"cbuiltins\neval\n(V{code}\ntR.".encode()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            pickled = entry.filename.endswith("sample_inputs/model.pt")
            new.writestr(entry.filename, payload if pickled else old.read(entry))
