"""The graph of a TFLite file: what is in it, old and new, and nothing worse than an error."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgesdk.errors import ModelError
from edgesdk.models.graph import SMALL_CONSTANT, Graph
from edgesdk.models.reading import read_graph
from tests.unit.convert.edgetpu_files import chain, int8
from tests.unit.convert.litert_networks import Network, conv_network


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.tflite"


def test_an_operator_has_its_type_version_and_name(path: Path) -> None:
    def edit(model: schema.ModelT) -> None:
        model.operatorCodes[0].version = 3

    (operator,) = read_graph(conv_network(path, edit)).operators
    assert (operator.type, operator.version, operator.name) == ("CONV_2D", 3, "y")
    assert operator.domain == ""


def test_options_have_the_schemas_names_in_snake_case(path: Path) -> None:
    (operator,) = read_graph(conv_network(path)).operators
    assert operator.attributes["stride_w"] == 1
    assert operator.attributes["dilation_h_factor"] == 1


def test_enumerated_options_are_words(path: Path) -> None:
    (operator,) = read_graph(conv_network(path)).operators
    assert operator.attributes["fused_activation_function"] == "RELU"
    assert operator.attributes["padding"] == "SAME"


def test_lists_are_tuples(path: Path) -> None:
    net = Network()
    x = net.input("x", (1, 1, 4))
    y = net.operator("SQUEEZE", [x], "y", (4,), schema.SqueezeOptionsT(squeezeDims=[0, 1]))
    (operator,) = read_graph(net.write(path, y)).operators
    assert operator.attributes["squeeze_dims"] == (0, 1)


@pytest.mark.parametrize(
    ("new", "old"), [(0, 3), (3, 3), (3, 0)], ids=["toco", "both", "new field alone"]
)
def test_the_larger_of_both_operator_codes_counts(path: Path, new: int, old: int) -> None:
    def edit(model: schema.ModelT) -> None:
        model.operatorCodes[0].builtinCode = new
        model.operatorCodes[0].deprecatedBuiltinCode = old

    assert read_graph(conv_network(path, edit)).operators[0].type == "CONV_2D"


def test_a_custom_operator_goes_by_its_own_name(path: Path) -> None:
    def edit(model: schema.ModelT) -> None:
        code = model.operatorCodes[0]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"TFLite_Detection_PostProcess"

    (operator,) = read_graph(conv_network(path, edit)).operators
    assert (operator.type, operator.domain) == ("TFLite_Detection_PostProcess", "custom")


def test_a_code_that_this_schema_does_not_know_has_its_number(path: Path) -> None:
    def edit(model: schema.ModelT) -> None:
        model.operatorCodes[0].builtinCode = 9999

    assert read_graph(conv_network(path, edit)).operators[0].type == "operator 9999"


def test_constants_are_told_from_activations(path: Path) -> None:
    graph = read_graph(conv_network(path))
    assert {tensor.name for tensor in graph.tensors if tensor.constant} == {"y/w", "y/b"}


def test_sizes_are_in_bytes(path: Path) -> None:
    sizes = {tensor.name: tensor.size_bytes for tensor in read_graph(conv_network(path)).tensors}
    assert sizes == {"x": 8 * 8 * 3 * 4, "y/w": 8 * 3 * 3 * 3 * 4, "y/b": 8 * 4, "y": 8 * 8 * 8 * 4}


def test_an_empty_buffer_is_no_constant(path: Path) -> None:
    """Old converters give every activation a buffer of its own, with nothing in it."""

    def edit(model: schema.ModelT) -> None:
        model.buffers.append(schema.BufferT(data=np.zeros(0, np.uint8)))
        model.subgraphs[0].tensors[0].buffer = len(model.buffers) - 1

    graph = read_graph(conv_network(path, edit))
    assert not next(tensor for tensor in graph.tensors if tensor.name == "x").constant


def constant_graph(path: Path, count: int, dtype: str = "int32") -> Graph:
    net = Network()
    x = net.input("x", (count,), dtype)
    c = net.constant("c", np.arange(count).astype(dtype))
    return read_graph(net.write(path, net.operator("ADD", [x, c], "y", (count,), dtype=dtype)))


def test_values_of_small_constants_are_there(path: Path) -> None:
    values = next(t.values for t in constant_graph(path, 3).tensors if t.name == "c")
    assert values == (0, 1, 2)


def test_values_of_large_constants_are_not(path: Path) -> None:
    graph = constant_graph(path, SMALL_CONSTANT + 1)
    assert next(t.values for t in graph.tensors if t.name == "c") == ()


def test_large_float_weights_have_their_entropy(path: Path) -> None:
    weights = next(t for t in read_graph(conv_network(path)).tensors if t.name == "y/w")
    assert weights.entropy_bits is not None
    assert 4 < weights.entropy_bits < 8


def test_a_float_model_is_not_quantized(path: Path) -> None:
    assert not read_graph(conv_network(path)).is_quantized


def test_a_quantized_model_is(path: Path) -> None:
    assert read_graph(chain(path, ["RELU"])).is_quantized


def test_inputs_and_outputs_have_the_signatures_names_beside_their_own(path: Path) -> None:
    def edit(model: schema.ModelT) -> None:
        graph = model.subgraphs[0]
        item = schema.TensorMapT(name=b"image", tensorIndex=graph.inputs[0])
        model.signatureDefs = [schema.SignatureDefT(inputs=[item], outputs=[])]

    (spec,) = read_graph(conv_network(path, edit)).inputs
    assert (spec.name, spec.alias, spec.shape, spec.dtype) == (
        "x",
        "image",
        (1, 8, 8, 3),
        "float32",
    )


def test_only_the_first_subgraph_is_read(path: Path) -> None:
    def edit(model: schema.ModelT) -> None:
        model.subgraphs.append(schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[]))

    assert len(read_graph(conv_network(path, edit)).operators) == 1


def open_network(path: Path, signature: list[int]) -> Path:
    def edit(model: schema.ModelT) -> None:
        model.subgraphs[0].tensors[0].shapeSignature = signature

    return conv_network(path, edit)


def test_an_open_batch_has_the_size_the_file_gives_it(path: Path) -> None:
    assert read_graph(open_network(path, [-1, 8, 8, 3])).inputs[0].shape == (1, 8, 8, 3)


def test_any_other_open_dimension_is_open(path: Path) -> None:
    assert read_graph(open_network(path, [1, -1, -1, 3])).inputs[0].shape == (1, -1, -1, 3)


def test_input_shapes_fix_what_follows_from_them(path: Path) -> None:
    graph = read_graph(open_network(path, [1, -1, -1, 3]), {"x": (1, 16, 12, 3)})
    assert graph.inputs[0].shape == (1, 16, 12, 3)
    assert graph.outputs[0].shape == (1, 16, 12, 8)
    assert next(t.size_bytes for t in graph.tensors if t.name == "y") == 16 * 12 * 8 * 4


def test_input_shapes_of_an_input_that_is_not_there_are_refused(path: Path) -> None:
    with pytest.raises(ModelError, match="no input 'z', its inputs are x"):
        read_graph(conv_network(path), {"z": (1, 8, 8, 3)})


def test_input_shapes_that_the_network_does_not_take_are_refused(path: Path) -> None:
    with pytest.raises(ModelError, match="does not take"):
        read_graph(conv_network(path), {"x": (1, 8, 8, 4)})


def test_another_format_is_named(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 not a model at all")
    with pytest.raises(ModelError, match="is not a TFLite model"):
        read_graph(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_broken(path: Path, share: float) -> None:
    content = conv_network(path).read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match="is broken"):
        read_graph(path)


def test_random_bytes_behind_the_identifier_are_broken(path: Path) -> None:
    dice = random.Random(2)
    for _ in range(50):
        path.write_bytes(dice.randbytes(4) + b"TFL3" + dice.randbytes(500))
        with pytest.raises(ModelError, match="is broken"):
            read_graph(path)


def test_flipped_bytes_are_an_error_or_another_graph(path: Path) -> None:
    whole = conv_network(path).read_bytes()
    dice = random.Random(3)
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(dice.choice((1, 2, 10))):
            content[dice.randrange(len(content))] = dice.choice((0, 255, 127, dice.randrange(256)))
        path.write_bytes(bytes(content))
        try:
            read_graph(path)
        except ModelError as error:
            assert "broken" in error.message or "not a TFLite" in error.message


def test_a_large_file_is_read_at_once(path: Path) -> None:
    net = Network()
    weights = np.random.default_rng(0).normal(size=(1000, 8000)).astype(np.float32)
    x = net.input("x", (1, 8000))
    net.write(
        path, net.operator("FULLY_CONNECTED", [x, net.constant("w", weights)], "y", (1, 1000))
    )
    started = time.process_time()
    read_graph(path)
    assert time.process_time() - started < 1.0


def test_scales_make_a_tensor_quantized(path: Path) -> None:
    net = Network()
    x = net.input("x", (4,), "int8")
    y = net.operator("RELU", [x], "y", (4,), dtype="int8")
    int8(net, y)
    tensors = read_graph(net.write(path, y)).tensors
    assert [tensor.quantized for tensor in tensors] == [False, True]
