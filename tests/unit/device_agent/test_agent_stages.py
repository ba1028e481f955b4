"""Whole runs, timed part by part on a clock that the test moves; manifests that declare them."""

from __future__ import annotations

import gc
from array import array
from typing import Any

import pytest
from agent_packages import file_of, manifest_of

from device_agent import documents, stages, watchdog
from device_agent.codec import canonical
from device_agent.documents import CorruptPackage
from device_agent.manifest import Port
from device_agent.measuring_messages import Conditions, Turn
from device_agent.preprocessing import Postprocessing, Preprocessing, Stages
from device_agent.protocol import Progress
from device_agent.stage_messages import (
    BenchStages,
    PrepareStages,
    StagesBenched,
    StagesPrepared,
    StagesTimed,
    TimeStages,
    WarmUpStages,
)
from device_agent.stages import bench_stages, time_stages
from device_agent.worker_messages import Warm

MS = 1_000_000
BEFORE = Preprocessing(1, "rgb", None, (8, 8), "bilinear", (), 1.0, (0.0,) * 3, (1.0,) * 3, "nhwc")
STAGES = Stages(BEFORE, source=(48, 64))
IMAGE = Port("image", (1, 8, 8, 3), "float32")
SCORES = Port("scores", (1, 10), "float32")


class Device:
    """A clock, and the three parts of a run, which take 3, 10 and 1 ms and say that they were."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.parts = ""
        self.collecting: list[bool] = []

    def clock(self) -> int:
        return self.now_ns

    def _spend(self, part: str, milliseconds: int) -> None:
        self.parts += part
        self.now_ns += milliseconds * MS

    def preprocess(self) -> None:
        self._spend("p", 3)

    def infer(self) -> None:
        self.collecting.append(gc.isenabled())
        self._spend("i", 10)

    def postprocess(self) -> None:
        self._spend("a", 1)

    def time(self, min_runs: int, min_seconds: float, max_seconds: float) -> array[int]:
        block = TimeStages(min_runs, min_seconds, max_seconds)
        return time_stages(self.preprocess, self.infer, self.postprocess, block, self.clock)


def test_a_run_is_four_readings_of_the_clock_without_a_gap() -> None:
    device = Device()
    readings = device.time(2, 0.0, 9.0)
    assert readings[:4].tolist() == [0, 3 * MS, 13 * MS, 14 * MS]
    assert readings[4] == readings[3]
    assert device.parts == "pia" * 2


@pytest.mark.parametrize(
    ("block", "runs"),
    [((7, 0.0, 9.0), 7), ((1, 0.14, 9.0), 10), ((99, 9.0, 0.14), 10), ((99, 9.0, 0.0), 1)],
    ids=["least runs", "least time", "most time", "one at least"],
)
def test_a_turn_ends_as_a_turn_of_inference_does(
    block: tuple[int, float, float], runs: int
) -> None:
    assert len(Device().time(*block)) == 4 * runs


def test_a_turn_is_never_longer_than_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "SAMPLES_MAX", 6)
    assert len(Device().time(1, 9.0, 9.0)) == 4 * 6


def test_garbage_is_not_collected_within_a_turn() -> None:
    device = Device()
    device.time(2, 0.0, 9.0)
    assert device.collecting == [False, False]
    assert gc.isenabled()


class Worker:
    """Answers as a worker whose whole run takes 14 ms."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.silences: list[float] = []

    def ask(self, request: Any, expected: Any, silence_s: float) -> tuple[Any, bytes]:
        self.asked.append(request)
        self.silences.append(silence_s)
        if isinstance(request, PrepareStages):
            return StagesPrepared("ab" * 32), b""
        if isinstance(request, WarmUpStages):
            return Warm(9, True, 100 * MS), b""
        readings = array("q", [0, 3, 13, 14, 14, 18, 28, 29])
        return StagesTimed(2, 64), readings.tobytes()


def test_a_bench_prepares_warms_up_and_times_in_turns() -> None:
    worker, pauses = Worker(), list[int]()
    told: list[Progress] = []
    prepare = PrepareStages(STAGES, 5)
    request = BenchStages("int8", "id", 5, 3, 10, 3.0, 30.0, 2.0)
    found = bench_stages(
        *(request, prepare, worker.ask, lambda: reading(len(worker.asked)), told.append),
        lambda: pauses.append(len(worker.asked)),
    )
    assert worker.asked == [prepare, WarmUpStages(2.0), *[TimeStages(4, 1.0, 10.0)] * 3]
    assert pauses == [2, 3, 4]
    assert told[-1] == Progress(3, 3, "turns")
    assert found == StagesBenched(
        preprocess_ns=(3, 4) * 3,
        inference_ns=(10, 10) * 3,
        postprocess_ns=(1, 1) * 3,
        block_sizes=(2, 2, 2),
        warm_up_runs=9,
        steady=True,
        input_sha256="ab" * 32,
        conditions=tuple(reading(asked) for turn in (2, 3, 4) for asked in (turn, turn + 1)),
        turns=tuple(Turn(turn, turn + 1, 2 + 2) for turn in (2, 3, 4)),
    )


def test_a_whole_run_that_hangs_is_known_by_the_slowest() -> None:
    worker = Worker()
    request = BenchStages("int8", "id", 5, 2, 10, 3.0, 30.0, 2.0)
    prepare = PrepareStages(STAGES, 5)
    bench_stages(request, prepare, worker.ask, lambda: reading(0), lambda _: None, lambda: None)
    turn = 15.0 + watchdog.LEAST_S + watchdog.TIMES_SLOWEST * 0.1
    first = watchdog.FIRST_RUN_S
    assert worker.silences == [first, 2.0 + first, turn, turn]


def reading(at_ns: int) -> Conditions:
    return Conditions(at_ns, None, None, None)


# ---- manifests -----------------------------------------------------------------------------------


def declared(stages: Stages, *inputs: Port) -> None:
    documents.check_manifest(
        manifest_of(
            file_of("model", b"x")[0], stages=stages, inputs=inputs or (IMAGE,), outputs=(SCORES,)
        )
    )


def test_what_fits_the_model_is_taken() -> None:
    declared(STAGES)
    declared(STAGES, Port("image", (8, 8, 3), "int8", 0.1, 0))


def test_they_are_part_of_what_is_signed() -> None:
    entry, _ = file_of("model", b"x")
    plain, staged = (manifest_of(entry, stages=each, inputs=(IMAGE,)) for each in (None, STAGES))
    assert plain.package_id != staged.package_id
    assert documents.parse_manifest(canonical(staged)) == staged


@pytest.mark.parametrize(
    ("stages", "inputs", "problem"),
    [
        (STAGES, (IMAGE, IMAGE), "for 2 inputs, expected 1"),
        (STAGES, (Port("image", (1, 3, 8, 8), "float32"),), r"makes \[1, 8, 8, 3\] of a picture"),
        (Stages(BEFORE, source=(0, 9)), (), r"found source = \[0, 9\]"),
        (Stages(BEFORE, Postprocessing(version=2)), (), "postprocessing version 2, expected 1"),
        (Stages(BEFORE, Postprocessing(top_k=-1)), (), "found top_k = -1"),
        (Stages(BEFORE, Postprocessing(top_k=11)), (), r"the 11 largest asked of .* is \[10\]"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(
    stages: Stages, inputs: tuple[Port, ...], problem: str
) -> None:
    with pytest.raises(CorruptPackage, match=problem):
        declared(stages, *inputs)
