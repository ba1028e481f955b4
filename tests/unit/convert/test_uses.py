"""Facts about who reads a model's constants, and what for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgesdk.convert.uses import with_readers
from edgesdk.models.reading import read_graph
from edgesdk.values.artifact import Reader, TensorSize
from tests.onnx_networks import Converted, Network, conv_network
from tests.unit.convert import litert_networks as tflite
from tests.unit.convert import test_openvino as openvino


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def words(path: Path, axis: int = 0, transposed: bool = True) -> Path:
    """ids (1, 6) -> rows of a table -> their mean -> a layer y."""
    net = Network()
    net.weights("table", *((40, 16) if axis == 0 else (16, 40)))
    found = net.node("Gather", ["table", net.input("ids", (6,), "int64")], "found", axis=axis)
    mean = net.node("ReduceMean", [found], "mean", axes=[axis], keepdims=1)
    flat = net.node("Reshape", [mean, net.constant("shape", [1, 16], "int64")], "flat")
    if transposed:
        net.dense(flat, "y", (16, 24))
    else:
        net.node("MatMul", [flat, net.weights("y_w", 16, 24)], "y")
    return net.write(path, y=(1, 24))


def readers(converted: Converted) -> dict[str, tuple[Reader, ...]]:
    graph = read_graph(converted.path)
    return {
        size.name: size.readers for size in with_readers(converted.description.tensor_sizes, graph)
    }


def test_a_table_is_known_by_who_looks_rows_up_in_it(path: Path) -> None:
    assert readers(Converted(words(path)))["table_quantized"] == (
        Reader("Gather", "found", "table", 0),
    )


def test_rows_may_lie_along_another_axis(path: Path) -> None:
    assert readers(Converted(words(path, axis=1)))["table_quantized"][0].axis == 1


def test_weights_are_known_by_their_layer_and_its_output_units(path: Path) -> None:
    assert readers(Converted(words(path)))["y_w_quantized"] == (Reader("Gemm", "y", "dense", 0),)


def test_of_a_plain_product_the_output_units_come_last(path: Path) -> None:
    found = readers(Converted(words(path, transposed=False)))["y_w_quantized"]
    assert found == (Reader("MatMul", "y", "dense", 1),)


def test_weights_of_a_convolution_have_no_such_use(path: Path) -> None:
    found = readers(Converted(conv_network(path)))["h_w_quantized"]
    assert [(each.type, each.use, each.axis) for each in found] == [("Conv", "", None)]


def test_a_constant_with_two_readers_names_both(path: Path) -> None:
    net = Network()
    x = net.input("x", (1, 16))
    net.weights("w", 16, 16)
    h = net.node("MatMul", [x, "w"], "h")
    net.node("MatMul", [h, "w"], "y")
    path = net.write(path, y=(1, 16))
    size = TensorSize("w", "constant", "float32", (16, 16), 1024)
    (found,) = with_readers([size], read_graph(path))
    assert [each.name for each in found.readers] == ["h", "y"]


def test_activations_have_no_readers(path: Path) -> None:
    converted = Converted(words(path))
    sizes = with_readers(converted.description.tensor_sizes, read_graph(converted.path))
    assert all(size.readers == () for size in sizes if size.kind == "activation")


@pytest.mark.parametrize(("kind", "precision"), [("GATHER", "w8a8"), ("EMBEDDING_LOOKUP", "fp16")])
def test_a_tflite_table_is_found_through_what_widens_it(
    tmp_path: Path, kind: str, precision: str
) -> None:
    net = tflite.Network()
    ids = net.input("ids", (6,), "int32")
    table = net.constant("table", np.ones((40, 16), np.float32))
    options = schema.GatherOptionsT(axis=0) if kind == "GATHER" else None
    inputs = [table, ids] if kind == "GATHER" else [ids, table]
    found = net.operator(kind, inputs, "found", (6, 16), options)
    weights = net.constant("w", np.ones((24, 16), np.float32))
    bias = net.constant("b", np.zeros(24, np.float32))
    layer = schema.FullyConnectedOptionsT()
    y = net.operator("FULLY_CONNECTED", [found, weights, bias], "y", (6, 24), layer)
    converted = tflite.Converted(
        net.write(tmp_path / "net.tflite", y), precision=precision, io="float32"
    )
    graph = read_graph(converted.path)
    sizes = {each.name: each for each in with_readers(converted.description.tensor_sizes, graph)}
    assert sizes["table"].readers == (Reader(kind, "found", "table", 0),)
    (layer_reader,) = sizes["w"].readers
    assert (layer_reader.type, layer_reader.use, layer_reader.axis) == (
        "FULLY_CONNECTED",
        "dense",
        0,
    )


@pytest.mark.parametrize("keep_float", [(), ("found",)])
def test_openvino_says_it_of_its_own_models(path: Path, keep_float: tuple[str, ...]) -> None:
    sizes = openvino.Converted(words(path), keep_float=keep_float).description.tensor_sizes
    uses = {size.shape: size.readers for size in sizes if size.kind == "constant"}
    assert uses[40, 16] == (Reader("Gather", "found", "table", 0),)
    assert uses[24, 16] == (Reader("MatMul", "y", "dense", 0),)
