"""Facts about what is derived from raw results, and about which raw results are refused."""

from __future__ import annotations

import dataclasses

import pytest

from edgesdk.errors import AgentError
from edgesdk.validate.summaries import (
    agreement_percent,
    speedup,
    summarize_accuracy,
    summarize_latency,
)
from edgesdk.validate.turns import turns
from edgesdk.values.results import ModelRun, Predictions
from tests.unit.report.example import example_latency, example_results, example_run


def run_of(samples: tuple[int, ...], sizes: tuple[int, ...]) -> ModelRun:
    return example_run("int8", 1_000_000, 1, samples_ns=samples, block_sizes=sizes)


def test_turns_cut_the_samples_where_the_device_did() -> None:
    assert turns(run_of((1, 2, 3, 4, 5), (2, 0, 3)).latency) == ((1, 2), (), (3, 4, 5))


def test_quantiles_without_enough_runs_are_absent_not_zero() -> None:
    summary = summarize_latency(run_of(tuple(range(1, 101)), (50, 50)))
    assert summary.p50 is not None and summary.p95 is not None
    assert summary.p99 is None
    assert summary.minimum.value == 1


def test_runs_that_drift_widen_the_interval() -> None:
    steady, drifting = (
        summarize_latency(
            dataclasses.replace(
                example_run("int8", 3_000_000),
                latency=example_latency("int8", 3_000_000, drift=drift),
            )
        )
        for drift in (0.0, 0.3)
    )
    assert steady.p50 and steady.p50.interval and drifting.p50 and drifting.p50.interval
    steady_width = steady.p50.interval.high - steady.p50.interval.low
    assert drifting.p50.interval.high - drifting.p50.interval.low > 5 * steady_width


def test_speed_up_is_float_over_int8() -> None:
    found = speedup(example_results())
    assert found is not None and found.interval is not None
    assert 2.6 < found.interval.low < found.value < found.interval.high < 2.8
    assert found.n == 10


def test_no_speed_up_from_one_model() -> None:
    assert speedup(example_results(runs=example_results().runs[:1])) is None


@pytest.mark.parametrize("role", ["float", "int8"])
def test_no_speed_up_from_a_latency_that_never_settled(role: str) -> None:
    runs = tuple(
        dataclasses.replace(run, latency=dataclasses.replace(run.latency, steady=run.role != role))
        for run in example_results().runs
    )
    assert speedup(example_results(runs=runs)) is None


def test_accuracy_counts_by_sample_and_class() -> None:
    accuracy = summarize_accuracy(Predictions((0, 0, 1, 1, 1), (0, 0, 1, 1, 2), (0, 1, 1, 2, 1)))
    assert accuracy is not None
    assert accuracy.float_percent.value == 80
    assert accuracy.int8_percent.value == 60
    assert accuracy.drop.value == pytest.approx(20)
    assert (accuracy.float_only, accuracy.int8_only) == (2, 1)
    assert [(c.label, c.n, c.float_correct, c.int8_correct) for c in accuracy.classes] == [
        (0, 2, 2, 1),
        (1, 3, 2, 2),
    ]
    assert [c.drop.value for c in accuracy.classes] == [50, 0]


def test_without_labels_there_is_agreement_but_no_accuracy() -> None:
    unlabelled = Predictions(None, (1, 2, 3, 4), (1, 2, 3, 0))
    assert summarize_accuracy(unlabelled) is None
    assert agreement_percent(unlabelled).value == 75


def test_a_class_index_may_be_anything() -> None:
    accuracy = summarize_accuracy(Predictions((-1, 70_000), (-1, 70_000), (-1, 0)))
    assert accuracy is not None and [c.label for c in accuracy.classes] == [-1, 70_000]


@pytest.mark.parametrize(
    ("samples", "sizes"),
    [
        ((), ()),
        ((1, 0), (2,)),
        ((1, -5), (2,)),
        ((1, 2, 3), (2,)),
        ((1, 2), (2, 1)),
        ((1, 2), (3, -1)),
        ((1, 2), ()),
    ],
)
def test_latency_that_does_not_add_up_is_the_devices_error(
    samples: tuple[int, ...], sizes: tuple[int, ...]
) -> None:
    with pytest.raises(AgentError):
        run_of(samples, sizes)


@pytest.mark.parametrize(
    ("labels", "float_top1", "int8_top1"),
    [(None, (1, 2), (1,)), ((1,), (1, 2), (1, 2)), (None, (), ()), ((), (), ())],
)
def test_predictions_that_do_not_match_are_refused(
    labels: tuple[int, ...] | None, float_top1: tuple[int, ...], int8_top1: tuple[int, ...]
) -> None:
    with pytest.raises(AgentError):
        Predictions(labels, float_top1, int8_top1)
