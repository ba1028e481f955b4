"""Where tensors lie: what is said of them is what is there, and a broken file has none."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgesdk.models.ranges import read_layout
from edgesdk.models.ranges.types import Floats, Layout, TensorRange
from tests.unit.package.delta_files import layers, onnx_qdq, onnx_qoperator, tflite, weights

NET = layers(weights())


def named(layout: Layout) -> dict[str, TensorRange]:
    return {tensor.name: tensor for tensor in layout.tensors}


def values(content: bytes, place: TensorRange | Floats) -> bytes:
    return content[place.start : place.end]


@pytest.mark.parametrize("write", [onnx_qdq, onnx_qoperator], ids=["QDQ", "QOperator"])
def test_onnx_weights_and_their_scales_are_found(write: object) -> None:
    content = write(NET)  # type: ignore[operator]
    found = named(read_layout(content))
    for layer in NET:
        weight = found[f"{layer.name}/weight"]
        assert values(content, weight) == layer.q.tobytes()
        assert (weight.dtype, weight.shape) == ("int8", (*layer.q.shape, 1, 1))
        assert (weight.axis, weight.zero_point) == (0, 0)
        assert values(content, weight.scales[0]) == layer.scales.tobytes()


def test_an_onnx_bias_of_a_quantized_operator_is_scaled_by_weights_and_input() -> None:
    content = onnx_qoperator(NET)
    bias = named(read_layout(content))["layer0/bias"]
    assert [values(content, each) for each in bias.scales] == [
        NET[0].scales.tobytes(),
        NET[0].input_scale.tobytes(),
    ]


def test_an_onnx_layer_is_the_operator_that_reads_the_real_values() -> None:
    weight = helper.make_tensor("w", 3, [2, 3], bytes(6), raw=True)
    scale = numpy_helper.from_array(np.float32([1, 2]), "s")
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"], "dequantize", axis=0),
        helper.make_node("MatMul", ["d", "x"], ["y"], "product"),
    ]
    out = helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph(nodes, "g", [], [out], [weight, scale])
    found = named(read_layout(helper.make_model(graph).SerializeToString()))
    assert found["w"].layer == "product"


def test_onnx_scales_written_as_float_data_are_found_too() -> None:
    weight = helper.make_tensor("w", 3, [2, 3], bytes(6), raw=True)
    scale = helper.make_tensor("s", 1, [2], [0.5, 0.25])
    zero = helper.make_tensor("z", 3, [2], [0, 0])
    node = helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0)
    out = helper.make_tensor_value_info("d", 1, None)
    graph = helper.make_graph([node], "g", [], [out], [weight, scale, zero])
    content = helper.make_model(graph).SerializeToString()
    found = named(read_layout(content))["w"]
    assert values(content, found.scales[0]) == np.float32([0.5, 0.25]).tobytes()
    assert found.zero_point == 0


def test_onnx_constants_of_constant_nodes_are_found() -> None:
    tensor = numpy_helper.from_array(np.arange(100, dtype=np.int16), "")
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    out = helper.make_tensor_value_info("c", 5, None)
    content = helper.make_model(helper.make_graph([node], "g", [], [out])).SerializeToString()
    assert (
        values(content, named(read_layout(content))["c"]) == np.arange(100, dtype="<i2").tobytes()
    )


def test_onnx_data_beside_the_model_are_found_in_their_own_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    proto = onnx.load_from_string(onnx_qdq(NET))
    onnx.save(proto, str(path), save_as_external_data=True, location="m.data", size_threshold=100)
    model, data = path.read_bytes(), (tmp_path / "m.data").read_bytes()
    found = named(read_layout(data, model))
    assert values(data, found["layer6/weight"]) == NET[6].q.tobytes()
    assert "layer6/weight" not in named(read_layout(model))


def test_axes_counted_from_the_end_are_counted_from_the_start() -> None:
    weight = helper.make_tensor("w", 3, [2, 3], bytes(6), raw=True)
    scale = numpy_helper.from_array(np.float32([1, 2, 3]), "s")
    node = helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=-1)
    out = helper.make_tensor_value_info("d", 1, None)
    graph = helper.make_graph([node], "g", [], [out], [weight, scale])
    assert named(read_layout(helper.make_model(graph).SerializeToString()))["w"].axis == 1


@pytest.mark.parametrize("depthwise", [False, True])
def test_tflite_weights_and_their_scales_are_found(depthwise: bool, tmp_path: Path) -> None:
    content = tflite(tmp_path / "m.tflite", NET, depthwise)
    found = named(read_layout(content))
    for layer in NET:
        weight, bias = found[f"{layer.name}/weight"], found[f"{layer.name}/bias"]
        stored = layer.q.T if depthwise else layer.q
        assert values(content, weight) == np.ascontiguousarray(stored).tobytes()
        assert (weight.axis, weight.zero_point) == (3 if depthwise else 0, 0)
        assert values(content, weight.scales[0]) == layer.scales.tobytes()
        assert values(content, bias) == layer.bias.tobytes()
        assert weight.layer == f"{layer.name}/y"


XML = b"""<?xml version="1.0"?><net name="m" version="11"><layers>
<layer id="0" name="w" type="Const" version="opset1">
  <data element_type="i8" shape="4, 3" offset="0" size="12"/></layer>
<layer id="1" name="w/convert" type="Convert" version="opset1"/>
<layer id="2" name="s" type="Const" version="opset1">
  <data element_type="f32" shape="4, 1" offset="12" size="16"/></layer>
<layer id="3" name="w/scaled" type="Multiply" version="opset1"/>
</layers><edges>
<edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
<edge from-layer="1" from-port="1" to-layer="3" to-port="0"/>
<edge from-layer="2" from-port="0" to-layer="3" to-port="1"/>
</edges></net>"""


def test_openvino_weights_are_found_by_the_description_beside_them() -> None:
    content = bytes(range(12)) + np.float32([1, 2, 3, 4]).tobytes()
    layout = read_layout(content, XML)
    (weight,) = layout.tensors
    assert (weight.name, weight.dtype, weight.shape, weight.axis) == ("w", "int8", (4, 3), 0)
    assert values(content, weight) == bytes(range(12))
    assert weight.scales == layout.vectors == (Floats(12, 4),)


def test_a_description_with_entities_is_not_read() -> None:
    bomb = XML.replace(b"<net ", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><net ', 1)
    assert read_layout(bytes(28), bomb) == Layout()


@pytest.mark.parametrize("kind", ["onnx", "tflite", "xml"])
def test_a_spoilt_file_has_fewer_ranges_and_no_error(kind: str, tmp_path: Path) -> None:
    content = {
        "onnx": lambda: onnx_qdq(NET[:2]),
        "tflite": lambda: tflite(tmp_path / "m.tflite", NET[:2]),
        "xml": lambda: XML,
    }[kind]()
    generator = random.Random(0)
    for _ in range(400):
        spoilt = bytearray(content)
        for _ in range(generator.randint(1, 4)):
            spoilt[generator.randrange(len(spoilt))] = generator.choice([0, 1, 127, 128, 255])
        del spoilt[generator.choice([len(spoilt), generator.randrange(len(spoilt))]) :]
        beside = (bytes(28), bytes(spoilt)) if kind == "xml" else (bytes(spoilt), b"")
        layout = read_layout(*beside)
        for place in (*layout.tensors, *layout.vectors):
            assert 0 <= place.start < place.end <= len(beside[0])


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0\0\0\0TFL3", bytes(100), b"PK\3\4" * 50])
def test_other_files_have_no_ranges(content: bytes) -> None:
    assert read_layout(content) == Layout()
