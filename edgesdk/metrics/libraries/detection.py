"""Mean average precision of boxes as COCO has it (IoU 0.50 to 0.95), by pycocotools."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgesdk.errors import DataError
from edgesdk.metrics.shapes import required
from edgesdk.models.types import TensorSpec
from edgesdk.values.metric import NotDefined, Outputs, Score, Truth

Decode = Callable[[tuple[npt.NDArray[Any], ...]], object]
_PADDING = -1
_DECODE = "give --decode module:function, which makes them of one sample's outputs"


def mean_average_precision(decode: Decode) -> Callable[[Outputs, Truth], Score]:
    """COCO's AP over all classes and sizes, with up to 100 detections a picture.

    Boxes are matched to the truth once, picture by picture; a resample then only counts again.

    Args:
        decode: one sample's outputs to "boxes" (m, 4) as x1, y1, x2, y2 in the truth's units,
            "scores" (m,) and "classes" (m,).
    """

    def prepare(outputs: Outputs, truth: Truth) -> Score:
        with contextlib.redirect_stdout(io.StringIO()):  # The library prints.
            matched = _matched(_truth(truth), [_boxes(decode(sample)) for sample in outputs])
        by_picture = np.array(matched.evalImgs, dtype=object).reshape(-1, len(outputs))
        return lambda chosen: _average_precision(matched, by_picture, chosen)

    return prepare


def check_boxes(*, as_they_are: bool) -> Callable[[Truth, Sequence[TensorSpec]], None]:
    """As `Metric.check`.

    Args:
        as_they_are: the first three outputs are boxes, scores and classes.
    """

    def check(truth: Truth, outputs: Sequence[TensorSpec]) -> None:
        _truth(truth)
        if as_they_are:
            _require_three(outputs)

    return check


def _require_three(outputs: Sequence[TensorSpec]) -> None:
    sizes = [math.prod(each.shape) for each in outputs[:3]]
    if len(sizes) < 3 or not sizes[0] == 4 * sizes[1] == 4 * sizes[2]:
        found = ", ".join(map(str, outputs[:3]))
        raise DataError(
            f"found the outputs {found}, expected boxes [..., m, 4], scores [..., m] and classes"
            " [..., m]",
            hint=_DECODE,
        )


def first_three(outputs: tuple[npt.NDArray[Any], ...]) -> Mapping[str, npt.NDArray[Any]]:
    """Outputs in the order boxes, scores, classes, with or without a batch axis of 1.

    Classes are whole numbers, and a quantized output is off them by up to half its step.
    """
    if len(outputs) < 3:
        raise DataError(
            f"found {len(outputs)} outputs, expected boxes, scores and classes",
            hint=_DECODE,
        )
    boxes, scores, classes = outputs[:3]
    return {
        "boxes": np.asarray(boxes, np.float64).reshape(-1, 4),
        "scores": np.asarray(scores, np.float64).reshape(-1),
        "classes": np.rint(np.asarray(classes, np.float64)).reshape(-1),
    }


def _truth(truth: Truth) -> COCO:
    boxes = required(truth, "boxes", "[n, most, 4] as x1, y1, x2, y2")
    classes = required(truth, "classes", f"[n, most], {_PADDING} where there is no box")
    if boxes.ndim != 3 or boxes.shape[2] != 4 or boxes.shape[:2] != classes.shape:
        raise DataError(
            f"found boxes {list(boxes.shape)} and classes {list(classes.shape)}, "
            "expected [n, most, 4] and [n, most]"
        )
    if boxes.dtype.kind not in "iuf" or classes.dtype.kind not in "iu":
        raise DataError(
            f"found boxes of {boxes.dtype} and classes of {classes.dtype}, expected numbers and"
            " integers"
        )
    annotations: list[dict[str, Any]] = []
    for picture, (rows, kinds) in enumerate(zip(boxes, classes, strict=True)):
        for (x1, y1, x2, y2), kind in zip(rows.tolist(), kinds.tolist(), strict=True):
            if kind != _PADDING:
                size = [x1, y1, x2 - x1, y2 - y1]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": picture,
                        "category_id": int(kind),
                        "bbox": size,
                        "area": size[2] * size[3],
                        "iscrowd": 0,
                    }
                )
    if not annotations:
        raise DataError("found no boxes in the truth, expected one at least")
    coco = COCO()
    coco.dataset = {
        "images": [{"id": picture} for picture in range(len(boxes))],
        "categories": [{"id": kind} for kind in sorted({a["category_id"] for a in annotations})],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _boxes(decoded: object) -> tuple[npt.NDArray[np.float64], ...]:
    if not isinstance(decoded, Mapping) or not {"boxes", "scores", "classes"} <= set(decoded):
        raise DataError("decoding gave no boxes, scores and classes, expected a mapping of them")
    boxes, scores, classes = (
        np.asarray(decoded[name], np.float64) for name in ("boxes", "scores", "classes")
    )
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes) == len(scores) == len(classes):
        raise DataError(
            f"decoding gave boxes {list(boxes.shape)}, {len(scores)} scores and {len(classes)} "
            "classes, expected [m, 4], m and m"
        )
    if not all(np.isfinite(each).all() for each in (boxes, scores, classes)):
        raise NotDefined("boxes, scores or classes hold NaN or infinity")
    return boxes, scores, classes


def _matched(coco: COCO, detected: list[tuple[npt.NDArray[np.float64], ...]]) -> Any:
    rows = [
        [picture, x1, y1, x2 - x1, y2 - y1, score, kind]
        for picture, (boxes, scores, kinds) in enumerate(detected)
        for (x1, y1, x2, y2), score, kind in zip(boxes, scores, kinds, strict=True)
    ]
    found = coco.loadRes(np.array(rows, np.float64)) if rows else _nothing(coco)
    evaluated = COCOeval(coco, found, "bbox")
    evaluated.params.imgIds = list(range(len(detected)))
    evaluated.evaluate()
    return evaluated


def _nothing(coco: COCO) -> COCO:
    empty = COCO()
    empty.dataset = {**coco.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _average_precision(
    matched: Any, by_picture: npt.NDArray[Any], chosen: npt.NDArray[np.intp]
) -> float:
    """AP over chosen pictures, a repeated one counting as so many pictures."""
    numbers = list(range(len(chosen)))
    matched.evalImgs = by_picture[:, chosen].reshape(-1).tolist()
    matched.params.imgIds = matched._paramsEval.imgIds = numbers
    with contextlib.redirect_stdout(io.StringIO()):
        matched.accumulate()
    precision = matched.eval["precision"][:, :, :, 0, -1]  # All sizes, most detections.
    known = precision[precision > -1]
    if not known.size:
        raise NotDefined("no picture has a box in the truth")
    return float(known.mean())
