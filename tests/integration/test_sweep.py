"""Many models on many targets: in processes of this machine, and on a Dask cluster."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgesdk import api
from edgesdk.devices import inventory
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import ToolchainMissing, TransportError, UnknownDevice, UsageError
from edgesdk.flows import sweep as sweeping
from edgesdk.flows.sweep import Cell
from edgesdk.values.sweep import Swept
from tests.cli import CALIBRATION, DIGITS, TEST, Cli, this_machine

MODELS = [DIGITS / "digits.onnx", DIGITS / "digits.tflite"]
TARGETS = [this_machine(), "raspberry-pi-5"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "home"))


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Two models with names of their own, and one that is none."""
    first, second, none = (tmp_path / name for name in ("one.onnx", "two.tflite", "none.onnx"))
    shutil.copy(MODELS[0], first)
    shutil.copy(MODELS[1], second)
    none.write_bytes(b"not a model")
    return [first, second, none]


def told(cells: tuple[Swept, ...]) -> list[tuple[str, str, str]]:
    return [
        (Path(each.model).name, each.target, "made" if each.problem is None else each.problem.type)
        for each in cells
    ]


def expected() -> list[tuple[str, str, str]]:
    ended = (("one.onnx", "made"), ("two.tflite", "made"), ("none.onnx", "ModelError"))
    return [(model, target, how) for model, how in ended for target in TARGETS]


def test_every_model_meets_every_target_and_a_failure_is_a_value(
    models: list[Path], tmp_path: Path
) -> None:
    cells = api.sweep(models, TARGETS, CALIBRATION, tmp_path / "out", jobs=2)
    assert told(cells) == expected()
    made = cells[0].made
    assert made is not None
    assert Path(made.package).is_relative_to(tmp_path / "out" / "one" / this_machine())
    assert api.inspect(made.package).manifest.package_id == made.package_id  # type: ignore[union-attr]
    assert (cells[0].exit_code, cells[4].exit_code) == (0, 3)


def test_a_cell_and_its_end_travel(models: list[Path], tmp_path: Path) -> None:
    cell = Cell(str(models[2]), TARGETS[0], CALIBRATION, str(tmp_path / "out"))
    ended = sweeping.carry_out(pickle.loads(pickle.dumps(cell)))
    assert pickle.loads(pickle.dumps(ended)) == ended


@pytest.mark.parametrize("devices", ["all", "board"])
def test_devices_measure_what_was_made_for_their_target(
    virtual_device: VirtualDevice, models: list[Path], tmp_path: Path, devices: str
) -> None:
    device = virtual_device.as_device("board", this_machine())
    inventory.add(inventory.default_path(), device)
    cells = api.sweep(
        models[:2],
        TARGETS,
        CALIBRATION,
        tmp_path / "out",
        devices=devices,
        dataset=TEST,
        seconds=0.1,
        jobs=2,
    )
    assert [len(each.measured) for each in cells] == [1, 0, 1, 0]
    (found,) = cells[0].measured
    assert (found.device, found.kind, found.outcome) == ("board", "python", "pass"), found.problem
    assert found.p50_ns is not None and found.accuracy_drop_points is not None
    assert (tmp_path / "out" / "one" / "board" / "report.json").is_file()


BAD = {
    "a target twice": (["a.onnx"], [TARGETS[0]] * 2, CALIBRATION, "twice"),
    "no target": (["a.onnx"], [], CALIBRATION, "no target"),
    "two folders of one name": (["x/a.onnx", "y/a.onnx"], TARGETS, CALIBRATION, "'a' twice"),
    "too few data": (["a.onnx", "b.onnx"], TARGETS, [CALIBRATION], "1 sources"),
}


