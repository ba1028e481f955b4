"""Facts about a visit: which models are loaded, in which order, and on what they predict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.model_messages import Bench, Benched, CheckParity, Opened, OpenModel, Parity
from device_agent.profile_messages import ModelPlacement, Profile, Profiled, ReadPlacement
from device_agent.stage_messages import BenchStages, StagesBenched
from edgesdk.data.samples import Samples
from edgesdk.progress import Progress, Silent
from edgesdk.validate.visit import Reference, validate
from edgesdk.values.results import Results
from edgesdk.values.timing import Timing
from tests.unit.report.example import SHA, example_results
from tests.unit.report.sessions import staged_results

EXAMPLE = example_results()
FLOAT = Path("float.tflite")


class Visited:
    """A device that writes down what it is asked and answers from the example session."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def stage(self, path: Path, progress: Progress) -> str:
        self.asked.append(f"stage {path}")
        return "staged"

    def open_model(self, request: OpenModel, progress: Progress) -> Opened:
        self.asked.append(f"open {request.key}{' cold' if request.cold else ''}")
        run = EXAMPLE.runs[0 if request.key == "float" else 1]
        return run.opened

    def predict(
        self,
        keys: Sequence[str],
        samples: Iterable[Mapping[str, Any]],
        count: int,
        output: int,
        progress: Progress,
    ) -> Mapping[str, tuple[int, ...]]:
        self.asked.append(f"predict {count} with {' and '.join(keys)}")
        return dict.fromkeys(keys, (1,) * count)

    def predict_pictures(
        self,
        keys: Sequence[str],
        package_id: str,
        pictures: Iterable[np.ndarray],
        count: int,
        progress: Progress,
    ) -> Mapping[str, tuple[int, ...]]:
        self.asked.append(f"predict {count} pictures with {' and '.join(keys)}")
        return dict.fromkeys(keys, (1,) * count)

    def bench_stages(self, request: BenchStages, progress: Progress) -> StagesBenched:
        self.asked.append(f"bench the stages of {request.key}")
        staged = staged_results().stages
        assert staged is not None
        return staged.benched

    def check_parity(self, request: CheckParity) -> Parity:
        self.asked.append("parity")
        assert EXAMPLE.parity is not None
        return EXAMPLE.parity

    def bench(self, request: Bench, progress: Progress) -> Benched:
        self.asked.append(f"bench {' and '.join(request.keys)}")
        return Benched(tuple(EXAMPLE.runs[key == "int8"].latency for key in request.keys))

    def placement(self, request: ReadPlacement) -> ModelPlacement:
        self.asked.append(f"placement of {request.key}")
        return ModelPlacement((), "nothing")

    def profile(self, request: Profile, progress: Progress) -> Profiled:
        self.asked.append(f"profile {request.key}")
        return Profiled(request.key, (), (), 0, 0, "nothing")


def samples(labels: tuple[int, ...] | None = (1, 0)) -> Samples:
    stored = None if labels is None else np.array(labels, np.int64)
    return Samples("two.npz", 2, SHA, stored, lambda: iter(()))


def visit(reference: Reference | None, timing: Timing | None) -> tuple[list[str], Results]:
    agent = Visited()
    results = validate(
        agent,
        EXAMPLE.device,
        EXAMPLE.installed,
        reference=reference,
        timing=timing,
        progress=Silent(),
    )
    return agent.asked, results


@pytest.mark.parametrize(
    ("reference", "timing", "asked"),
    [
        (None, None, ["open int8", "parity", "placement of int8"]),
        (None, Timing(), ["open int8", "parity", "placement of int8", "bench int8"]),
        (
            None,
            Timing(operators=True),
            ["open int8", "parity", "placement of int8", "bench int8", "profile int8"],
        ),
        (
            Reference(FLOAT, None),
            Timing(),
            [
                *("stage float.tflite", "open float", "open int8", "parity"),
                *("placement of int8", "bench float and int8"),
            ],
        ),
        (
            Reference(FLOAT, samples()),
            None,
            [
                *("stage float.tflite", "open float", "open int8"),
                *("predict 2 with float and int8", "parity", "placement of int8"),
            ],
        ),
    ],
    ids=[
        "parity alone",
        "INT8 timed",
        "then profiled",
        "both timed",
        "both on data",
    ],
)
def test_a_visit_does_what_was_asked(
    reference: Reference | None, timing: Timing | None, asked: list[str]
) -> None:
    assert visit(reference, timing)[0] == asked


def test_labels_come_from_the_data() -> None:
    _, results = visit(Reference(FLOAT, samples()), None)
    assert results.predictions is not None and results.predictions.labels == (1, 0)
    _, results = visit(Reference(FLOAT, samples(None)), None)
    assert results.predictions is not None and results.predictions.labels is None


def test_without_data_nothing_is_predicted() -> None:
    assert visit(Reference(FLOAT, None), None)[1].predictions is None


def test_a_package_that_declares_its_stages_is_timed_from_picture_to_answer_last() -> None:
    agent = Visited()
    results = validate(
        agent,
        EXAMPLE.device,
        staged_results().installed,
        reference=None,
        timing=Timing(),
        progress=Silent(),
    )
    assert agent.asked == [
        *("open int8", "parity", "placement of int8"),
        *("bench int8", "bench the stages of int8"),
    ]
    assert results.stages is not None


@pytest.mark.parametrize(
    ("on_device", "pictures", "asked", "prepared"),
    [
        (True, True, "predict 2 pictures with float and int8", "device"),
        (False, True, "predict 2 with float and int8", "workstation"),
        (False, False, "predict 2 with float and int8", "as given"),
    ],
)
def test_pictures_are_prepared_where_that_was_asked_for(
    on_device: bool, pictures: bool, asked: str, prepared: str
) -> None:
    data = samples()
    if pictures:
        data = dataclasses.replace(data, pictures=lambda: iter(()))
    done, results = visit(Reference(FLOAT, data, on_device), None)
    assert asked in done
    assert results.predictions is not None and results.predictions.prepared == prepared


def test_a_cold_load_comes_first_and_is_of_the_converted_model() -> None:
    asked, results = visit(Reference(FLOAT, None), Timing(cold_load=True))
    assert asked[:2] == ["open int8 cold", f"stage {FLOAT}"]
    assert [run.cold is not None for run in results.runs] == [False, True]
