"""mAP and word error rate through the command line: real networks, a device, their own libraries.

The networks are one product each, so that their outputs are real ones: a detector that reads three
boxes off its input, and a reader of frames that says a word a frame. What the command reports is
held against pycocotools and jiwer called directly, on outputs of the same files run here.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from edgesdk.convert.conversion import read_artifact
from edgesdk.devices.virtual import VirtualDevice
from tests.cli import Cli, this_machine
from tests.onnx_networks import Network

Array = npt.NDArray[Any]
COUNT = 60
MOST = 3
WORDS = ("", "the", "cat", "sat", "down", "here")
FRAMES = 6


@pytest.fixture
def cli(tmp_path: Path, virtual_device: VirtualDevice) -> Cli:
    made = Cli(tmp_path)
    made.enrol(virtual_device.as_device("bench", this_machine()))
    return made


def deployed(cli: Cli, *more: str) -> Any:
    """What `deploy` of model.onnx and data.npz in the folder reports."""
    done = cli(
        *("deploy", "model.onnx", "--device", "bench", "--calibration", "data.npz"),
        *("--dataset", "data.npz", "-o", "out", "--seconds", "0.1", "--json", *more),
    )
    assert done.code in (0, 1), done.err
    return done.json


def run_here(path: Path, inputs: Array) -> list[tuple[Array, ...]]:
    """Outputs of a file on this machine, sample by sample."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return [tuple(session.run(None, {name: one[np.newaxis]})) for one in inputs]


def both_here(cli: Cli, inputs: Array) -> tuple[list[tuple[Array, ...]], list[tuple[Array, ...]]]:
    """Outputs of the float and of the converted file of the artifact."""
    artifact = read_artifact(cli.folder / "out" / "artifact")
    float_file, model = (
        run_here(cli.folder / "out" / "artifact" / artifact.file(role).path, inputs)
        for role in ("float", "model")
    )
    return float_file, model


# ---- mAP -----------------------------------------------------------------------------------------


def detector(path: Path) -> None:
    """Boxes, scores and classes of three objects: the input, times one and a little."""
    random = np.random.default_rng(4)
    net = Network()
    x = net.input("x", [1, 6 * MOST])
    w = net.constant("w", np.eye(6 * MOST) + random.normal(0, 0.004, (6 * MOST, 6 * MOST)))
    found = net.node("MatMul", [x, w], "found")
    ends = {"boxes": (0, 4 * MOST), "scores": (4 * MOST, 5 * MOST), "classes": (5 * MOST, 6 * MOST)}
    outputs = {}
    for name, (start, end) in ends.items():
        bounds = [
            net.constant(f"{name}_{what}", [at], "int64")
            for what, at in (("start", start), ("end", end), ("axis", 1))
        ]
        part = net.node("Slice", [found, *bounds], f"{name}_flat")
        shape = [1, MOST, 4] if name == "boxes" else [1, MOST]
        to = net.constant(f"{name}_shape", shape, "int64")
        outputs[net.node("Reshape", [part, to], name)] = shape
    net.write(path, **outputs)


def scenes() -> tuple[Array, Array, Array]:
    """Inputs (n, 18), true boxes (n, 3, 4) and classes (n, 3): the third is often not there."""
    random = np.random.default_rng(5)
    corner = random.uniform(0, 60, (COUNT, MOST, 2))
    boxes = np.concatenate([corner, corner + random.uniform(10, 40, (COUNT, MOST, 2))], axis=2)
    classes = random.integers(0, 3, (COUNT, MOST))
    seen = boxes + random.normal(0, 1.5, boxes.shape)
    scores = random.uniform(0.2, 1.0, (COUNT, MOST)) * 100
    classes[random.uniform(size=COUNT) < 0.3, 2] = -1
    guessed = np.where(classes < 0, 1, classes)
    inputs = np.concatenate([seen.reshape(COUNT, -1), scores, guessed * 40.0], axis=1)
    return inputs.astype(np.float32), boxes, classes


