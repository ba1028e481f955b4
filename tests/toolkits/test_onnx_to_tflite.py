"""ONNX to TFLite with onnx2tf, in an environment of its own that the first test makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesdk.errors import ConversionError
from edgesdk.models.agreement import TOLERANCE
from tests.toolkits.checks import cross, skip_without

skip_without("onnxruntime", "onnx")
skip_without("ai_edge_litert", "litert")
pytestmark = [pytest.mark.network, pytest.mark.timeout(1800)]


def _weight(name: str, *shape: int) -> onnx.TensorProto:
    chance = np.random.default_rng(len(name))
    return numpy_helper.from_array(chance.standard_normal(shape).astype(np.float32) / 3, name)


def _save(path: Path, nodes: list, inputs: dict, outputs: dict, weights: list) -> Path:
    edge = [
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in each.items()
        ]
        for each in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "net", *edge, weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
        str(path),
    )
    return path


def network(path: Path, batch: int | str = 1) -> Path:
    """Convolution, depthwise, residual and dense; NCHW; two inputs, two outputs out of order."""
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c2", "w3"], ["c3"]),
        helper.make_node("Add", ["r1", "c3"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Concat", ["flat", "extra"], ["both"], axis=1),
        helper.make_node("Gemm", ["both", "w4"], ["logits"]),
    ]
    weights = [
        *(_weight("w1", 8, 3, 3, 3), _weight("w2", 8, 1, 3, 3)),
        *(_weight("w3", 8, 8, 1, 1), _weight("w4", 15, 5)),
    ]
    inputs = {"image": [batch, 3, 16, 16], "extra": [batch, 7]}
    return _save(path, nodes, inputs, {"logits": [batch, 5], "map": [batch, 8, 8, 8]}, weights)


def test_a_network_comes_across_with_its_channels_first(tmp_path: Path) -> None:
    crossing = cross(network(tmp_path / "net.onnx"), "tflite", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_an_open_batch_is_what_the_user_fixed_it_to(tmp_path: Path) -> None:
    shapes = {"image": (2, 3, 16, 16), "extra": (2, 7)}
    crossing = cross(network(tmp_path / "net.onnx", "N"), "tflite", tmp_path, shapes)
    assert [spec.shape for spec in crossing.model.inputs] == [(2, 3, 16, 16), (2, 7)]
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_images_of_other_sizes_than_squares_keep_their_axes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Softmax", ["t"], ["y"], axis=1),
    ]
    path = _save(
        tmp_path / "axes.onnx",
        nodes,
        {"x": [1, 3, 9, 6]},
        {"y": [1, 7, 4, 4]},
        [_weight("w", 4, 3, 3, 3)],
    )
    crossing = cross(path, "tflite", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_outputs_keep_their_channels_first(tmp_path: Path) -> None:
    """Where sizes are all the same, only the numbers can show that the axes moved."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "w2"], ["cube"]),
        helper.make_node("Tanh", ["cube"], ["map"]),
    ]
    weights = [_weight("w1", 4, 3, 3, 3), _weight("w2", 8, 4, 1, 1)]
    sizes = {"cube": [1, 8, 8, 8], "map": [1, 8, 8, 8]}
    path = _save(tmp_path / "cube.onnx", nodes, {"x": [1, 3, 8, 8]}, sizes, weights)
    crossing = cross(path, "tflite", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_a_mask_of_one_channel_keeps_its_axes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Sigmoid", ["c"], ["mask"]),
    ]
    weights = [_weight("w", 1, 3, 1, 1)]
    sizes = {"mask": [1, 1, 8, 6]}
    path = _save(tmp_path / "mask.onnx", nodes, {"x": [1, 3, 8, 6]}, sizes, weights)
    crossing = cross(path, "tflite", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_an_output_that_is_used_inside_too_is_computed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Add", ["c", "c"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
    ]
    sizes = {"r": [1, 4, 8, 8], "s": [1, 4, 8, 8], "p": [1, 4, 1, 1]}
    weights = [_weight("w", 4, 3, 1, 1)]
    path = _save(tmp_path / "inside.onnx", nodes, {"x": [1, 3, 8, 8]}, sizes, weights)
    crossing = cross(path, "tflite", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_names_of_any_kind_come_across(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["input:0", "w:0"], ["a b/c[0]"], name="n o"),
        helper.make_node("Relu", ["a b/c[0]"], ["out:0"], name="n"),
        helper.make_node("Add", ["out:0", "in_0"], ["in_1"], name="n_1"),
    ]
    path = _save(
        tmp_path / "names.onnx",
        nodes,
        {"in_0": [1, 4, 8, 8], "input:0": [1, 3, 8, 8]},
        {"in_1": [1, 4, 8, 8], "out:0": [1, 4, 8, 8]},
        [_weight("w:0", 4, 3, 1, 1)],
    )
    crossing = cross(path, "tflite", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_outputs_of_few_dimensions_come_across(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axes"], ["one"], keepdims=0),
        helper.make_node("ReduceMax", ["one"], ["most"], keepdims=0),
    ]
    axes = numpy_helper.from_array(np.array([0], np.int64), "axes")
    path = _save(
        tmp_path / "few.onnx",
        nodes,
        {"x": [2, 3]},
        {"rows": [2, 5], "one": [5], "most": []},
        [_weight("w", 3, 5), axes],
    )
    crossing = cross(path, "tflite", tmp_path)
    assert crossing.keeps_the_edge()
    assert crossing.agreement.max_relative_error < TOLERANCE / 100


def test_the_operator_that_tflite_lacks_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Det", ["x"], ["y"])
    path = _save(tmp_path / "det.onnx", [node], {"x": [1, 4, 4]}, {"y": [1]}, [])
    with pytest.raises(ConversionError, match="holds ONNX_DET, which is no operator"):
        cross(path, "tflite", tmp_path)


def test_the_second_model_finds_the_environment_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cross(network(tmp_path / "net.onnx"), "tflite", tmp_path)
    monkeypatch.setattr("edgesdk.environments._build", _not_again)
    cross(network(tmp_path / "net.onnx"), "tflite", tmp_path)


def _not_again(*_: object) -> None:
    raise AssertionError("it is made a second time")
