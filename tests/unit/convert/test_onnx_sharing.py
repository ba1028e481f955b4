"""Constants that several operators read: each target converts them, and floats are stored once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgesdk.convert.backends.onnx_rewrites import rewritten
from edgesdk.convert.backends.onnx_sharing import store_equal_floats_once
from edgesdk.convert.backends.onnx_toolkit import preprocessed
from tests.onnx_networks import Converted, Network, value_info
from tests.unit.convert.tensorrt_networks import ForTensorRt

Build = Callable[[Path], Path]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def siamese(path: Path, width: int = 8) -> Path:
    """Two inputs through one Gemm, and how far they are from each other."""
    net = Network()
    w, b = net.weights("w", width, width), net.weights("b", width)
    left = net.node("Gemm", [net.input("left", (1, width)), w, b], "l")
    right = net.node("Gemm", [net.input("right", (1, width)), w, b], "r")
    net.node("Sub", [left, right], "y")
    return net.write(path, y=(1, width))


def shared_head(path: Path) -> Path:
    net = Network()
    x, w = net.input("x", (1, 8, 8, 8)), net.weights("w", 8, 2, 3, 3)
    small = net.node("MaxPool", [x], "small", kernel_shape=[2, 2], strides=[2, 2])
    for name, source in (("near", x), ("far", small)):
        net.node("Conv", [source, w], name, pads=[1] * 4, group=4)
    return net.write(path, near=(1, 8, 8, 8), far=(1, 8, 4, 4))


def tied_embeddings(path: Path) -> Path:
    net = Network()
    words = net.weights("words", 10, 8)
    found = net.node("Gather", [words, net.input("ids", (4,), "int64")], "found")
    net.node("Gemm", [found, words], "y", transB=1)
    return net.write(path, y=(4, 10))


def shared_product(path: Path) -> Path:
    net = Network()
    w = net.weights("w", 8, 8)
    first = net.node("MatMul", [net.input("x", (1, 8)), w], "first")
    net.node("MatMul", [net.node("Relu", [first], "h"), w], "y")
    return net.write(path, y=(1, 8))


def shared_normalization(path: Path) -> Path:
    net = Network()
    scale, bias = net.weights("s", 4), net.weights("b", 4)
    h = net.conv(net.input("x", (1, 4, 8, 8)), "h", (4, 4))
    n = net.node("InstanceNormalization", [h, scale, bias], "n")
    g = net.conv(n, "g", (4, 4))
    net.node("InstanceNormalization", [g, scale, bias], "y")
    return net.write(path, y=(1, 4, 8, 8))


def bias_and_operand(path: Path) -> Path:
    """Of int32 for the one, of uint8 for the other."""
    net = Network()
    b = net.weights("b", 8)
    h = net.node("Conv", [net.input("x", (1, 8, 4, 4)), net.weights("w", 8, 8, 1, 1), b], "h")
    net.node("Add", [net.node("Transpose", [h], "t", perm=[0, 2, 3, 1]), b], "y")
    return net.write(path, y=(1, 4, 4, 8))


IN_FLOAT: dict[Build, set[str]] = {
    siamese: {"Sub"},
    shared_head: {"MaxPool"},
    tied_embeddings: set(),
    shared_product: set(),
    shared_normalization: {"InstanceNormalization"},
    bias_and_operand: set(),
}


@pytest.mark.parametrize("build", IN_FLOAT, ids=lambda build: str(build.__name__))
def test_a_shared_weight_converts_and_stays_close(path: Path, build: Build) -> None:
    converted = Converted(build(path))
    assert converted.in_float() == IN_FLOAT[build]
    assert converted.sqnr_db() > 30


def test_a_shared_weight_converts_for_tensorrt(path: Path) -> None:
    converted = ForTensorRt(siamese(path))
    assert converted.sqnr_db(converted.samples) > 30


def test_the_htp_gets_no_shared_weight(path: Path) -> None:
    from edgesdk.convert.backends.qualcomm.quantizing import ready

    weights = [node.input[1] for node in ready(siamese(path)).graph.node if node.op_type == "Gemm"]
    assert weights == ["w", "w_of_r"]


def test_the_first_reader_keeps_the_name_and_the_values_are_the_same(path: Path) -> None:
    model = rewritten(preprocessed(siamese(path)))
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert set(values) == {"w", "b", "w_of_r", "b_of_r"}
    np.testing.assert_array_equal(values["w"], values["w_of_r"])


def test_a_name_that_is_there_is_not_given_again(path: Path) -> None:
    net = Network()
    w, x = net.weights("w", 8, 8), net.input("x", (1, 8))
    first = net.node("MatMul", [x, w], "w_of_r")
    net.node("MatMul", [first, w], "y", name="r")
    model = rewritten(preprocessed(net.write(path, y=(1, 8))))
    assert {tensor.name for tensor in model.graph.initializer} == {"w", "w_of_r_"}


def test_the_float_reference_has_one(path: Path) -> None:
    reference = onnx.load(str(Converted(siamese(path)).float_path))
    assert {tensor.name for tensor in reference.graph.initializer} == {"w", "b"}


def test_a_constant_that_a_branch_reads_stays_float(path: Path) -> None:
    """The branch alone has it under its name."""
    net = Network()
    h = net.conv(net.input("x", (1, 4, 8, 8)), "h", (4, 4))

    def branch(name: str) -> onnx.GraphProto:
        node = helper.make_node("Conv", [h, "g_w"], [f"{name}_y"], pads=[1] * 4)
        return helper.make_graph([node], name, [], [value_info(f"{name}_y", (1, 4, 8, 8))])

    condition = net.input("c", (), "bool")
    net.conv(h, "g", (4, 4))
    branches = {"then_branch": branch("t"), "else_branch": branch("e")}
    net.node("Add", ["g", net.node("If", [condition], "chosen", **branches)], "y")
    converted = Converted(net.write(path, y=(1, 4, 8, 8)))
    assert converted.in_float() == {"If"}
    assert converted.sqnr_db() > 25


# Stored once


def test_what_is_quantized_stays_apart(path: Path) -> None:
    converted = Converted(siamese(path))
    before = [tensor.name for tensor in converted.proto.graph.initializer]
    store_equal_floats_once(converted.proto)
    assert [tensor.name for tensor in converted.proto.graph.initializer] == before


def test_a_shared_weight_in_int8_is_smaller_than_one_in_float(path: Path) -> None:
    converted = Converted(siamese(path, 128))
    assert converted.path.stat().st_size < 0.65 * converted.float_path.stat().st_size


def test_floats_that_are_not_quantized_are_stored_once(path: Path) -> None:
    model = rewritten(preprocessed(siamese(path)))
    store_equal_floats_once(model)
    assert {tensor.name for tensor in model.graph.initializer} == {"w", "b"}


def test_what_only_a_branch_reads_stays(path: Path) -> None:
    net = Network()
    x = net.input("x", (2,))

    def branch(name: str) -> onnx.GraphProto:
        net.constant(f"{name}_factor", [2, 2])
        node = helper.make_node("Mul", [x, f"{name}_factor"], [f"{name}_y"])
        return helper.make_graph([node], name, [], [value_info(f"{name}_y", (2,))])

    condition = net.input("c", (), "bool")
    net.node("Add", [x, net.constant("k", [2, 2])], "z")
    net.node("If", [condition], "h", then_branch=branch("t"), else_branch=branch("e"))
    net.node("Add", ["h", "t_factor"], "y")
    model = net.model({"y": (2,), "z": (2,)})
    store_equal_floats_once(model)
    assert {tensor.name for tensor in model.graph.initializer} == {"k", "t_factor", "e_factor"}