def coco_ap(outputs: list[tuple[Array, ...]], boxes: Array, classes: Array) -> float:
    """By pycocotools as its own example has it, in percent."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entry(picture: int, kind: float, box: Array) -> dict[str, Any]:
        x1, y1, x2, y2 = map(float, box)
        return {"image_id": picture, "category_id": int(kind), "bbox": [x1, y1, x2 - x1, y2 - y1]}

    truth = COCO()
    annotations = [
        {**entry(i, kind, box), "id": 1 + MOST * i + j, "iscrowd": 0}
        | {"area": float((box[2] - box[0]) * (box[3] - box[1]))}
        for i in range(COUNT)
        for j, (box, kind) in enumerate(zip(boxes[i], classes[i], strict=True))
        if kind >= 0
    ]
    truth.dataset = {
        "images": [{"id": i} for i in range(COUNT)],
        "categories": [{"id": i} for i in range(3)],
        "annotations": annotations,
    }
    found = [
        {**entry(i, kind, box), "score": float(score)}
        for i, sample in enumerate(outputs)
        for box, score, kind in zip(
            sample[0][0], sample[1][0], np.rint(sample[2][0] / 40), strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluated = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return 100 * float(evaluated.stats[0])


def test_map_of_a_detector_is_what_pycocotools_says(cli: Cli) -> None:
    pytest.importorskip("pycocotools")
    detector(cli.folder / "model.onnx")
    inputs, boxes, classes = scenes()
    np.savez(cli.folder / "data.npz", x=inputs, boxes=boxes, classes=classes)
    (cli.folder / "reading.py").write_text(
        "import numpy as np\n"
        "def objects(outputs):\n"
        "    boxes, scores, classes = (each[0] for each in outputs)\n"
        "    return {'boxes': boxes, 'scores': scores, 'classes': np.rint(classes / 40)}\n"
    )
    report = deployed(
        *(cli, "--metric", "map", "--decode", "reading:objects"),
        *("--max-metric-drop", "map=30"),
    )
    (metric,) = report["metrics"]
    expected = [coco_ap(outputs, boxes, classes) for outputs in both_here(cli, inputs)]
    assert 20 < expected[1] <= 100
    assert metric["float_value"]["value"] == pytest.approx(expected[0], abs=1e-6)
    assert metric["int8_value"]["value"] == pytest.approx(expected[1], abs=1e-6)
    assert metric["drop"]["value"] == pytest.approx(expected[0] - expected[1], abs=1e-6)
    assert metric["drop"]["n"] == COUNT
    low, high = metric["drop"]["interval"]["low"], metric["drop"]["interval"]["high"]
    assert low <= metric["drop"]["value"] <= high and low < high
    (verdict,) = (each for each in report["verdicts"] if each["gate"] == "metric map")
    assert verdict["status"] == ("pass" if metric["drop"]["value"] <= 30 else "fail")
    page = (cli.folder / "out" / "report.html").read_text()
    assert "mAP (COCO)" in page and f"{COUNT} samples" in page


# ---- word error rate -----------------------------------------------------------------------------


def reader(path: Path) -> None:
    """Scores of six words for each of six frames."""
    random = np.random.default_rng(8)
    net = Network()
    x = net.input("x", [1, FRAMES, 12])
    w = net.constant("w", np.vstack([np.eye(6), 0.3 * random.normal(size=(6, 6))]))
    net.node("MatMul", [x, w], "scores")
    net.write(path, scores=[1, FRAMES, len(WORDS)])


def sentences() -> tuple[Array, list[str]]:
    """Frames (n, 6, 12), hard to read, and what they say."""
    random = np.random.default_rng(9)
    said = random.integers(0, len(WORDS), (COUNT, FRAMES))
    said[:, 0] = 1  # No sentence is empty.
    frames = np.concatenate([np.eye(6)[said], np.zeros((COUNT, FRAMES, 6))], axis=2)
    frames += random.normal(0, 0.35, frames.shape)
    return frames.astype(np.float32), [" ".join(WORDS[i] for i in row if i) for row in said]


def test_the_word_error_rate_of_a_reader_is_what_jiwer_says(cli: Cli) -> None:
    jiwer = pytest.importorskip("jiwer")
    reader(cli.folder / "model.onnx")
    frames, said = sentences()
    np.savez(cli.folder / "data.npz", x=frames)
    np.savez(cli.folder / "said.npz", text=np.array(said))
    (cli.folder / "reading.py").write_text(
        f"WORDS = {WORDS!r}\n"
        "def text(outputs):\n"
        "    return ' '.join(WORDS[i] for i in outputs[0][0].argmax(axis=1) if i)\n"
    )
    (cli.folder / "edgesdk.toml").write_text(
        'metrics = ["wer"]\ntruth = "said.npz"\ndecode = "reading:text"\n'
        "[gates]\nmax_metric_drop = { wer = 0.0 }\n"
    )
    report = deployed(cli)
    (metric,) = report["metrics"]

    def rate(outputs: list[tuple[Array, ...]]) -> float:
        told = [" ".join(WORDS[i] for i in one[0][0].argmax(axis=1) if i) for one in outputs]
        return 100 * jiwer.wer(said, told)

    expected = [rate(outputs) for outputs in both_here(cli, frames)]
    assert 1 < expected[0] < 90
    assert metric["float_value"]["value"] == pytest.approx(expected[0])
    assert metric["int8_value"]["value"] == pytest.approx(expected[1])
    assert metric["drop"]["value"] == pytest.approx(expected[1] - expected[0])  # Lower is better.
    (verdict,) = (each for each in report["verdicts"] if each["gate"] == "metric wer")
    assert verdict["status"] == ("pass" if metric["drop"]["value"] <= 0 else "fail")
    evaluated = cli(
        *("eval", "--device", "bench", "--dataset", "data.npz", "--model", "out/artifact", "--json")
    ).json
    assert evaluated["metrics"] == report["metrics"]
