"""Facts about the paired bootstrap of a metric."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.metrics.plain import check_top_k, top_k
from edgesdk.metrics.table import find_metric
from edgesdk.validate.resampling import summarize_metric
from edgesdk.validate.statistics import paired_difference
from edgesdk.values.metric import Metric, Outputs

TOP1 = Metric("top1", "Top-1 accuracy", "higher", "percent", 400, check_top_k(1), top_k(1))


def guesses(right: np.ndarray) -> Outputs:
    """Two classes, the true one always 0."""
    return [(np.array([1.0, 0.0] if each else [0.0, 1.0]),) for each in right]


def measured(random: np.random.Generator, n: int) -> tuple[Outputs, Outputs]:
    """Two models right nine times in ten, one sample in ten discordant: no true difference."""
    kind = random.choice(4, size=n, p=[0.85, 0.05, 0.05, 0.05])
    return guesses(kind <= 1), guesses((kind == 0) | (kind == 2))


def test_the_interval_holds_the_truth_as_often_as_promised() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for seed in range(100):
        found = summarize_metric(
            TOP1, measured(random, 150), {"label": np.zeros(150, int)}, seed=seed
        )
        assert found.drop is not None and found.drop.interval is not None
        covered += found.drop.interval.low <= 0 <= found.drop.interval.high
    assert covered >= 89  # 95 are expected; fewer than 89 have a chance below 1 %.


def test_every_draw_is_told_of() -> None:
    told: list[int] = []
    outputs = measured(np.random.default_rng(1), 60)
    found = summarize_metric(TOP1, outputs, {"label": np.zeros(60, int)}, advance=told.append)
    assert sum(told) == found.resamples > 0


def test_it_agrees_with_tangos_interval_where_both_apply() -> None:
    outputs = measured(np.random.default_rng(2), 800)
    found = summarize_metric(TOP1, outputs, {"label": np.zeros(800, int)})
    right = [np.array([sample[0][0] for sample in each]) == 1 for each in outputs]
    exact = paired_difference(
        int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum()), 800
    )
    assert found.drop is not None and found.drop.interval is not None and exact.interval is not None
    assert found.drop.value == pytest.approx(100 * exact.value)
    assert found.drop.interval.low == pytest.approx(100 * exact.interval.low, abs=0.4)
    assert found.drop.interval.high == pytest.approx(100 * exact.interval.high, abs=0.4)


def test_pairing_makes_the_interval_narrower_than_either_models() -> None:
    found = summarize_metric(
        TOP1, measured(np.random.default_rng(3), 500), {"label": np.zeros(500, int)}
    )
    assert found.float_value is not None and found.drop is not None
    width = {
        name: estimate.interval.high - estimate.interval.low  # type: ignore[union-attr]
        for name, estimate in (("float", found.float_value), ("drop", found.drop))
    }
    assert width["drop"] < 1.2 * width["float"]


def test_worse_is_positive_whatever_is_better() -> None:
    good, bad = [(np.zeros(1),)] * 9, [(np.ones(1),)] * 9
    found = summarize_metric(find_metric("mae"), (good, bad), {"target": np.zeros((9, 1))})
    assert found.drop is not None and (found.better, found.drop.value) == ("lower", 1.0)
    assert found.unit == "own" and found.drop_unit == "own"


def test_draws_that_have_no_value_are_counted_and_too_many_cost_the_interval() -> None:
    scores = [(np.array([0.1 * i]),) for i in range(60)]
    truth = {"label": np.array([1] + [0] * 59)}
    found = summarize_metric(find_metric("roc-auc"), (scores, scores), truth)
    assert found.drop is not None and found.undefined > 100 and found.drop.interval is None
    assert found.reason.startswith(f"it has no value for {found.undefined} of 1000 draws")


def test_too_few_samples_have_a_value_and_no_interval() -> None:
    outputs = measured(np.random.default_rng(5), 49)
    found = summarize_metric(TOP1, outputs, {"label": np.zeros(49, int)})
    assert found.drop is not None and found.drop.interval is None and found.resamples == 0
    assert found.reason == "49 samples are too few for an interval, which takes 50"


def test_models_that_never_differ_have_no_interval_of_no_width() -> None:
    """All draws alike are no certainty: none of 60 discordant may be 5 in 100 elsewhere."""
    same = [(np.array([float(i % 7)]),) for i in range(60)]
    found = summarize_metric(find_metric("mae"), (same, same), {"target": np.zeros((60, 1))})
    assert found.drop is not None and (found.drop.value, found.drop.interval) == (0.0, None)
    assert found.float_value is not None and found.float_value.interval is not None
    assert found.reason.startswith("both models score alike on every draw")


@pytest.mark.parametrize("count", [3, 60])
def test_a_share_of_samples_has_exact_intervals_however_few_and_alike(count: int) -> None:
    truth = {"label": np.zeros(count, int)}
    outputs = guesses([True] * count), guesses([True] * count)
    found = summarize_metric(find_metric("top1"), outputs, truth)
    exact = paired_difference(0, 0, count).interval
    assert exact is not None and found.drop is not None and found.drop.interval is not None
    assert found.drop.interval.high == pytest.approx(100 * exact.high) and exact.high > 0.04
    assert found.float_value is not None and found.float_value.interval is not None
    assert found.float_value.interval.low < 100 == found.float_value.value
    assert (found.reason, found.resamples) == ("", 0)


def test_a_metric_that_is_not_defined_has_a_reason_and_no_value() -> None:
    scores = [(np.array([0.1]),)] * 9
    truth = {"label": np.zeros(9, int)}
    found = summarize_metric(find_metric("roc-auc"), (scores, scores), truth)
    assert (found.drop, found.float_value, found.int8_value, found.samples) == (None,) * 3 + (9,)
    assert found.reason == "no sample is of class 1, and a curve needs both kinds"


def test_a_model_whose_outputs_are_no_numbers_is_named_and_the_other_keeps_its_value() -> None:
    good, bad = [(np.zeros(1),)] * 9, [(np.full(1, np.nan),)] * 9
    found = summarize_metric(find_metric("mae"), (good, bad), {"target": np.ones((9, 1))})
    assert found.drop is None and found.int8_value is None
    assert found.float_value is not None and found.float_value.value == 1.0
    assert found.reason.startswith("of the converted model, the outputs of 9 of 9 samples hold NaN")


def test_a_function_that_gives_nan_is_not_defined() -> None:
    nothing = dataclasses.replace(TOP1, name="mine:nan", prepare=lambda *_: lambda _: math.nan)
    found = summarize_metric(nothing, ([(np.zeros(1),)], [(np.zeros(1),)]), {})
    assert found.reason == "mine:nan gave nan"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=50, max_size=70), st.integers(0, 9)
)
def test_the_value_lies_within_its_interval_and_can_be_repeated(
    pairs: list[tuple[bool, bool]], seed: int
) -> None:
    metric = dataclasses.replace(TOP1, resamples=50)
    outputs = guesses([a for a, _ in pairs]), guesses([b for _, b in pairs])  # type: ignore[arg-type]
    truth = {"label": np.zeros(len(pairs), int)}
    found = summarize_metric(metric, outputs, truth, seed=seed)
    assert found == summarize_metric(metric, outputs, truth, seed=seed)
    for estimate in (found.float_value, found.int8_value, found.drop):
        assert estimate is not None
        if estimate.interval is None:
            continue  # All samples alike.
        assert estimate.interval.low <= estimate.value <= estimate.interval.high