@pytest.mark.parametrize(("models", "targets", "data", "message"), BAD.values(), ids=BAD)
def test_what_does_not_go_together_is_told_before_anything_is_made(
    models: list[str], targets: list[str], data: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        api.sweep(models, targets, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_selection_that_means_no_device_is_told_first(models: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UnknownDevice, match="no device is enrolled"):
        api.sweep(models, TARGETS, CALIBRATION, tmp_path / "out", devices="all")


def _die(_: Cell) -> Swept:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_process_that_dies_is_a_value_too(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "carry_out", _die)
    with ProcessPoolExecutor(1) as executor:
        cells = api.sweep(models[:1], TARGETS, CALIBRATION, tmp_path / "out", executor=executor)
    assert [each.exit_code for each in cells] == [5, 5]
    assert all(each.problem is not None for each in cells)
    assert "was lost" in cells[0].problem.message  # type: ignore[union-attr]


class Breaks(Executor):
    """Breaks with its first task, before the others are handed over."""

    def submit(self, *_: object, **__: object) -> Any:
        raise BrokenExecutor("a process died")


def test_what_cannot_even_be_handed_over_is_a_value_too(models: list[Path], tmp_path: Path) -> None:
    cells = api.sweep(models[:1], TARGETS, CALIBRATION, tmp_path / "out", executor=Breaks())
    assert [each.exit_code for each in cells] == [5, 5]


def test_threads_do_as_well(models: list[Path], tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        cells = api.sweep(models[2:], TARGETS, CALIBRATION, tmp_path / "out", executor=executor)
    assert told(cells) == expected()[4:]


def test_the_command_shows_the_table(models: list[Path], tmp_path: Path) -> None:
    targets = [word for target in TARGETS for word in ("--target", target)]
    command = Cli(tmp_path)
    words: list[str | Path] = ["sweep", models[0], models[2], *targets]
    words += ["--calibration", CALIBRATION, "-o", "out"]
    done = command(*words, "--unsigned")
    assert done.code == 3
    assert "2 of 4 made" in done.out
    assert "none.onnx for raspberry-pi-5 failed" in done.err
    again = command(*words, "--unsigned", "--json")
    assert [each["exit_code"] for each in again.json] == [0, 0, 3, 3]


# ---- Dask ----------------------------------------------------------------------------------------


@pytest.fixture
def scheduler() -> Iterator[str]:
    """A real scheduler and two workers, each a process."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        memory_limit=0,
    ) as cluster:
        yield cluster.scheduler_address


def _where(_: int) -> Swept:
    return Swept("", "", None, None, (), os.getpid(), 0.0)


def test_a_cluster_of_dask_sweeps(scheduler: str, models: list[Path], tmp_path: Path) -> None:
    with api.dask_executor(scheduler) as executor:
        cells = api.sweep(models, TARGETS, CALIBRATION, tmp_path / "out", executor=executor)
    assert told(cells) == expected()


def test_its_workers_do_the_work(scheduler: str) -> None:
    with api.dask_executor(scheduler) as executor:
        futures = [executor.submit(_where, index) for index in range(8)]
        processes = {future.result(60).exit_code for future in futures}
    assert os.getpid() not in processes
    assert len(processes) == 2


def test_the_command_uses_it(scheduler: str, models: list[Path], tmp_path: Path) -> None:
    done = Cli(tmp_path)(
        *("sweep", models[0], "--target", TARGETS[0], "--calibration", CALIBRATION),
        *("-o", tmp_path / "out", "--unsigned", "--dask", scheduler),
    )
    assert done.code == 0, done.err
    assert "1 of 1 made" in done.out


def test_nobody_at_the_schedulers_address_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("edgesdk.flows.clusters._CONNECT_S", 0.5)
    with pytest.raises(TransportError, match="no Dask scheduler answers"):
        api.dask_executor("tcp://127.0.0.1:9").__enter__()


def test_without_dask_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ToolchainMissing) as caught:
        api.dask_executor("tcp://127.0.0.1:9").__enter__()
    assert caught.value.hint == 'pip install "edgesdk[dask]"'
