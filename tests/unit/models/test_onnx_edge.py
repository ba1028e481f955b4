"""The file that converters are given: an edge they cannot spoil."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesdk.models.formats.onnx_edge import write_fixed

ort = pytest.importorskip(
    "onnxruntime", reason='needs onnxruntime: pip install "edgesdk[onnxruntime]"'
)

X = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4) - 9


def value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def write(
    path: Path, nodes: list, inputs: list, outputs: list, weights: list | None = None
) -> Path:
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights or [])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def fixed(path: Path, shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    output = path.with_name("fixed.onnx")
    write_fixed(path, shapes, output)
    return onnx.load(str(output))


def network(path: Path) -> Path:
    """s = side:1 + x, r = relu(s); both are outputs, and an inner value is called in_0."""
    nodes = [
        helper.make_node("Abs", ["x"], ["in_0"], name="n"),
        helper.make_node("Add", ["side:1", "in_0"], ["s"], name="n"),
        helper.make_node("Relu", ["s"], ["r"], name="n_1"),
    ]
    shape = X.shape
    return write(
        path,
        nodes,
        [value("side:1", *shape), value("x", *shape)],
        [value("r", *shape), value("s", *shape)],
    )


SHAPES = {"side:1": X.shape, "x": X.shape}


def test_names_are_plain_and_in_order(tmp_path: Path) -> None:
    graph = fixed(network(tmp_path / "m.onnx"), SHAPES).graph
    assert [each.name for each in graph.input] == ["in_0", "in_1"]
    assert [each.name for each in graph.output] == ["out_0", "out_1"]


def test_operators_have_names_of_their_own(tmp_path: Path) -> None:
    graph = fixed(network(tmp_path / "m.onnx"), SHAPES).graph
    assert [node.name for node in graph.node] == ["n", "n_2", "n_1", "out_0", "out_1"]


def test_it_computes_the_same_flat(tmp_path: Path) -> None:
    proto = fixed(network(tmp_path / "m.onnx"), SHAPES)
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    relu, total = session.run(["out_0", "out_1"], {"in_0": 2 * X, "in_1": X})
    np.testing.assert_array_equal(total, (2 * X + abs(X)).ravel())
    np.testing.assert_array_equal(relu, np.maximum(2 * X + abs(X), 0).ravel())


def test_an_output_of_one_dimension_gets_two(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [value("x", 5)],
        [value("y", 5)],
    )
    (output,) = fixed(path, {"x": (5,)}).graph.output
    assert [dim.dim_value for dim in output.type.tensor_type.shape.dim] == [1, 5]


def test_weights_that_old_files_list_as_inputs_are_none(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((1, 2), np.float32), "w")
    path = write(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [value("w", 1, 2), value("x", 1, 2)],
        [value("y", 1, 2)],
        [weight],
    )
    assert [each.name for each in fixed(path, {"x": (1, 2)}).graph.input] == ["in_0"]
