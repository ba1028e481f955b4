"""Facts about reading the graph of an ONNX model, float or quantized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgesdk.errors import ModelError
from edgesdk.models.graph import Graph, GraphOperator, GraphTensor
from edgesdk.models.reading import read_graph
from tests.onnx_networks import Converted, Network, conv_network, edited, value_info


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def tensor(graph: Graph, name: str) -> GraphTensor:
    return next(each for each in graph.tensors if each.name == name)


def operator(graph: Graph, name: str) -> GraphOperator:
    return next(each for each in graph.operators if each.name == name)


def saved(path: Path, net: Network, **outputs: tuple[int | str, ...] | None) -> Graph:
    return read_graph(net.write(path, **outputs))


# Operators


def test_operators_come_in_the_files_order(path: Path) -> None:
    graph = read_graph(conv_network(path))
    assert [(each.index, each.type) for each in graph.operators] == list(
        enumerate(["Conv", "Relu", "Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"])
    )


def test_an_operator_without_a_name_has_its_first_outputs(path: Path) -> None:
    def nameless(proto: onnx.ModelProto) -> None:
        for node in proto.graph.node:
            node.name = ""

    graph = read_graph(edited(conv_network(path), nameless))
    assert graph.operators[0].name == "h_linear"


def test_its_version_is_that_of_the_operator_set_of_its_domain(path: Path) -> None:
    def foreign(proto: onnx.ModelProto) -> None:
        proto.opset_import.append(helper.make_opsetid("acme", 3))
        proto.graph.node[1].domain = "acme"

    graph = read_graph(edited(conv_network(path, opset=19), foreign))
    assert [(each.version, each.domain) for each in graph.operators[:2]] == [(19, ""), (3, "acme")]


def test_attributes_are_plain_values(path: Path) -> None:
    net = Network()
    x = net.input("x", (1, 1, 8, 8))
    net.node("MaxPool", [x], "y", kernel_shape=[2, 2], auto_pad="SAME_UPPER", ceil_mode=1)
    assert saved(path, net, y=None).operators[0].attributes == {
        "kernel_shape": (2, 2),
        "auto_pad": "SAME_UPPER",
        "ceil_mode": 1,
    }


def test_an_input_that_is_not_given_is_minus_one(path: Path) -> None:
    net = Network()
    high = net.constant("high", 6.0)
    net.node("Clip", [net.input("x", (1, 4)), "", high], "y")
    assert saved(path, net, y=(1, 4)).operators[0].inputs[1] == -1


def test_constant_nodes_are_constants_and_keep_their_place(path: Path) -> None:
    net = Network()
    x = net.input("x", (1, 4))
    net.node("Constant", [], "two", value_float=2.0)
    net.node("Mul", [x, "two"], "y")
    graph = saved(path, net, y=(1, 4))
    assert [(each.index, each.type) for each in graph.operators] == [(1, "Mul")]
    assert tensor(graph, "two") == GraphTensor(
        "two", (), "float32", constant=True, size_bytes=4, values=(2.0,)
    )


def test_functions_stand_in_the_graph_as_what_they_hold(path: Path) -> None:
    body = [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Abs", ["b"], ["c"])]
    function = helper.make_function(
        "acme", "NegAbs", ["a"], ["c"], body, [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph(
        [helper.make_node("NegAbs", ["x"], ["y"], domain="acme")],
        "network",
        [value_info("x", (1, 4))],
        [value_info("y", (1, 4))],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    onnx.save(
        helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=10),
        str(path),
    )
    assert [each.type for each in read_graph(path).operators] == ["Neg", "Abs"]


def test_bodies_of_branches_are_not_in_the_graph(path: Path) -> None:
    def branch(kind: str) -> onnx.GraphProto:
        node = helper.make_node(kind, ["x"], [f"{kind}_out"])
        return helper.make_graph([node], kind, [], [value_info(f"{kind}_out", (1, 4))])

    net = Network()
    net.input("x", (1, 4))
    net.input("which", (), "bool")
    net.node("If", ["which"], "y", then_branch=branch("Neg"), else_branch=branch("Abs"))
    graph = saved(path, net, y=(1, 4))
    assert [(each.type, each.attributes) for each in graph.operators] == [("If", {})]


# Tensors


def test_shapes_dtypes_and_sizes_are_inferred(path: Path) -> None:
    found = tensor(read_graph(conv_network(path)), "g")
    assert (found.shape, found.dtype, found.size_bytes) == ((1, 8, 8, 8), "float32", 2048)


def test_the_edge_is_what_a_caller_feeds_and_gets(path: Path) -> None:
    graph = read_graph(conv_network(path))
    assert [str(spec) for spec in graph.inputs] == ["x: float32[1, 3, 8, 8]"]
    assert [str(spec) for spec in graph.outputs] == ["y: float32[1, 5]"]


def test_an_open_dimension_is_minus_one_and_costs_nothing(path: Path) -> None:
    net = Network()
    net.node("Relu", [net.input("x", ("N", 4))], "y")
    graph = saved(path, net, y=None)
    assert graph.inputs[0].shape == (-1, 4)
    assert (tensor(graph, "y").shape, tensor(graph, "y").size_bytes) == ((-1, 4), 0)


def test_a_given_shape_fixes_what_follows_from_it(path: Path) -> None:
    net = Network()
    net.node("Relu", [net.input("x", ("N", 4))], "y")
    graph = read_graph(net.write(path, y=("N", 4)), {"x": (3, 4)})
    assert tensor(graph, "y").shape == (3, 4)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"z": (1, 4)}, "has no input 'z', its inputs are x"),
        ({"x": (1, 5)}, r"input 'x' of net\.onnx is \[N, 4\], which \[1, 5\]"),
    ],
)
def test_a_given_shape_must_fit(path: Path, shapes: dict[str, tuple[int, ...]], words: str) -> None:
    net = Network()
    net.node("Relu", [net.input("x", ("N", 4))], "y")
    net.write(path, y=None)
    with pytest.raises(ModelError, match=words):
        read_graph(path, shapes)


def test_weights_are_constants_with_their_entropy(path: Path) -> None:
    found = tensor(read_graph(conv_network(path)), "g_w")
    assert (found.constant, found.shape, found.size_bytes, found.values) == (
        *(True, (8, 8, 3, 3), 2304),
        (),
    )
    assert found.entropy_bits is not None
    assert 6.5 < found.entropy_bits < 8


def test_weights_of_which_a_few_are_far_larger_hold_little_information(path: Path) -> None:
    net = Network()
    weights = np.random.default_rng(0).normal(size=(64, 64))
    weights[:, 0] *= 1000
    net.node("MatMul", [net.input("x", (1, 64)), net.constant("w", weights.T)], "y")
    entropy = tensor(saved(path, net, y=(1, 64)), "w").entropy_bits
    assert entropy is not None
    assert entropy < 3


def test_external_weights_are_not_read(path: Path) -> None:
    onnx.save(
        onnx.load(str(conv_network(path))),
        str(path),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    (path.parent / "weights.bin").write_bytes(b"")
    found = tensor(read_graph(path), "g_w")
    assert (found.size_bytes, found.entropy_bits) == (2304, None)


def test_a_quantized_model_says_so(path: Path) -> None:
    converted = Converted(conv_network(path))
    assert read_graph(converted.path).is_quantized
    assert not read_graph(path).is_quantized


# Broken files


@pytest.mark.parametrize("kept", [0, 100, 1000])
def test_a_truncated_file_is_refused(path: Path, kept: int) -> None:
    conv_network(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"net\.onnx"):
        read_graph(path)


def test_missing_external_weights_are_named(path: Path) -> None:
    onnx.save(
        onnx.load(str(conv_network(path))),
        str(path),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    (path.parent / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"are in weights\.bin, which is not beside it"):
        read_graph(path)


def test_weights_that_are_cut_short_are_refused(path: Path) -> None:
    def cut(proto: onnx.ModelProto) -> None:
        proto.graph.initializer[2].raw_data = proto.graph.initializer[2].raw_data[:-4]

    with pytest.raises(ModelError, match=r"g_w has 2300 bytes, expected 2304 for \[8, 8, 3, 3\]"):
        read_graph(edited(conv_network(path), cut))


def test_a_tensor_that_nobody_makes_is_refused(path: Path) -> None:
    def rename(proto: onnx.ModelProto) -> None:
        proto.graph.node[1].input[0] = "nowhere"

    with pytest.raises(ModelError, match=r"is not a valid ONNX model: .*nowhere"):
        read_graph(edited(conv_network(path), rename))


def test_shapes_that_contradict_one_another_are_refused(path: Path) -> None:
    net = Network()
    net.node("MatMul", [net.input("x", (1, 4)), net.constant("w", np.ones((5, 2)))], "y")
    net.write(path, y=None)
    with pytest.raises(ModelError, match=r"the shapes of net\.onnx do not fit together"):
        read_graph(path)
