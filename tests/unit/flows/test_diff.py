"""Two versions, in whatever form they lie there, are compared by what a device loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesdk.errors import ModelError, PackageError
from edgesdk.flows.diff import diff
from edgesdk.package.building import build_package
from edgesdk.values.package import Budget, Release
from tests.unit.package.artifacts import make_artifact
from tests.unit.package.delta_files import layers, noisy, onnx_qdq, weights

BEFORE = onnx_qdq(layers(weights()))
AFTER = onnx_qdq(layers(noisy(weights(), 0.05)))


def model(folder: Path, content: bytes, name: str) -> Path:
    path = folder / f"{name}.onnx"
    path.write_bytes(content)
    return path


def artifact(folder: Path, content: bytes, name: str) -> Path:
    make_artifact(folder / name, model=content)
    return folder / name


def package(folder: Path, content: bytes, name: str) -> Path:
    made = make_artifact(folder / f"{name}-artifact", model=content)
    path = folder / f"{name}.edgepkg"
    build_package(made, folder / f"{name}-artifact", path, Release(), Budget(), {}, signer=None)
    return path


FORMS = {"model": model, "artifact": artifact, "package": package}


@pytest.mark.parametrize("old", FORMS)
@pytest.mark.parametrize("new", FORMS)
def test_every_form_is_compared_with_every_other(old: str, new: str, tmp_path: Path) -> None:
    found = diff(FORMS[old](tmp_path, BEFORE, "old"), FORMS[new](tmp_path, AFTER, "new"))
    assert list(found.files) == ["model"]
    assert found.files["model"].changes[0].name == "layer6/weight"


def test_weights_beside_their_description_are_compared_by_it(tmp_path: Path) -> None:
    xml = (
        '<net><layers><layer id="0" name="w" type="Const">'
        '<data element_type="i8" shape="4, 300" offset="0" size="1200"/></layer></layers></net>'
    )
    for name, step in (("old", 0), ("new", 1)):
        (tmp_path / f"{name}.xml").write_text(xml)
        (tmp_path / f"{name}.bin").write_bytes(bytes((7 * k + step) % 251 for k in range(1200)))
    found = diff(tmp_path / "old.xml", tmp_path / "new.xml").files
    assert list(found) == ["model", "companion"]
    assert {change.name for change in found["companion"].changes} == {"w", ""}


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="found nothing at"):
        diff(tmp_path / "none", model(tmp_path, AFTER, "new"))


def test_a_damaged_package_is_an_error(tmp_path: Path) -> None:
    path = package(tmp_path, BEFORE, "old")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(PackageError, match="not a sound package"):
        diff(path, model(tmp_path, AFTER, "new"))
