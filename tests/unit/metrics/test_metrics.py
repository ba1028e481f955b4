"""Facts about metrics: what each is, on samples small enough to count by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesdk.data.samples import Samples
from edgesdk.errors import DataError, ToolchainMissing, UsageError
from edgesdk.flows.metrics import Wanted, with_metrics
from edgesdk.metrics import table
from edgesdk.metrics.table import find_metric
from edgesdk.models.types import TensorSpec
from edgesdk.progress import Silent
from edgesdk.values.metric import NotDefined, Outputs
from tests.unit.history.measurements import findings_of

LABELS = {"label": np.array([0, 1, 2, 2])}
SCORES = [[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]]
"""Right, second, right, third."""


def outputs(rows: Any) -> Outputs:
    """One output a sample, with a batch axis."""
    return [(np.asarray(row, np.float32)[np.newaxis],) for row in rows]


def value(name: str, found: Outputs, truth: Any, decode: str | None = None) -> float:
    score = find_metric(name, decode).prepare(found, truth)
    return score(np.arange(len(found)))


@pytest.mark.parametrize(("name", "share"), [("top1", 0.5), ("top2", 0.75), ("top3", 1.0)])
def test_top_k_is_the_share_whose_class_is_among_the_k_highest(name: str, share: float) -> None:
    assert value(name, outputs(SCORES), LABELS) == share


def test_ties_go_to_the_lower_class_as_argmax_has_it() -> None:
    tied = outputs([[0.5, 0.5]] * 2)
    assert value("top1", tied, {"label": np.array([0, 1])}) == 0.5


def test_top_k_of_fewer_classes_is_refused() -> None:
    with pytest.raises(DataError, match="found 3 classes, expected 5"):
        value("top5", outputs(SCORES), LABELS)


def test_errors_of_numbers() -> None:
    found, truth = outputs([[1.0, 2.0], [3.0, 4.0]]), {"target": np.array([[1.0, 4.0], [3.0, 2.0]])}
    assert value("rmse", found, truth) == pytest.approx(2**0.5)
    assert value("mae", found, truth) == pytest.approx(1.0)


def test_a_target_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="target 0 has 3 values, expected 2"):
        value("rmse", outputs([[1.0, 2.0]]), {"target": np.zeros((1, 3))})


def test_without_its_truth_a_metric_says_what_to_save() -> None:
    with pytest.raises(DataError, match="the truth has no 'target', only label") as raised:
        value("rmse", outputs(SCORES), LABELS)
    assert "--truth" in raised.value.hint


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(DataError, match="labels from 0 to 7, expected 0 to 2"):
        value("f1", outputs(SCORES), {"label": np.array([0, 1, 2, 7])})


def test_f1_by_class_and_by_sample() -> None:
    # Guesses 0 0 2 0: class 0 has F1 1/2, class 1 none, class 2 2/3.
    assert value("f1", outputs(SCORES), LABELS) == pytest.approx((1 / 2 + 0 + 2 / 3) / 3)
    assert value("f1-micro", outputs(SCORES), LABELS) == pytest.approx(0.5)


def test_areas_of_two_classes_however_they_are_told() -> None:
    truth = {"label": np.array([0, 0, 1, 1])}
    one = outputs([[0.1], [0.4], [0.35], [0.8]])
    two = outputs([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]])
    for found in (one, two):
        assert value("roc-auc", found, truth) == pytest.approx(0.75)
        assert value("pr-auc", found, truth) == pytest.approx(0.8333333)


def test_areas_of_three_classes_need_no_probabilities() -> None:
    logits = outputs(np.asarray(SCORES) * 10 - 3)
    assert value("roc-auc", logits, LABELS) == pytest.approx(
        value("roc-auc", outputs(SCORES), LABELS)
    )


@pytest.mark.parametrize("name", ["roc-auc", "pr-auc"])
@pytest.mark.parametrize(
    ("label", "said"), [(1, "every sample is of class 1"), (0, "no sample is")]
)
def test_an_area_without_both_sides_is_not_defined(name: str, label: int, said: str) -> None:
    with pytest.raises(NotDefined, match=said):
        value(name, outputs([[0.1], [0.2]]), {"label": np.full(2, label)})


@pytest.mark.parametrize("name", ["top1", "f1", "roc-auc"])
def test_scores_that_are_no_numbers_make_no_metric(name: str) -> None:
    """Else a NaN is nowhere above the true class, and every sample counts as right."""
    broken = outputs([[np.nan, np.nan, np.nan], *SCORES[1:]])
    with pytest.raises(NotDefined, match="the outputs of 1 of 4 samples hold NaN"):
        value(name, broken, LABELS)


def test_errors_of_what_is_no_number_are_none() -> None:
    with pytest.raises(NotDefined, match="1 of 1 samples hold NaN or infinity"):
        value("mae", outputs([[np.inf, 1.0]]), {"target": np.zeros((1, 2))})


def test_a_function_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_metric.py").write_text(
        "def largest(outputs, truth):\n"
        "    return max(float(o[0].max()) - truth['label'].min() for o in outputs)\n"
        "largest.better = 'lower'\n"
        "def broken(outputs, truth):\n    return 1 / 0\n"
        "def text(outputs):\n    return 'the cat sat' if outputs[0].max() > 0.55 else 'the cat'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    metric = find_metric("mine_metric:largest")
    assert metric.better == "lower" and metric.unit == "own"
    assert value("mine_metric:largest", outputs(SCORES), LABELS) == pytest.approx(0.6)
    with pytest.raises(DataError, match="mine_metric:broken failed: ZeroDivisionError"):
        value("mine_metric:broken", outputs(SCORES), LABELS)
    with pytest.raises(DataError, match="cannot be imported"):
        find_metric("mine_metric:absent")
    pytest.importorskip("jiwer")
    said = {"text": np.array(["the cat sat"] * 4)}
    assert value("wer", outputs(SCORES), said, "mine_metric:text") == pytest.approx(2 / 12)


def test_what_is_no_metric_lists_those_that_are() -> None:
    with pytest.raises(UsageError, match="expected one of top1, top5, f1"):
        find_metric("accuracy")


def test_text_needs_to_be_decoded() -> None:
    pytest.importorskip("jiwer")
    with pytest.raises(UsageError, match="needs to know how outputs become text"):
        find_metric("wer")


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    monkeypatch.delitem(sys.modules, "edgesdk.metrics.libraries.words", raising=False)
    with pytest.raises(ToolchainMissing, match="needs jiwer") as raised:
        find_metric("wer", "a:b")
    assert 'pip install "edgesdk[metrics]"' in raised.value.hint


BOXES = np.array([[[0, 0, 10, 10], [20, 20, 30, 30]], [[5, 5, 15, 15], [0, 0, 0, 0]]], np.float64)
KINDS = np.array([[0, 1], [1, -1]])


def detections(shift: float = 0.0) -> Outputs:
    """The true boxes, moved to the right."""
    found = []
    for boxes, kinds in zip(BOXES + np.array([shift, 0, shift, 0]), KINDS, strict=True):
        real = kinds != -1
        found.append((boxes[real], np.full(real.sum(), 0.9), kinds[real]))
    return found


def test_perfect_boxes_are_a_map_of_one_and_moved_ones_less() -> None:
    pytest.importorskip("pycocotools")
    truth = {"boxes": BOXES, "classes": KINDS}
    assert value("map", detections(), truth) == pytest.approx(1.0)
    # An IoU of 9/11 = 0.82 counts at 7 of the 10 thresholds.
    assert value("map", detections(1.0), truth) == pytest.approx(0.7)
    assert value("map", detections(100.0), truth) == pytest.approx(0.0)


def test_a_resample_of_pictures_is_what_evaluating_them_afresh_gives() -> None:
    pytest.importorskip("pycocotools")
    random = np.random.default_rng(3)
    boxes = np.concatenate(
        [low := random.uniform(0, 50, (8, 3, 2)), low + random.uniform(5, 20, (8, 3, 2))], 2
    )
    kinds = random.integers(0, 2, (8, 3))
    found = [
        (row + random.normal(0, 1.5, row.shape), random.random(3), kind)
        for row, kind in zip(boxes, kinds, strict=True)
    ]
    chosen = random.integers(8, size=8)
    score = find_metric("map").prepare(found, {"boxes": boxes, "classes": kinds})
    first = score(np.arange(8))
    resampled = score(chosen)
    afresh = value(
        "map", [found[i] for i in chosen], {"boxes": boxes[chosen], "classes": kinds[chosen]}
    )
    assert resampled == pytest.approx(afresh)
    assert score(np.arange(8)) == first != resampled


def test_no_detection_at_all_is_a_map_of_zero() -> None:
    pytest.importorskip("pycocotools")
    nothing = [(np.zeros((0, 4)), np.zeros(0), np.zeros(0))] * 2
    assert value("map", nothing, {"boxes": BOXES, "classes": KINDS}) == 0.0


def test_every_name_that_is_offered_is_a_metric() -> None:
    for name in set(table.NAMES) - {"wer"}:
        if name == "map":
            pytest.importorskip("pycocotools")
        assert find_metric(name).name == name


# ---- what is refused before any device has run ---------------------------------------------------

THREE_CLASSES = (TensorSpec("scores", (1, 3), "float32"),)
BOXES_OUT = (
    TensorSpec("boxes", (1, 10, 4), "float32"),
    TensorSpec("scores", (1, 10), "float32"),
    TensorSpec("classes", (1, 10), "float32"),
)


@pytest.mark.parametrize(
    ("name", "truth", "model", "said"),
    [
        ("top5", LABELS, THREE_CLASSES, "found 3 classes, expected 5"),
        ("top1", {}, THREE_CLASSES, "the truth has no 'label'"),
        ("f1", {"label": np.array([0.0, 1.0])}, THREE_CLASSES, "found labels float64"),
        ("f1", {"label": np.array([0, 3])}, THREE_CLASSES, "labels from 0 to 3, expected 0 to 2"),
        ("roc-auc", LABELS, BOXES_OUT, r"boxes: float32\[1, 10, 4\] is no single row"),
        ("rmse", {"target": np.zeros((2, 4))}, THREE_CLASSES, "target 0 has 4 values, expected 3"),
        ("mae", {"target": np.array(["a", "b"])}, THREE_CLASSES, "found target <U1"),
        ("rmse", {"target": np.full((2, 3), np.nan)}, THREE_CLASSES, "found NaN or infinity"),
        ("map", {"boxes": BOXES, "classes": KINDS[:, :1]}, BOXES_OUT, "found boxes .* and classes"),
        ("map", {"boxes": BOXES, "classes": KINDS * 1.0}, BOXES_OUT, "classes of float64"),
        ("map", {"boxes": BOXES, "classes": KINDS}, THREE_CLASSES, "expected boxes"),
        ("map", {"boxes": BOXES, "classes": KINDS}, BOXES_OUT[::-1], "expected boxes"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused_by_what_is_known_of_the_model(
    name: str, truth: Any, model: tuple[TensorSpec, ...], said: str
) -> None:
    if name == "map":
        pytest.importorskip("pycocotools")
    with pytest.raises(DataError, match=said):
        find_metric(name).check(truth, model)


def test_a_truth_that_fits_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_metric("top2").check(LABELS, THREE_CLASSES)
    find_metric("rmse").check({"target": np.zeros((2, 3), np.int64)}, THREE_CLASSES)
    pytest.importorskip("pycocotools")
    find_metric("map").check({"boxes": BOXES, "classes": KINDS}, BOXES_OUT)


@pytest.mark.parametrize("text", [np.array(["a", " "]), np.array([1, 2]), np.array([["a"]])])
def test_a_text_without_words_is_refused(
    text: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jiwer")
    (tmp_path / "saying.py").write_text("def text(outputs): return 'a'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DataError, match=r"found (a )?text"):
        find_metric("wer", "saying:text").check({"text": text}, THREE_CLASSES)


def test_classes_of_a_quantized_output_are_the_whole_numbers_they_stand_for() -> None:
    pytest.importorskip("pycocotools")
    off = [(boxes, scores, kinds * 1.003) for boxes, scores, kinds in detections()]
    assert value("map", off, {"boxes": BOXES, "classes": KINDS}) == pytest.approx(1.0)


# ---- the gate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "status", "reason"),
    [
        (2.0, "pass", "within uncertainty: the 95 % interval reaches 4.32 points"),
        (1.0, "fail", "within uncertainty: the 95 % interval reaches down to -0.41 points"),
        (9.0, "pass", ""),
    ],
)
def test_a_verdict_says_where_its_interval_reaches_across_the_bound(
    bound: float, status: str, reason: str
) -> None:
    """Of 200 samples the float model has all right and the converted one three wrong."""
    right = [[1.0, 0.0]] * 200
    models = outputs(right), outputs([[0.0, 1.0]] * 3 + right[3:])
    truth = {"label": np.zeros(200, int)}
    samples = Samples("here", 200, "", None, lambda: iter(()))
    wanted = Wanted((find_metric("top1"),), truth, samples, {"top1": bound})
    found = with_metrics(findings_of(), wanted, models, Silent())
    (verdict,) = (each for each in found.verdicts if each.gate == "metric top1")
    assert (verdict.status, verdict.reason) == (status, reason)
