"""Mean average precision of boxes as COCO has it (IoU 0.50 to 0.95), by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgesdk.errors import DataError
from edgesdk.metrics.shapes import required
from edgesdk.values.metric import Outputs, Score, Truth

Decode = Callable[[tuple[npt.NDArray[Any], ...]], object]
_PADDING = -1


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


def first_three(outputs: tuple[npt.NDArray[Any], ...]) -> Mapping[str, npt.NDArray[Any]]:
    """Outputs in the order boxes, scores, classes, with or without a batch axis of 1."""
    if len(outputs) < 3:
        raise DataError(
            f"found {len(outputs)} outputs, expected boxes, scores and classes",
            hint="give --decode module:function, which makes them of the outputs",
        )
    boxes, scores, classes = outputs[:3]
    return {
        "boxes": np.asarray(boxes, np.float64).reshape(-1, 4),
        "scores": np.asarray(scores, np.float64).reshape(-1),
        "classes": np.asarray(classes).reshape(-1),
    }


def _truth(truth: Truth) -> COCO:
    boxes = required(truth, "boxes", "[n, most, 4] as x1, y1, x2, y2")
    classes = required(truth, "classes", f"[n, most], {_PADDING} where there is no box")
    if boxes.ndim != 3 or boxes.shape[2] != 4 or boxes.shape[:2] != classes.shape:
        raise DataError(
            f"found boxes {list(boxes.shape)} and classes {list(classes.shape)}, "
            "expected [n, most, 4] and [n, most]"
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
    return float(known.mean()) if known.size else float("nan")
