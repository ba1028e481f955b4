"""Metrics beyond top-1 over real SSH: outputs of both models from the device, scored here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice
from tests.cli import CALIBRATION, DIGITS, TEST, Cli, Done, this_machine
from tests.onnx_networks import Network


@pytest.fixture
def cli(tmp_path: Path, virtual_device: VirtualDevice) -> Cli:
    """With a device that has the example."""
    made = Cli(tmp_path)
    made.enrol(virtual_device.as_device("bench", this_machine()))
    done = made(
        *("deploy", DIGITS / "digits.onnx", "--device", "bench", "--calibration", CALIBRATION),
        *("--dataset", TEST, "-o", "out", "--seconds", "0.2"),
    )
    assert done.code == 0, done.err
    return made


def evaluate(cli: Cli, *more: str | Path, dataset: str = TEST) -> Done:
    model = cli.folder / "out" / "artifact"
    return cli("eval", "--device", "bench", "--dataset", dataset, "--model", model, *more)


def test_metrics_agree_with_what_the_device_says_itself(cli: Cli) -> None:
    plain = evaluate(cli, "--json").json
    done = evaluate(
        *(cli, "--metric", "top1", "--metric", "f1", "--metric", "roc-auc", "--json"),
        *("--max-metric-drop", "f1=3", "--max-metric-drop", "top1=0"),
    )
    assert "judging by roc-auc" in done.err, "nobody waits for its draws in silence"
    found = {metric["name"]: metric for metric in done.json["metrics"]}
    assert found["top1"]["int8_value"]["value"] == pytest.approx(
        plain["accuracy"]["int8_percent"]["value"]
    )
    assert done.json["results"]["predictions"] == plain["results"]["predictions"]
    assert found["roc-auc"]["float_value"]["value"] > 99
    gates = {verdict["gate"]: verdict for verdict in done.json["verdicts"]}
    assert gates["metric f1"]["status"] == "pass" and gates["metric f1"]["unit"] == "points"
    dropped = found["top1"]["drop"]["value"]
    assert gates["metric top1"]["status"] == ("fail" if dropped > 0 else "pass")
    assert done.code == (1 if dropped > 0 else 0)
    assert cli("runs", "show", "last", "--json").json == done.json


def test_a_function_and_numbers_need_no_labels(cli: Cli) -> None:
    with np.load(DIGITS / "digits.npz") as stored:
        name = next(key for key in stored.files if key.startswith("test/") and "label" not in key)
        images, labels = stored[name][:40], stored["test/label"][:40]
    np.savez(cli.folder / "few.npz", **{name.partition("/")[2]: images})
    np.savez(cli.folder / "truth.npz", target=np.eye(10)[labels])
    (cli.folder / "mine.py").write_text(
        "def count(outputs, truth):\n"
        "    return sum(len(o) for o in outputs) + truth['target'].sum()\n"
    )
    done = evaluate(
        *(cli, "--metric", "rmse", "--metric", "mine:count", "--truth", "truth.npz"),
        dataset="few.npz",
    )
    assert done.code == 0, done.err
    assert "Root mean square error lost" in done.out and "mine:count lost" in done.out
    without = evaluate(cli, "--metric", "f1", dataset="few.npz")
    assert without.code == 3 and "the truth has no 'label'" in without.err
    unasked = evaluate(cli, "--metric", "top1", "--max-metric-drop", "f1=1")
    assert unasked.code == 2 and "found a bound for f1" in unasked.err
    alone = evaluate(cli, "--max-metric-drop", "f1=1")
    assert alone.code == 2 and "found a bound for f1" in alone.err


def test_of_many_devices_the_table_has_the_metrics_and_the_data_are_told_of_once(cli: Cli) -> None:
    (cli.folder / "second").mkdir()
    with VirtualDevice(cli.folder / "second") as second:
        cli.enrol(second.as_device("other", this_machine()))
        asked = (
            *("eval", "--device", "all", "--dataset", TEST, "--model", cli.folder / "out/artifact"),
            *("--package", cli.folder / "out/digits.edgepkg"),
            *("--metric", "f1", "--metric", "top1", "--max-accuracy-drop", "5"),
        )
        done = cli(*asked)
        as_json = cli(*asked, "--json")
    assert done.code == 0, done.err
    for row in (line for line in done.out.splitlines() if "│ bench" in line or "│ other" in line):
        assert "F1" in row and "lost" in row and "Top-1" in row, done.out
    assert done.err.count("samples are needed") == 1
    assert as_json.err.count("samples are needed") == 1
    for each in as_json.json:
        assert [metric["name"] for metric in each["value"]["metrics"]] == ["f1", "top1"]


def test_a_metric_that_is_not_defined_has_a_row_and_its_gate_is_no_pass(cli: Cli) -> None:
    """Every sample of one class: there is no curve to take the area under."""
    with np.load(DIGITS / "digits.npz") as stored:
        name = next(key for key in stored.files if key.startswith("test/") and "label" not in key)
        threes = stored["test/label"] == 3
        images, labels = stored[name][threes][:30], stored["test/label"][threes][:30]
    np.savez(cli.folder / "threes.npz", **{name.partition("/")[2]: images, "label": labels})
    flags = ("--metric", "roc-auc", "--metric", "f1")
    done = evaluate(cli, *flags, dataset="threes.npz")
    assert done.code == 0, done.err
    rows = [line for line in done.out.splitlines() if "ROC-AUC lost" in line]
    assert len(rows) == 1 and "not defined" in rows[0] and "30 samples" in rows[0]
    assert "every sample is of class 3" in " ".join(done.out.split())
    assert "one of its classes has none" not in done.out
    gated = evaluate(cli, *flags, "--max-metric-drop", "roc-auc=1", "--json", dataset="threes.npz")
    (verdict,) = (each for each in gated.json["verdicts"] if each["gate"] == "metric roc-auc")
    assert (verdict["status"], gated.code) == ("not measured", 6)
    assert verdict["reason"] == (
        "it is not defined for these samples: every sample is of class 3, and a curve needs both"
        " kinds"
    )
    assert cli("runs", "show", "last", "--json").json == gated.json


def test_a_float_model_of_other_inputs_is_refused_before_samples_are_run(cli: Cli) -> None:
    net = Network()
    net.dense(net.input("x", (1, 7)), "y", (7, 10))
    net.write(cli.folder / "other.onnx", y=(1, 10))
    np.savez(cli.folder / "other.npz", x=np.zeros((8, 7), np.float32), label=np.zeros(8, np.int64))
    asked = ("eval", "--dataset", "other.npz", "--model", "other.onnx", "--device")
    done = cli(*asked, "bench")
    assert done.code == 2 and "takes inputs of [[1, 7]], and the package digits" in done.err
    cli.enrol(dataclasses.replace(bench_of(cli), name="nobody", port=1))
    unsent = cli(*asked, "nobody", "--package", "out/digits.edgepkg")
    assert unsent.code == 2 and "takes inputs of [[1, 7]], and the package digits" in unsent.err


def bench_of(cli: Cli) -> Device:
    return inventory.get(cli.home / "devices.json", "bench")


def test_a_single_score_is_judged_by_metrics_and_stands_for_no_class(cli: Cli) -> None:
    """Is it a three? One number is the largest of all of them, whatever it is."""
    model = onnx.load(str(DIGITS / "digits.onnx"))
    model.graph.node.append(helper.make_node("Slice", [model.graph.output[0].name, *"abc"], ["it"]))
    for name, value in {"a": 3, "b": 4, "c": 1}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("it", onnx.TensorProto.FLOAT, [1, 1]))
    onnx.save(model, str(cli.folder / "three.onnx"))
    with np.load(DIGITS / "digits.npz") as stored:
        images, labels = stored["test/image"][:200], stored["test/label"][:200]
    np.savez(cli.folder / "threes.npz", image=images, label=(labels == 3).astype(np.int64))
    np.savez(cli.folder / "unlabelled.npz", image=images)

    def deploy(dataset: str, *more: str) -> Done:
        return cli(
            *("deploy", "three.onnx", "--device", "bench", "--calibration", CALIBRATION),
            *("--dataset", dataset, "-o", "three", "--seconds", "0.2", *more),
        )

    refused = deploy("threes.npz")
    assert refused.code == 3 and "is a single score: top-1 is of two or more" in refused.err
    judged = deploy("threes.npz", "--metric", "roc-auc", "--json")
    assert judged.json["accuracy"] is None and judged.json["agreement_percent"] is None
    (metric,) = judged.json["metrics"]
    assert metric["float_value"]["value"] > 99
    plain = deploy("unlabelled.npz")
    assert plain.code == 0, plain.err
    assert "same class" not in plain.out
    assert "is no row of class scores" in (cli.folder / "three" / "report.html").read_text()
    again = cli(
        *("eval", "--device", "bench", "--dataset", "threes.npz", "--metric", "roc-auc"),
        *("--model", "three/artifact", "--json"),
    )
    assert again.code == 0, again.err
    assert again.json["accuracy"] is None
    assert again.json["metrics"][0]["int8_value"] == metric["int8_value"]
