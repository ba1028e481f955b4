"""Facts about the stages of a run: what is asked of the device, and what is made of its answer."""

from __future__ import annotations

import dataclasses

import pytest

from device_agent.stage_messages import BenchStages, StagesBenched
from edgesdk.data.preprocessing import expected_input_sha256
from edgesdk.errors import AgentError
from edgesdk.progress import Progress, Silent
from edgesdk.targets.types import GateBounds
from edgesdk.validate.gates import judge, resolve_gates
from edgesdk.validate.stages import SEED, summarize_stages, time_stages
from edgesdk.values.results import Results
from edgesdk.values.stages import StageRun
from edgesdk.values.timing import Timing
from edgesdk.values.verdict import Verdict
from tests.unit.report.example import OTHER_SHA, SHA, example_results
from tests.unit.report.sessions import staged_results

RESULTS = staged_results()
OPENED = RESULTS.runs[1].opened


class Timed:
    """A device that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[BenchStages] = []

    def bench_stages(self, request: BenchStages, progress: Progress) -> StagesBenched:
        self.asked.append(request)
        assert RESULTS.stages is not None
        return RESULTS.stages.benched


def verdict(results: Results, **bounds: str) -> Verdict:
    (only,) = judge(results, resolve_gates(GateBounds(), GateBounds(**bounds)))  # type: ignore[arg-type]
    return only


def test_the_device_is_asked_for_whole_runs_of_a_known_picture() -> None:
    device, installed = Timed(), RESULTS.installed
    found = time_stages(device, installed, OPENED, Timing(blocks=7, min_runs=90), Silent())
    (asked,) = device.asked
    assert (asked.key, asked.package_id) == ("int8", installed.package_id)
    assert (asked.seed, asked.blocks, asked.min_runs) == (SEED, 7, 90)
    assert found is not None and installed.stages is not None
    expected = expected_input_sha256(installed.stages, OPENED.inputs[0], SEED)
    assert found.expected_input_sha256 == expected


@pytest.mark.parametrize("missing", ["stages", "source"])
def test_without_a_declaration_or_a_size_nothing_is_asked(missing: str) -> None:
    device, stages = Timed(), RESULTS.installed.stages
    assert stages is not None
    left = None if missing == "stages" else dataclasses.replace(stages, source=())
    installed = dataclasses.replace(RESULTS.installed, stages=left)
    assert time_stages(device, installed, OPENED, Timing(), Silent()) is None
    assert device.asked == []


def test_the_parts_of_every_run_make_up_the_whole() -> None:
    run = RESULTS.stages
    assert run is not None
    parts = [run.samples_ns(part) for part in ("preprocess", "inference", "postprocess")]
    assert run.samples_ns("end_to_end") == tuple(map(sum, zip(*parts, strict=True)))
    summary = summarize_stages(run)
    assert summary is not None
    assert [each.stage for each in summary.latencies] == [
        *("preprocess", "inference", "postprocess", "end_to_end")
    ]
    whole = summary.latency("end_to_end").p95
    assert whole is not None and whole.interval is not None
    assert 5.6e6 < whole.interval.low <= whole.value <= whole.interval.high


@pytest.mark.parametrize(
    ("gate", "bound", "status"),
    [
        ("max_preprocess_p95", "3.5 ms", "pass"),
        ("max_preprocess_p95", "2 ms", "fail"),
        ("max_inference_p95", "4.5 ms", "pass"),
        ("max_inference_p95", "3 ms", "fail"),
        ("max_postprocess_p95", "30 us", "pass"),
        ("max_postprocess_p95", "20 us", "fail"),
        ("max_end_to_end_p95", "8 ms", "pass"),
        ("max_end_to_end_p95", "5 ms", "fail"),
    ],
)
def test_each_stage_has_its_budget(gate: str, bound: str, status: str) -> None:
    found = verdict(RESULTS, **{gate: bound})
    assert (found.status, found.asked) == (status, True)
    assert found.gate == gate.removeprefix("max_")


def test_another_input_than_ours_makes_every_stage_invalid() -> None:
    other = staged_results(input_sha256=OTHER_SHA)
    found = verdict(other, max_end_to_end_p95="1 s")
    assert found.status == "invalid" and "made another input" in found.reason


def test_an_unsettled_run_makes_every_stage_invalid() -> None:
    found = verdict(staged_results(steady=False), max_preprocess_p95="1 s")
    assert found.status == "invalid" and found.reason.startswith(
        "Time from picture to answer is invalid: it was still"
    )


def disturbed(**fields: object) -> Results:
    """Whole runs under other conditions; the model's own turns, before them, were calm."""
    assert RESULTS.stages is not None
    conditions = RESULTS.stages.benched.conditions
    return staged_results(
        conditions=tuple(dataclasses.replace(at, **fields) for at in conditions)  # type: ignore[arg-type]
    )


def test_what_disturbs_whole_runs_makes_every_stage_invalid() -> None:
    results = disturbed(throttled=("under-voltage",))
    found = verdict(results, max_end_to_end_p95="1 s")
    assert found.status == "invalid"
    assert found.reason == (
        "Time from picture to answer is invalid: the device was held back while it ran"
        " (under-voltage)."
    )
    assert verdict(results, max_p95="1 s").status == "pass", "of the model's own turns"


def test_a_virtual_device_s_whole_runs_are_stamped_as_its_model_is() -> None:
    results = disturbed(throttled=("under-voltage",))
    device = dataclasses.replace(results.device, kind="python")
    found = verdict(dataclasses.replace(results, device=device), max_end_to_end_p95="1 s")
    assert found.status == "pass"
    assert found.reason.startswith("Time from picture to answer would be invalid on a board: ")


def test_what_was_not_timed_is_not_measured() -> None:
    found = verdict(example_results(), max_end_to_end_p95="1 s")
    assert (found.status, found.missed) == ("not measured", True)
    assert found.reason == "the package declares no preprocessing"


def test_too_few_runs_are_not_measured() -> None:
    few = staged_results(
        preprocess_ns=(5,) * 9, inference_ns=(9,) * 9, postprocess_ns=(1,) * 9, block_sizes=(9,)
    )
    found = verdict(few, max_end_to_end_p95="1 s")
    assert (found.status, found.reason[:12]) == ("not measured", "found 9 runs")


@pytest.mark.parametrize(
    "change",
    [
        {"preprocess_ns": (1, 2)},
        {"block_sizes": (1,)},
        {"postprocess_ns": (-1,) * 600},
        {"preprocess_ns": (), "inference_ns": (), "postprocess_ns": (), "block_sizes": ()},
    ],
    ids=["one part short", "other turns", "negative", "none"],
)
def test_samples_that_contradict_themselves_are_refused(change: dict[str, object]) -> None:
    assert RESULTS.stages is not None
    benched = dataclasses.replace(RESULTS.stages.benched, **change)  # type: ignore[arg-type]
    with pytest.raises(AgentError):
        StageRun(benched, SHA)
