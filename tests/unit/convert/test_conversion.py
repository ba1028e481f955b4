"""Facts about the artifact's directory: complete or not there, left alone when it is right."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.runtimes import RuntimeFailed
from edgesdk.convert.backends import onnxruntime as backend
from edgesdk.convert.conversion import Conversion, _require_placed, convert, read_artifact
from edgesdk.convert.planning import plan_conversion
from edgesdk.data.samples import Samples, open_samples
from edgesdk.errors import (
    ArtifactError,
    ConversionError,
    DataError,
    IncompatibleTarget,
)
from edgesdk.files import sha256_file
from edgesdk.models.opening import open_model
from edgesdk.models.types import Model
from edgesdk.progress import Silent
from edgesdk.targets.loading import load_target
from edgesdk.values.artifact import Compilation
from edgesdk.values.forecast import Placement
from edgesdk.values.plan import ConversionPlan
from edgesdk.values.recipe import Recipe
from tests.onnx_networks import Network, conv_network, random_samples, run

TARGET = load_target("generic-x86-64")


class Work:
    """A model, a plan and samples in a folder, and the directory the artifact goes to."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder = folder
        self.model: Model = open_model(source)
        data = folder / "data.npz"
        rows = random_samples(self.model)
        arrays: dict[str, Any] = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        np.savez(data, **arrays)
        self.samples: Samples = open_samples(str(data), self.model.inputs)
        self.plan: ConversionPlan = plan_conversion(self.model, TARGET, self.samples, Recipe())
        self.directory = folder / "artifact"

    def convert(self, **changes: Any) -> Conversion:
        plan = replace(self.plan, **changes)
        return convert(self.model, plan, TARGET, self.samples, self.directory, Silent())


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path, conv_network(tmp_path / "net.onnx"))


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Inode, time and content of every file."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            sha256_file(path) if path.is_file() else "",
        )
        for path in [folder, *folder.rglob("*")]
        if path.exists()
    }


NAMES = {"artifact.json", "float.reference", "golden.npz", "model.onnx"}


# What is made


def test_the_directory_holds_the_artifact_and_nothing_else(work: Work) -> None:
    assert not work.convert().cached
    assert {path.name for path in work.directory.iterdir()} == NAMES
    assert {path.name for path in work.folder.iterdir()} == {"net.onnx", "data.npz", "artifact"}


def test_the_account_on_disk_is_the_one_returned(work: Work) -> None:
    assert read_artifact(work.directory if work.convert() else Path()) == work.convert().artifact


def test_files_are_recorded_with_size_and_hash(work: Work) -> None:
    for file in work.convert().artifact.files:
        path = work.directory / file.path
        assert (file.size_bytes, file.sha256) == (path.stat().st_size, sha256_file(path))


def test_golden_outputs_equal_a_fresh_run(work: Work) -> None:
    artifact = work.convert().artifact
    with np.load(work.directory / "golden.npz") as golden:
        inputs, expected = golden["input/x"], golden["expected/cpu/y"]
    assert len(inputs) == artifact.golden.count >= 1
    for x, y in zip(inputs, expected, strict=True):
        assert np.array_equal(run(work.directory / "model.onnx", {"x": x})["y"], y)


def test_golden_inputs_are_the_first_calibration_samples(work: Work) -> None:
    count = work.convert().artifact.golden.count
    with np.load(work.directory / "golden.npz") as golden:
        wanted = np.stack([sample["x"] for sample in work.samples.head(count)])
        assert np.array_equal(golden["input/x"], wanted)


def test_golden_vectors_of_several_ports_each_have_their_array(tmp_path: Path) -> None:
    net = Network()
    a, b = net.input("a", (1, 3, 8, 8)), net.input("b", (1, 3, 8, 8))
    left, right = net.conv(a, "left", (3, 4)), net.conv(b, "right", (3, 4))
    net.node("Add", [left, right], "sum")
    work = Work(tmp_path, net.write(tmp_path / "net.onnx", sum=(1, 4, 8, 8), left=(1, 4, 8, 8)))
    work.convert()
    with np.load(work.directory / "golden.npz") as golden:
        assert set(golden) == {"input/a", "input/b", "expected/cpu/sum", "expected/cpu/left"}


