"""Which metrics there are, by name. What a metric needs is imported when it is asked for."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from typing import Any

from edgesdk.errors import DataError, ToolchainMissing, UsageError
from edgesdk.metrics.plain import (
    check_numbers,
    check_top_k,
    mean_absolute_error,
    root_mean_square_error,
    top_k,
)
from edgesdk.metrics.shapes import check_labels
from edgesdk.values.metric import Better, Metric, Outputs, Score, Truth

RESAMPLES = 1000
_FEW_RESAMPLES = 200
_TOP = re.compile(r"top([1-9][0-9]{0,3})")
DECODED = ("map", "wer")
"""Metrics that may judge what a user's function makes of the outputs."""
NAMES = ("top1", "top5", "f1", "f1-micro", "roc-auc", "pr-auc", "rmse", "mae", "map", "wer")


def find_metric(name: str, decode: str | None = None) -> Metric:
    """The metric of that name: one of `NAMES`, "topK" of any K, or "module:function".

    A function takes the outputs, a list with one tuple of arrays a sample, and the truth, a
    dictionary of arrays; it returns a number. Higher is better unless it has an attribute
    `better = "lower"`.

    Args:
        decode: "module:function" that makes of one sample's outputs what "map" or "wer" judges.

    Raises:
        UsageError: no such metric, or one that needs `decode`.
        ToolchainMissing: its library is not installed.
        DataError: the function cannot be imported.
    """
    if match := _TOP.fullmatch(name):
        k = int(match[1])
        title, judged = f"Top-{k} accuracy", (check_top_k(k), top_k(k))
        return Metric(name, title, "higher", "percent", RESAMPLES, *judged, share=True)
    if name == "rmse":
        title, judged = "Root mean square error", (check_numbers, root_mean_square_error)
        return Metric(name, title, "lower", "own", RESAMPLES, *judged)
    if name == "mae":
        title, judged = "Mean absolute error", (check_numbers, mean_absolute_error)
        return Metric(name, title, "lower", "own", RESAMPLES, *judged)
    if name in ("f1", "f1-micro", "roc-auc", "pr-auc"):
        return _classification(name)
    if name == "map":
        library = _library("detection", "pycocotools")
        chosen = library.first_three if decode is None else _function(decode)
        check = library.check_boxes(as_they_are=decode is None)
        prepare = library.mean_average_precision(_checked(chosen, decode or name))
        return Metric(name, "mAP (COCO)", "higher", "percent", _FEW_RESAMPLES, check, prepare)
    if name == "wer":
        if decode is None:
            raise UsageError(
                "the word error rate needs to know how outputs become text",
                hint="give --decode module:function, one sample's outputs to its text",
            )
        library = _library("words", "jiwer")
        prepare = library.word_error_rate(_checked(_function(decode), decode))
        title = "Word error rate"
        return Metric(name, title, "lower", "percent", RESAMPLES, library.check_text, prepare)
    if ":" in name:
        return _own(name)
    raise UsageError(
        f"found the metric {name!r}, expected one of {', '.join(NAMES)}, or module:function"
    )


def _classification(name: str) -> Metric:
    library = _library("classification", "scikit-learn")
    title, prepare = {
        "f1": ("F1, macro", library.f1("macro")),
        "f1-micro": ("F1, micro", library.f1("micro")),
        "roc-auc": ("ROC-AUC", library.roc_auc),
        "pr-auc": ("PR-AUC", library.pr_auc),
    }[name]
    return Metric(name, title, "higher", "percent", RESAMPLES, check_labels, prepare)


def _own(name: str) -> Metric:
    function = _function(name)
    better: Better = getattr(function, "better", "higher")
    if better not in ("higher", "lower"):
        raise UsageError(f"{name}: found better = {better!r}, expected 'higher' or 'lower'")
    called = _checked(function, name)

    def prepare(outputs: Outputs, truth: Truth) -> Score:
        def score(chosen: Any) -> float:
            some = {key: array[chosen] for key, array in truth.items()}
            value = called([outputs[i] for i in chosen], some)
            try:
                return float(value)
            except (TypeError, ValueError) as error:
                raise DataError(f"{name} gave {value!r}, expected a number") from error

        return score

    return Metric(name, name, better, "own", _FEW_RESAMPLES, lambda truth, outputs: None, prepare)


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(f"edgesdk.metrics.libraries.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("edgesdk"):
            raise
        raise ToolchainMissing(
            f"this metric needs {package}, which is not installed",
            hint='install it with: pip install "edgesdk[metrics]"',
        ) from error


def _function(source: str) -> Callable[..., Any]:
    """What "module:function" names; the user's own code, found from the current folder.

    Raises:
        DataError: there is no such thing.
    """
    module_name, _, name = source.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
        found: Callable[..., Any] = getattr(module, name)
    except (Exception, SystemExit) as error:
        raise DataError(
            f"{source} cannot be imported: {type(error).__name__}: {error}",
            hint="run from the folder it lies in, or install it",
        ) from error
    return found


def _checked(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The user's function, whose failure is the user's to know of and not our defect."""

    def called(*given: Any) -> Any:
        try:
            return function(*given)
        except DataError:
            raise
        except (Exception, SystemExit) as error:
            raise DataError(f"{name} failed: {type(error).__name__}: {error}") from error

    return called
