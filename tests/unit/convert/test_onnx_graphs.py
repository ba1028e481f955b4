"""Networks of many kinds: each converts and stays close, or is refused with one clear sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgesdk.convert.backends import onnxruntime as backend
from edgesdk.models.opening import open_model
from tests.onnx_networks import Array, Converted, Network, conv_network, edited, value_info

Build = Callable[[Path], Path]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def transformer(path: Path, opset: int = 17) -> Path:
    """One encoder layer of width 16 with two heads over 8 tokens, and a classifier."""
    net = Network(opset)
    ids, mask = net.input("ids", (1, 8), "int64"), net.input("mask", (1, 8), "int64")

    def dense(source: str, name: str, features: tuple[int, int]) -> str:
        product = net.node("MatMul", [source, net.weights(f"{name}_w", *features)], f"{name}_mm")
        return net.node("Add", [product, net.weights(f"{name}_b", features[1])], name)

    def normal(source: str, name: str) -> str:
        scale, bias = (
            net.constant(f"{name}_s", np.ones(16)),
            net.constant(f"{name}_b", np.zeros(16)),
        )
        return net.node("LayerNormalization", [source, scale, bias], name)

    def heads(source: str) -> str:
        split = net.node(
            "Reshape",
            [source, net.constant(f"{source}_shape", [1, 8, 2, 8], "int64")],
            f"{source}_r",
        )
        return net.node("Transpose", [split], f"{source}_t", perm=[0, 2, 1, 3])

    def gelu(source: str) -> str:
        if opset >= 20:
            return net.node("Gelu", [source], "gelu")
        scaled = net.node("Div", [source, net.constant("sqrt2", 2**0.5)], "scaled_by_sqrt2")
        erf = net.node(
            "Add", [net.node("Erf", [scaled], "erf"), net.constant("one_more", 1)], "erf1"
        )
        return net.node(
            "Mul", [net.node("Mul", [source, erf], "gelu2"), net.constant("half", 0.5)], "gelu"
        )

    embedded = net.node("Gather", [net.weights("words", 50, 16), ids], "embedded")
    placed = net.node("Add", [embedded, net.weights("places", 8, 16)], "placed")
    hidden = normal(placed, "norm0")
    q, k, v = (heads(dense(hidden, name, (16, 16))) for name in "qkv")
    transposed = net.node("Transpose", [k], "kt", perm=[0, 1, 3, 2])
    scores = net.node(
        "Div", [net.node("MatMul", [q, transposed], "qk"), net.constant("root", 2.83)], "scores"
    )
    kept = net.node(
        "Unsqueeze",
        [net.node("Cast", [mask], "kept", to=1), net.constant("ax", [1, 2], "int64")],
        "kept4",
    )
    hole = net.node(
        "Mul",
        [net.node("Sub", [net.constant("one", 1), kept], "left_out"), net.constant("low", -1e4)],
        "hole",
    )
    shares = net.node("Softmax", [net.node("Add", [scores, hole], "masked")], "shares")
    context = net.node(
        "Transpose", [net.node("MatMul", [shares, v], "mixed")], "back", perm=[0, 2, 1, 3]
    )
    joined = net.node("Reshape", [context, net.constant("flat", [1, 8, 16], "int64")], "joined")
    hidden = normal(net.node("Add", [dense(joined, "o", (16, 16)), hidden], "sum1"), "norm1")
    inner = gelu(dense(hidden, "up", (16, 32)))
    hidden = normal(net.node("Add", [dense(inner, "down", (32, 16)), hidden], "sum2"), "norm2")
    first = net.node("Gather", [hidden, net.constant("zero", 0, "int64")], "first", axis=1)
    net.dense(first, "y", (16, 3))
    return net.write(path, y=(1, 3))


def sentences(lengths: list[int]) -> list[dict[str, Array]]:
    random = np.random.default_rng(0)
    return [
        {
            "ids": random.integers(0, 50, (1, 8)),
            "mask": (np.arange(8) < length).astype(np.int64)[np.newaxis],
        }
        for length in lengths
    ]


@pytest.mark.parametrize("opset", [17, 21])
def test_a_transformer_multiplies_in_int8(path: Path, opset: int) -> None:
    converted = Converted(transformer(path, opset), sentences([8] * 16))
    assert converted.precisions()["QLinearMatMul"] == {"int8"}
    assert "MatMul" not in converted.in_float()
    assert converted.in_float() <= {"Div", "Erf", "Gelu", "LayerNormalization", "Sub"}
    assert converted.sqnr_db() > 30


def test_padded_attention_is_accurate_with_its_mask_in_float(path: Path) -> None:
    """A mask of -10000 swallows the range of the scores; keep_float is the way out."""
    samples = sentences([3, 4, 5, 6, 7, 8] * 3)
    converted = Converted(transformer(path), samples, keep_float=("masked", "shares"))
    assert converted.sqnr_db() > 30


def unet(path: Path) -> Path:
    net = Network()
    high = net.conv(net.input("x", (1, 3, 16, 16)), "high", (3, 8))
    low = net.node("MaxPool", [high], "low", kernel_shape=[2, 2], strides=[2, 2])
    low = net.conv(low, "deep", (8, 16))
    up = net.node("ConvTranspose", [low, net.weights("up_w", 16, 8, 2, 2)], "up", strides=[2, 2])
    sizes = net.constant("sizes", [1, 1, 2, 2])
    wide = net.node("Resize", [low, "", sizes], "wide", mode="nearest")
    joined = net.node("Concat", [high, up, wide], "joined", axis=1)
    net.node("Sigmoid", [net.conv(joined, "last", (32, 2))], "y")
    return net.write(path, y=(1, 2, 16, 16))


def depthwise(path: Path) -> Path:
    net = Network()
    h = net.conv(net.input("x", (1, 8, 8, 8)), "h", (8, 8), group=8)
    net.conv(h, "y", (8, 4), kernel=1)
    return net.write(path, y=(1, 4, 8, 8))


def several_edges(path: Path) -> Path:
    net = Network()
    b, a = net.input("b", (1, 3, 8, 8)), net.input("a", (1, 3, 8, 8))
    net.input("unused", (1, 2))
    left, right = net.conv(a, "left", (3, 4)), net.conv(b, "right", (3, 4))
    net.node("Mul", [left, right], "product")
    net.node("Add", [left, right], "sum")
    return net.write(path, sum=(1, 4, 8, 8), product=(1, 4, 8, 8), left=(1, 4, 8, 8))


def one_dimension(path: Path) -> Path:
    net = Network()
    net.node("MatMul", [net.input("x", (16,)), net.weights("w", 16, 4)], "y")
    return net.write(path, y=(4,))


def signal(path: Path) -> Path:
    net = Network()
    h = net.node("Conv", [net.input("x", (1, 4, 32)), net.weights("w", 8, 4, 3)], "h")
    net.node("Relu", [h], "y")
    return net.write(path, y=(1, 8, 30))


def no_batch_axis(path: Path) -> Path:
    net = Network()
    batched = net.node(
        "Unsqueeze", [net.input("x", (3, 8, 8)), net.constant("a", [0], "int64")], "u"
    )
    h = net.conv(batched, "h", (3, 4))
    net.node("Squeeze", [h, net.constant("b", [0], "int64")], "y")
    return net.write(path, y=(4, 8, 8))


def larger_batch(path: Path) -> Path:
    net = Network()
    net.conv(net.input("x", (4, 3, 8, 8)), "y", (3, 4))
    return net.write(path, y=(4, 4, 8, 8))


def folded_normalization(path: Path) -> Path:
    net = Network()
    c = net.node("Conv", [net.input("x", (1, 3, 8, 8)), net.weights("w", 4, 3, 3, 3)], "c")
    statistics = [net.constant(name, np.full(4, value)) for name, value in
                  (("scale", 2), ("bias", 1), ("mean", 0.5), ("variance", 3))]  # fmt: skip
    n = net.node("BatchNormalization", [c, *statistics], "n")
    net.node("Relu", [n], "y")
    return net.write(path, y=(1, 4, 6, 6))


def bytes_in(path: Path) -> Path:
    net = Network()
    real = net.node("Cast", [net.input("x", (1, 3, 8, 8), "uint8")], "real", to=1)
    net.conv(net.node("Mul", [real, net.constant("share", 0.25)], "scaled"), "y", (3, 4))
    return net.write(path, y=(1, 4, 8, 8))


def constant_output(path: Path) -> Path:
    net = Network()
    net.conv(net.input("x", (1, 3, 8, 8)), "y", (3, 4))
    net.constant("anchors", [1, 2, 3])
    return net.write(path, y=(1, 4, 8, 8), anchors=(3,))


def branching(path: Path, condition: Callable[[Network], str]) -> Path:
    """x -> Conv -> (times a constant that only the branches read) -> Conv -> y."""
    net = Network()
    h = net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 4))

    def branch(name: str, factor: float) -> onnx.GraphProto:
        net.constant(f"{name}_factor", factor)
        node = helper.make_node("Mul", [h, f"{name}_factor"], [f"{name}_y"])
        return helper.make_graph([node], name, [], [value_info(f"{name}_y", (1, 4, 8, 8))])

    net.node(
        "If", [condition(net)], "chosen", then_branch=branch("t", 2), else_branch=branch("e", 3)
    )
    net.conv("chosen", "y", (4, 4))
    return net.write(path, y=(1, 4, 8, 8))


def settled_branch(path: Path) -> Path:
    return branching(path, lambda net: net.constant("c", True, "bool"))


def open_branch(path: Path) -> Path:
    return branching(path, lambda net: net.input("c", (), "bool"))


def loop(path: Path) -> Path:
    """x -> Gemm -> doubled three times -> y, whose shape is declared and cannot be inferred."""
    net = Network()
    net.dense(net.input("x", (1, 8)), "h", (8, 8))
    nodes = [
        helper.make_node("Identity", ["go"], ["go_on"]),
        helper.make_node("Add", ["carried", "carried"], ["doubled"]),
    ]
    before = [value_info("turn", (), "int64"), value_info("go", (), "bool")]
    after = [value_info("go_on", (), "bool"), value_info("doubled", (1, 8))]
    before.append(value_info("carried", (1, 8)))
    body = helper.make_graph(nodes, "body", before, after)
    turns, go = net.constant("turns", 3, "int64"), net.constant("always", True, "bool")
    net.node("Loop", [turns, go, "h"], "y", body=body)
    return net.write(path, y=(1, 8))


def recurrent(path: Path) -> Path:
    net = Network()
    weights = [net.input("x", (5, 1, 4)), net.weights("w", 1, 32, 4), net.weights("r", 1, 32, 8)]
    node = helper.make_node("LSTM", weights, ["", "last", ""], name="lstm", hidden_size=8)
    net.graph.node.append(node)
    net.dense(net.node("Squeeze", ["last", net.constant("a", [0], "int64")], "s"), "y", (8, 3))
    return net.write(path, y=(1, 3))


def group_normalization(path: Path) -> Path:
    net = Network(21)
    h = net.conv(net.input("x", (1, 4, 8, 8)), "h", (4, 4))
    scale, bias = net.constant("s", np.ones(4)), net.constant("b", np.zeros(4))
    n = net.node("GroupNormalization", [h, scale, bias], "n", num_groups=2)
    net.conv(n, "y", (4, 4))
    return net.write(path, y=(1, 4, 8, 8))


def function_of_its_own(path: Path) -> Path:
    def wrap(proto: onnx.ModelProto) -> None:
        body = [helper.make_node("Relu", ["X"], ["Y"])]
        opsets = [helper.make_opsetid("", 17)]
        proto.functions.append(helper.make_function("own", "Act", ["X"], ["Y"], body, opsets))
        proto.opset_import.append(helper.make_opsetid("own", 1))
        for node in proto.graph.node:
            if node.op_type == "Relu":
                node.op_type, node.domain = "Act", "own"

    return edited(conv_network(path), wrap)


def constants_among_the_inputs(path: Path) -> Path:
    def list_them(proto: onnx.ModelProto) -> None:
        proto.ir_version = 3
        for tensor in proto.graph.initializer:
            proto.graph.input.append(value_info(tensor.name, tuple(tensor.dims)))

    return edited(conv_network(path, 11), list_them)


def equal_names(path: Path) -> Path:
    def rename(proto: onnx.ModelProto) -> None:
        for node in proto.graph.node:
            node.name = "same"

    return edited(conv_network(path), rename)


def names_that_would_be_given(path: Path) -> Path:
    def rename(proto: onnx.ModelProto) -> None:
        for node in proto.graph.node:
            node.name = ""
        proto.graph.node[2].name = "Conv_0"

    return edited(conv_network(path), rename)


IN_FLOAT: dict[Build, set[str]] = {
    conv_network: set(),
    unet: {"ConvTranspose"},
    depthwise: set(),
    several_edges: set(),
    one_dimension: set(),
    signal: set(),
    no_batch_axis: set(),
    larger_batch: set(),
    folded_normalization: set(),
    bytes_in: set(),
    constant_output: set(),
    settled_branch: set(),
    open_branch: {"If"},
    loop: {"Loop"},
    recurrent: {"LSTM"},
    group_normalization: {"Div", "ReduceMean", "Sqrt", "Sub"},
    function_of_its_own: set(),
    constants_among_the_inputs: set(),
    equal_names: set(),
    names_that_would_be_given: set(),
}


@pytest.mark.parametrize("build", IN_FLOAT, ids=lambda build: str(build.__name__))
def test_a_network_converts_and_stays_close(path: Path, build: Build) -> None:
    converted = Converted(build(path))
    assert converted.in_float() == IN_FLOAT[build]
    assert converted.sqnr_db() > 25


@pytest.mark.parametrize("build", IN_FLOAT, ids=lambda build: str(build.__name__))
def test_the_edge_stays_as_it_is(path: Path, build: Build) -> None:
    converted = Converted(build(path))
    ports = (*converted.description.inputs, *converted.description.outputs)
    specs = (*converted.model.inputs, *converted.model.outputs)
    assert [(p.name, p.shape, p.dtype) for p in ports] == [
        (s.name, s.shape, s.dtype) for s in specs
    ]


@pytest.mark.parametrize("build", IN_FLOAT, ids=lambda build: str(build.__name__))
def test_what_is_float_has_a_reason_and_nothing_else_has(path: Path, build: Build) -> None:
    for operator in Converted(build(path)).description.operators:
        assert operator.precision in ("int8", "float32", "-")
        assert bool(operator.reason) == (operator.precision == "float32")


@pytest.mark.parametrize("build", [equal_names, names_that_would_be_given])
def test_every_operator_gets_a_name_of_its_own(path: Path, build: Build) -> None:
    names = [node.name for node in onnx.load(str(Converted(build(path)).float_path)).graph.node]
    assert len(set(names)) == len(names)
    assert all(names)


def test_a_given_name_does_not_take_one_that_is_there(path: Path) -> None:
    converted = Converted(names_that_would_be_given(path))
    names = [node.name for node in onnx.load(str(converted.float_path)).graph.node]
    assert names[:3] == ["Conv_0_", "Relu_1", "Conv_0"]


def test_names_that_are_there_stay(path: Path) -> None:
    before = [node.name for node in onnx.load(str(conv_network(path))).graph.node]
    after = onnx.load(str(Converted(path).float_path)).graph.node
    assert [node.name for node in after] == before


def test_a_transposed_convolution_is_reported(path: Path) -> None:
    reasons = {o.type: o.reason for o in Converted(unet(path)).description.operators}
    assert reasons["ConvTranspose"] == (
        "ONNX Runtime has no INT8 kernel that takes ConvTranspose as it stands here"
    )


def test_all_of_a_network_without_int8_kernels_is_float(path: Path) -> None:
    net = Network()
    net.node("Erf", [net.input("x", (1, 3))], "y")
    converted = Converted(net.write(path, y=(1, 3)))
    assert converted.precisions() == {"Erf": {"float32"}}
    assert backend.compare(converted.float_path, converted.path, converted.samples) == ()


def test_a_classifier_that_ends_in_argmax_keeps_its_integers(path: Path) -> None:
    net = Network()
    net.node("ArgMax", [net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 4))], "y", axis=1)
    onnx.save(net.model({"y": (1, 1, 8, 8)}, "int64"), str(path))
    assert [port.dtype for port in Converted(path).description.outputs] == ["int64"]


def test_half_precision_opens_for_planning_to_refuse(path: Path) -> None:
    net = Network()
    net.node("Relu", [net.input("x", (1, 3), "float16")], "y")
    onnx.save(net.model({"y": (1, 3)}, "float16"), str(path))
    assert open_model(path).inputs[0].dtype == "float16"
