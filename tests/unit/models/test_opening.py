"""Which models are opened by whom, and what is refused before any framework is asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgesdk.errors import ModelError
from edgesdk.models import describing
from edgesdk.models.jobs import Answer, Job, Task
from edgesdk.models.opening import open_model
from edgesdk.models.types import TensorSpec

EDGE = (TensorSpec("x", (1, 3), "float32"),)


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Job, Task]]:
    """Stands for the frameworks; what they were asked."""
    asked: list[tuple[Job, Task]] = []

    def run(job: Job, task: Task, _: Path) -> Answer:
        asked.append((job, task))
        return Answer(EDGE, EDGE, "weights", {})

    monkeypatch.setattr(describing, "run_job", run)
    return asked


def saved_model(folder: Path) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder


@pytest.mark.parametrize(
    ("name", "model_format", "job"),
    [
        ("net.keras", "keras", "from_tensorflow"),
        ("net.h5", "keras", "from_tensorflow"),
        ("net.hdf5", "keras", "from_tensorflow"),
        ("net.pt2", "torch", "from_torch"),
    ],
)
def test_a_file_is_described_by_its_framework(
    tasks: list[tuple[Job, Task]], tmp_path: Path, name: str, model_format: str, job: str
) -> None:
    (tmp_path / name).write_bytes(b"model")
    model = open_model(tmp_path / name, {"x": (1, 3)})
    assert (model.format, model.name, model.inputs, model.size_bytes) == (
        model_format,
        "net",
        EDGE,
        5,
    )
    ((asked, task),) = tasks
    assert (asked.name, asked.python) == (job, sys.executable)
    assert (task.action, task.input_shapes) == ("describe", {"x": (1, 3)})


def test_a_saved_model_is_its_folder(tasks: list[tuple[Job, Task]], tmp_path: Path) -> None:
    model = open_model(saved_model(tmp_path / "net"))
    assert (model.format, model.name, model.size_bytes) == ("savedmodel", "net", 10)


def test_a_saved_models_digest_is_of_all_its_files_and_their_places(
    tasks: list[tuple[Job, Task]], tmp_path: Path
) -> None:
    first = open_model(saved_model(tmp_path / "first")).sha256
    assert open_model(saved_model(tmp_path / "second")).sha256 == first
    moved = saved_model(tmp_path / "third")
    (moved / "variables" / "variables.index").rename(moved / "variables" / "other")
    assert open_model(moved).sha256 != first


@pytest.mark.parametrize("reference", ["ours/net.py:make", "ours.net:make"])
def test_a_factory_is_found_without_importing_it(
    tasks: list[tuple[Job, Task]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "ours" / "net.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    model = open_model(reference)
    assert (model.format, model.name, model.factory) == ("torch", "make", reference)
    assert model.path.name == "net.py"


def test_a_factorys_digest_is_of_its_source_and_its_weights(
    tasks: list[tuple[Job, Task]], tmp_path: Path
) -> None:
    source = tmp_path / "net.py"
    source.write_text("first")
    first = open_model(f"{source}:make").sha256
    source.write_text("second")
    assert open_model(f"{source}:make").sha256 != first
    assert describing.factory_sha256(source, "a") != describing.factory_sha256(source, "b")


@pytest.mark.parametrize("reference", ["nowhere.py:make", "no_such_module.net:make"])
def test_a_factory_that_is_nowhere_is_refused(
    tasks: list[tuple[Job, Task]], tmp_path: Path, reference: str
) -> None:
    with pytest.raises(ModelError, match=r"found no (file|module) .* the function 'make'"):
        open_model(reference)
    assert tasks == []


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.pkl", "net.ckpt"])
def test_a_pickle_is_refused_unread(
    tasks: list[tuple[Job, Task]], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match="loading one can run any code") as error:
        open_model(tmp_path / name)
    assert "torch.export.save" in error.value.hint
    assert tasks == []


def test_the_file_in_a_saved_model_is_refused_with_the_folder(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "net")
    with pytest.raises(ModelError, match="expected the SavedModel's folder") as error:
        open_model(folder / "saved_model.pb")
    assert error.value.hint == f"give {folder}"


def test_a_folder_without_a_saved_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="found a directory at") as error:
        open_model(tmp_path)
    assert error.value.hint == "a SavedModel's folder holds saved_model.pb"


def test_an_empty_file_is_refused(tasks: list[tuple[Job, Task]], tmp_path: Path) -> None:
    (tmp_path / "net.keras").touch()
    with pytest.raises(ModelError, match=r"is empty, expected a \.keras model"):
        open_model(tmp_path / "net.keras")
    assert tasks == []