def test_two_conversions_give_the_same_bytes(work: Work, tmp_path: Path) -> None:
    work.convert()
    first = {path.name: path.read_bytes() for path in work.directory.iterdir()}
    work.directory = tmp_path / "second"
    work.convert()
    assert {path.name: path.read_bytes() for path in work.directory.iterdir()} == first


def test_progress_goes_through_every_sample(work: Work) -> None:
    class Recorded(Silent):
        def __init__(self) -> None:
            self.tasks: list[list[Any]] = []

        def task(self, description: str, total: int) -> Any:
            self.tasks.append([description, total, 0])
            return super().task(description, total)

    shown = Recorded()
    convert(work.model, work.plan, TARGET, work.samples, work.directory, shown)
    assert [task[:2] for task in shown.tasks] == [
        ["calibrating and converting", 8],
        ["comparing with the float model", 1],
    ]


# The cache


def test_a_second_conversion_does_nothing(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    first = work.convert()
    before = state(work.folder)
    monkeypatch.setattr(backend, "prepare", None)
    second = work.convert()
    assert second.cached
    assert second.artifact == first.artifact
    assert state(work.folder) == before


@pytest.mark.parametrize("name", ["model.onnx", "float.reference", "golden.npz"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_tampered_file_leads_to_another_conversion(work: Work, name: str, how: str) -> None:
    work.convert()
    path = work.directory / name
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + b"x") if how == "changed" else path.unlink()
    assert not work.convert().cached
    assert path.read_bytes() == sound


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 99}'])
def test_a_damaged_account_leads_to_another_conversion(work: Work, content: str) -> None:
    work.convert()
    (work.directory / "artifact.json").write_text(content)
    assert not work.convert().cached
    assert work.convert().cached


def test_an_artifact_of_another_plan_is_replaced(work: Work) -> None:
    work.convert()
    other = work.convert(keep_float=("g_linear",))
    assert not other.cached
    assert read_artifact(work.directory) == other.artifact
    assert {path.name for path in work.folder.iterdir()} == {"net.onnx", "data.npz", "artifact"}


# What is not overwritten


def test_a_foreign_directory_is_refused_untouched(work: Work) -> None:
    work.directory.mkdir()
    (work.directory / "thesis.txt").write_text("mine")
    before = state(work.folder)
    with pytest.raises(ArtifactError, match="is not empty and holds no artifact; nothing was"):
        work.convert()
    assert state(work.folder) == before


def test_what_lies_beside_an_artifact_is_not_lost(work: Work) -> None:
    work.convert()
    (work.directory / "notes.txt").write_text("mine")
    before = state(work.folder)
    with pytest.raises(ArtifactError, match=r"holds more than an artifact \(notes.txt\)"):
        work.convert(keep_float=("g_linear",))
    assert state(work.folder) == before


def test_what_lies_beside_an_artifact_does_not_hinder_the_cache(work: Work) -> None:
    work.convert()
    (work.directory / "notes.txt").write_text("mine")
    assert work.convert().cached


def test_a_file_where_the_directory_should_be_is_refused(work: Work) -> None:
    work.directory.write_text("mine")
    with pytest.raises(ArtifactError, match="is a file, expected a directory"):
        work.convert()
    assert work.directory.read_text() == "mine"


def test_an_empty_directory_is_filled(work: Work) -> None:
    work.directory.mkdir()
    work.convert()
    assert {path.name for path in work.directory.iterdir()} == NAMES


def test_a_directory_that_cannot_be_made_is_an_error_of_ours(work: Work) -> None:
    work.directory = work.folder / "net.onnx" / "artifact"
    with pytest.raises(ArtifactError, match="cannot be written or read: File exists"):
        work.convert()


# Failures


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


FAILURES: list[BaseException] = [ConversionError("no"), KeyboardInterrupt(), RuntimeError("bug")]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["prepare", "convert", "describe", "compare", "run"])
def test_a_failure_keeps_the_old_artifact_and_leaves_nothing(
    work: Work, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    work.convert()
    before = state(work.directory)
    monkeypatch.setattr(backend, step, raising(error))
    with pytest.raises(type(error)):
        work.convert(keep_float=("g_linear",))
    assert state(work.directory) == before
    assert {path.name for path in work.folder.iterdir()} == {"net.onnx", "data.npz", "artifact"}


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_failure_leaves_nothing_where_nothing_was(
    work: Work, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(backend, "convert", raising(error))
    with pytest.raises(type(error)):
        work.convert()
    assert {path.name for path in work.folder.iterdir()} == {"net.onnx", "data.npz"}


def test_a_full_disk_keeps_the_old_artifact(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    work.convert()
    before = state(work.directory)
    monkeypatch.setattr(os, "fsync", raising(OSError(28, "No space left on device")))
    with pytest.raises(ArtifactError, match="cannot be written or read: No space left"):
        work.convert(keep_float=("g_linear",))
    assert state(work.directory) == before


def test_a_network_of_which_nothing_becomes_int8_is_refused(tmp_path: Path) -> None:
    net = Network()
    net.node("Erf", [net.input("x", (1, 3))], "y")
    work = Work(tmp_path, net.write(tmp_path / "net.onnx", y=(1, 3)))
    with pytest.raises(
        ConversionError, match=r"none of the 1 operators of net.onnx became w8a8"
    ) as e:
        work.convert()
    assert e.value.details == (
        "Erf y: ONNX Runtime has no INT8 kernel that takes Erf as it stands here",
    )
    assert not work.directory.exists()


def test_a_converted_model_that_its_runtime_refuses_is_one_sentence(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise RuntimeFailed("no such kernel")

    monkeypatch.setattr(backend, "describe", refuse)
    with pytest.raises(ConversionError, match="does not run here: no such kernel"):
        work.convert()
    assert not work.directory.exists()


def test_data_that_change_between_the_passes_are_refused(work: Work) -> None:
    def other() -> Iterator[dict[str, Any]]:
        raise DataError("changed")
        yield {}

    samples = replace(work.samples, stream=other)
    with pytest.raises(DataError, match="changed"):
        convert(work.model, work.plan, TARGET, samples, work.directory, Silent())


# Reading


@pytest.mark.parametrize("name", ["model.onnx", "float.reference", "golden.npz"])
def test_a_changed_file_is_refused_when_read(work: Work, name: str) -> None:
    work.convert()
    with (work.directory / name).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ArtifactError, match=f"{name} is missing or has changed") as caught:
        read_artifact(work.directory)
    assert caught.value.hint == "run edgesdk convert again"


def test_a_directory_without_an_account_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"found no artifact.json in"):
        read_artifact(tmp_path)


# No fallback


LEFT = [
    Placement(0, "Conv", "a", "gpu"),
    Placement(1, "Erf", "b", "cpu", "Operation not supported"),
]


def test_where_nothing_may_fall_back_an_operator_off_the_accelerator_is_refused() -> None:
    target = load_target("jetson-orin-nano@jp5.1")
    with pytest.raises(IncompatibleTarget, match="1 of 2 operators are off it") as caught:
        _require_placed(LEFT, Compilation("accepted", "TensorRT-RTX", "1.7"), target)
    assert caught.value.details == ("Erf b: Operation not supported",)


def test_the_compiler_that_made_what_ships_has_the_last_word() -> None:
    _require_placed(LEFT, Compilation("compiled", "onnxruntime-qnn", "2.7"), load_target("qcs8550"))


def test_where_operators_may_fall_back_they_do() -> None:
    _require_placed(LEFT, Compilation("not compiled", "x"), load_target("coral-usb"))


# What the calibration samples looked like


def test_the_statistics_of_the_inputs_are_those_of_the_calibration_samples(work: Work) -> None:
    artifact = work.convert().artifact
    (found,) = artifact.input_statistics
    means = [float(np.mean(sample["x"], dtype=np.float64)) for sample in work.samples.stream()]
    assert (found.name, found.samples) == (artifact.inputs[0].name, work.samples.count)
    assert found.mean.low == pytest.approx(min(means), rel=1e-4)
    assert found.mean.high == pytest.approx(max(means), rel=1e-4)


def test_a_calibration_out_of_the_cache_gives_the_same_statistics(work: Work) -> None:
    first = work.convert().artifact.input_statistics
    passes = []

    def stream() -> Iterator[Any]:
        passes.append(1)
        return samples()

    samples, work.samples = work.samples.stream, replace(work.samples, stream=stream)
    (work.directory / "artifact.json").unlink()
    for path in work.directory.iterdir():
        path.unlink()
    assert work.convert().artifact.input_statistics == first
    assert len(passes) == 2  # The first golden samples, and the one for the statistics.
