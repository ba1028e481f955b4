"""F1, ROC-AUC and PR-AUC, by scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from edgesdk.metrics.shapes import class_scores, labels, require_numbers
from edgesdk.values.metric import NotDefined, Outputs, Score, Truth

Scores = npt.NDArray[np.float64]


def f1(average: str) -> Callable[[Outputs, Truth], Score]:
    """F1 of the class with the highest score, over the classes that the truth has.

    Args:
        average: "macro", every class alike, or "micro", every sample alike.
    """

    def prepare(outputs: Outputs, truth: Truth) -> Score:
        scores = class_scores(outputs)
        true, guess = labels(truth, scores.shape[1]), _guesses(scores)
        classes = np.unique(true)

        def score(chosen: npt.NDArray[np.intp]) -> float:
            return float(
                f1_score(
                    true[chosen], guess[chosen], labels=classes, average=average, zero_division=0
                )
            )

        return score

    return prepare


def roc_auc(outputs: Outputs, truth: Truth) -> Score:
    """Area under the ROC curve; of more than two classes, the mean of one against the rest."""
    return _areas(outputs, truth, roc_auc_score)


def pr_auc(outputs: Outputs, truth: Truth) -> Score:
    """Average precision, the area under the precision-recall curve without interpolation.

    Of more than two classes, the mean of one against the rest.
    """
    return _areas(outputs, truth, average_precision_score)


def _areas(outputs: Outputs, truth: Truth, area: Callable[[Scores, Scores], float]) -> Score:
    scores = class_scores(outputs)
    require_numbers(np.asarray(np.isinf(scores).any(axis=1)), "infinity")
    true = labels(truth, scores.shape[1])
    sides = [1] if scores.shape[1] <= 2 else [int(each) for each in np.unique(true)]

    def score(chosen: npt.NDArray[np.intp]) -> float:
        of_classes = []
        for side in sides:
            is_it = true[chosen] == side
            if is_it.all() or not is_it.any():
                which = "every" if is_it.all() else "no"
                raise NotDefined(f"{which} sample is of class {side}, and a curve needs both kinds")
            column = min(side, scores.shape[1] - 1)
            of_classes.append(float(area(is_it, scores[chosen, column])))
        return float(np.mean(of_classes))

    return score


def _guesses(scores: Scores) -> npt.NDArray[np.int64]:
    """The class of each sample; a single score is that of class 1, with 0.5 as the threshold."""
    if scores.shape[1] == 1:
        return (scores[:, 0] > 0.5).astype(np.int64)
    return np.asarray(scores.argmax(axis=1), np.int64)
