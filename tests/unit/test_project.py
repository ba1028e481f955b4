"""Facts about edgesdk.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesdk.errors import ExitCode, ProjectError
from edgesdk.flows.init import init
from edgesdk.project import Project, load_project
from edgesdk.targets.types import BudgetText, Contract, GateBounds
from edgesdk.values.package import Release
from edgesdk.values.recipe import Recipe

EVERY_KEY = """
model = "nets/digits.onnx"
target = "raspberry-pi-5"
device = "lab"
calibration = "data/digits.npz#calibration"
dataset = "samples:test"
output = "out"

[input_shapes]
image = [1, 1, 8, 8]

[recipe]
io = "float32"
keep_float = ["stem.*"]

[package]
name = "digits"
version = "1.2.0"
sequence = 7
min_sequence = 5
expires = "2099-06-30"
boards = ["Raspberry Pi 5", "Compute Module 5"]
include_float = true
max_latency = "20 ms"
health_command = ["sh", "-c", "test -s model.onnx"]
fallback = ["load", "ood"]

[budget]
package = "1 MiB"
installed = "2 MiB"
peak_ram = "64 MiB"
delta = "256 KiB"

[gates]
max_accuracy_drop_points = 0.5
max_p95 = "10 ms"
max_peak_ram = "48 MiB"
max_parity_mismatch_percent = 1

[contract]
min_accelerated_fraction = 0.9
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "edgesdk.toml"


def read(path: Path, text: str) -> Project:
    path.write_text(text)
    return load_project(path)


def test_every_key_is_read(path: Path, tmp_path: Path) -> None:
    assert read(path, EVERY_KEY) == Project(
        model=str(tmp_path / "nets/digits.onnx"),
        target="raspberry-pi-5",
        device="lab",
        calibration=str(tmp_path / "data/digits.npz#calibration"),
        dataset="samples:test",
        output=str(tmp_path / "out"),
        input_shapes={"image": (1, 1, 8, 8)},
        recipe=Recipe("float32", ("stem.*",)),
        package=Release(
            name="digits",
            version="1.2.0",
            sequence=7,
            min_sequence=5,
            expires="2099-06-30",
            boards=("Raspberry Pi 5", "Compute Module 5"),
            include_float=True,
            max_latency="20 ms",
            health_command=("sh", "-c", "test -s model.onnx"),
            fallback=("load", "ood"),
        ),
        budget=BudgetText("1 MiB", "2 MiB", "64 MiB", "256 KiB"),
        gates=GateBounds(0.5, "10 ms", "48 MiB", 1.0),
        contract=Contract(0.9),
    )


def test_a_new_project_leaves_the_sequence_to_what_the_device_and_the_base_have(
    tmp_path: Path,
) -> None:
    """One that is fixed would have the second deployment refused as a downgrade."""
    init(tmp_path)
    assert load_project(tmp_path / "edgesdk.toml").package.sequence is None


def test_an_empty_file_is_an_empty_project(path: Path) -> None:
    assert read(path, "") == Project()


def test_unknown_keys_are_listed_with_their_tables(path: Path) -> None:
    with pytest.raises(ProjectError) as caught:
        read(path, 'modle = "x"\n[budget]\nram = "1 MiB"\n[recipe]\nkeep = []\n')
    assert set(caught.value.details) == {
        "unknown key modle @ $",
        "unknown key ram @ $.budget",
        "unknown key keep @ $.recipe",
    }
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    assert caught.value.message == f"{path} does not hold"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model = 5", "found 5, expected str @ $.model"),
        ('recipe = {io = "int4"}',
         "found 'int4', expected one of int8, uint8, float32 @ $.recipe.io"),
        ("input_shapes = {x = 3}", "found 3, expected a list @ $.input_shapes.x"),
        ("gates = {max_accuracy_drop_points = nan}",
         "found nan, expected a finite number @ $.gates.max_accuracy_drop_points"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_named(path: Path, text: str, problem: str) -> None:
    with pytest.raises(ProjectError) as caught:
        read(path, text)
    assert caught.value.details == (problem,)


@pytest.mark.parametrize("key", ["model", "output"])
def test_a_path_is_relative_to_the_files_folder(path: Path, key: str) -> None:
    assert getattr(read(path, f'{key} = "a/b"'), key) == str(path.parent / "a/b")


@pytest.mark.parametrize("key", ["model", "output"])
def test_an_absolute_path_stays(path: Path, key: str) -> None:
    assert getattr(read(path, f'{key} = "/a/b"'), key) == "/a/b"


@pytest.mark.parametrize("key", ["calibration", "dataset"])
@pytest.mark.parametrize("value", ["module:function", "pkg.mod:load", "npz.reader:all"])
def test_a_function_is_left_as_it_is(path: Path, key: str, value: str) -> None:
    assert getattr(read(path, f'{key} = "{value}"'), key) == value


@pytest.mark.parametrize("key", ["calibration", "dataset"])
@pytest.mark.parametrize("value", ["d.npz", "d.npz#test"])
def test_a_data_file_is_relative_to_the_files_folder(path: Path, key: str, value: str) -> None:
    assert getattr(read(path, f'{key} = "{value}"'), key) == str(path.parent / value)


def test_a_target_id_is_left_as_it_is(path: Path) -> None:
    assert read(path, 'target = "rock-5b"').target == "rock-5b"


def test_a_descriptor_is_relative_to_the_files_folder(path: Path) -> None:
    assert read(path, 'target = "boards/own.toml"').target == str(path.parent / "boards/own.toml")


def test_a_named_file_that_is_missing_is_an_error(path: Path) -> None:
    with pytest.raises(ProjectError, match="cannot be read: No such file"):
        load_project(path)


def test_without_a_name_the_current_folder_is_looked_at(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text('model = "m.onnx"')
    monkeypatch.chdir(path.parent)
    assert load_project(None).model == "m.onnx"


def test_without_a_name_no_file_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_project(None) == Project()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('gates = {max_p95 = "fast"}', "found 'fast', expected a duration"),
        ("gates = {max_accuracy_drop_points = -1.0}", "@ $.gates.max_accuracy_drop_points"),
        ('budget = {package = "big"}', "@ $.budget.package"),
    ],
)
def test_a_budget_or_gate_that_does_not_hold_is_named(path: Path, line: str, problem: str) -> None:
    path.write_text(line)
    with pytest.raises(ProjectError) as caught:
        load_project(path)
    assert problem in caught.value.details[0]


def test_the_docs_project_holds(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "preprocessing.md").read_text()
    path = tmp_path / "edgesdk.toml"
    path.write_text(text.partition("```toml\n")[2].partition("```")[0])
    project = load_project(path)
    assert project.preprocessing is not None and project.preprocessing.source == (480, 640)
    assert project.postprocessing is not None and project.postprocessing.top_k == 5
    assert project.gates.max_end_to_end_p95 == "30 ms"


def test_a_budget_of_time_that_is_no_duration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "edgesdk.toml"
    path.write_text('[gates]\nmax_end_to_end_p95 = "fast"\n')
    with pytest.raises(ProjectError) as caught:
        load_project(path)
    assert caught.value.details[0].endswith("@ $.gates.max_end_to_end_p95")
