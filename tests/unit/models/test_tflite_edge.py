"""A TFLite file gets the names and the order of the model it came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from device_agent import runtimes
from edgesdk.errors import ConversionError
from edgesdk.models.opening import open_model
from edgesdk.models.types import TensorSpec

pytest.importorskip("ai_edge_litert", reason='needs ai-edge-litert: pip install "edgesdk[litert]"')

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from edgesdk.models.formats.tflite_edge import name_edges


def tensor(name: str, size: int) -> schema.TensorT:
    return schema.TensorT(shape=[1, size], type=schema.TensorType.FLOAT32, name=name.encode())


def write(path: Path, code: schema.OperatorCodeT | None = None) -> Path:
    """a -> RELU -> y -> RELU -> out_a; b -> RELU -> out_b; edges in another order, no signature."""
    relu = schema.BuiltinOperator.RELU
    operators = [
        schema.OperatorT(opcodeIndex=0, inputs=[source], outputs=[made])
        for source, made in ((0, 4), (4, 2), (1, 3))
    ]
    named = [("a", 3), ("b", 2), ("out_a", 3), ("out_b", 2), ("y", 3)]
    graph = schema.SubGraphT(
        tensors=[tensor(*each) for each in named],
        inputs=[1, 0],
        outputs=[3, 2],
        operators=operators,
        name=b"main",
    )
    model = schema.ModelT(
        version=3,
        operatorCodes=[
            code or schema.OperatorCodeT(builtinCode=relu, deprecatedBuiltinCode=relu, version=1)
        ],
        subgraphs=[graph],
        buffers=[schema.BufferT()],
    )
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return path


def spec(name: str, size: int) -> TensorSpec:
    return TensorSpec(name, (1, size), "float32")


INPUTS = (("a", spec("image:0", 3)), ("b", spec("extra", 2)))
OUTPUTS = (("out_a", spec("y", 3)), ("out_b", spec("z", 2)))


def test_names_and_order_are_the_sources(tmp_path: Path) -> None:
    path = write(tmp_path / "m.tflite")
    name_edges(path, INPUTS, OUTPUTS)
    model = open_model(path)
    assert [str(each) for each in model.inputs] == [str(each) for _, each in INPUTS]
    assert [str(each) for each in model.outputs] == [str(each) for _, each in OUTPUTS]


def test_the_signature_has_the_same_names(tmp_path: Path) -> None:
    path = write(tmp_path / "m.tflite")
    name_edges(path, INPUTS, OUTPUTS)
    (signature,) = flatbuffer_utils.read_model(str(path)).signatureDefs
    assert [entry.name for entry in signature.inputs] == [b"image:0", b"extra"]
    assert [entry.name for entry in signature.outputs] == [b"y", b"z"]


def test_an_inner_tensor_of_the_same_name_makes_room(tmp_path: Path) -> None:
    path = write(tmp_path / "m.tflite")
    name_edges(path, INPUTS, OUTPUTS)
    names = [each.name for each in flatbuffer_utils.read_model(str(path)).subgraphs[0].tensors]
    assert sorted(names) == [b"extra", b"image:0", b"y", b"y/inner_4", b"z"]


def test_an_input_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="has lost the input 'image'"):
        name_edges(write(tmp_path / "m.tflite"), [("x", spec("image", 3))], OUTPUTS)


def test_one_tensor_cannot_have_two_names(tmp_path: Path) -> None:
    twice = (("out_a", spec("y", 3)), ("out_a", spec("z", 3)))
    with pytest.raises(ConversionError, match="'z' and 'y' are one tensor"):
        name_edges(write(tmp_path / "m.tflite"), INPUTS, twice)


def test_a_custom_operator_is_refused_by_name(tmp_path: Path) -> None:
    code = schema.OperatorCodeT(
        builtinCode=schema.BuiltinOperator.CUSTOM, customCode=b"ONNX_DET", version=1
    )
    with pytest.raises(ConversionError, match="holds ONNX_DET, which is no operator of TFLite"):
        name_edges(write(tmp_path / "m.tflite", code), INPUTS, OUTPUTS)


def flattened(path: Path, turned: bool) -> Path:
    """x (1, 2, 2, 2) -> RELU h -> RESHAPE y (8,); `h` has another shape where `turned`."""
    shapes = {"x": [1, 2, 2, 2], "h": [1, 4, 1, 2] if turned else [1, 2, 2, 2], "y": [8]}
    tensors = [
        schema.TensorT(shape=shape, type=schema.TensorType.FLOAT32, name=name.encode(), buffer=0)
        for name, shape in shapes.items()
    ]
    tensors.append(schema.TensorT(shape=[1], type=schema.TensorType.INT32, name=b"s", buffer=1))
    kinds = (schema.BuiltinOperator.RELU, schema.BuiltinOperator.RESHAPE)
    graph = schema.SubGraphT(
        tensors=tensors,
        inputs=[0],
        outputs=[2],
        operators=[
            schema.OperatorT(opcodeIndex=0, inputs=[0], outputs=[1]),
            schema.OperatorT(opcodeIndex=1, inputs=[1, 3], outputs=[2]),
        ],
    )
    model = schema.ModelT(
        version=3,
        operatorCodes=[
            schema.OperatorCodeT(builtinCode=kind, deprecatedBuiltinCode=kind, version=1)
            for kind in kinds
        ],
        subgraphs=[graph],
        buffers=[schema.BufferT(), schema.BufferT(data=[8, 0, 0, 0])],
    )
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return path


IMAGE = (("x", TensorSpec("image", (1, 2, 2, 2), "float32")),)
MASK = (("y", TensorSpec("mask", (1, 2, 2, 2), "float32")),)


@pytest.mark.parametrize(("turned", "operators"), [(False, 1), (True, 2)])
def test_a_flat_output_gets_its_shape_back(tmp_path: Path, turned: bool, operators: int) -> None:
    path = flattened(tmp_path / "m.tflite", turned)
    name_edges(path, IMAGE, MASK)
    assert [str(each) for each in open_model(path).outputs] == ["mask: float32[1, 2, 2, 2]"]
    assert len(flatbuffer_utils.read_model(str(path)).subgraphs[0].operators) == operators


def test_the_shape_that_comes_back_is_the_one_that_litert_computes(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = flattened(tmp_path / "m.tflite", turned=True)
    model = flatbuffer_utils.read_model(str(path))
    # RELU cannot turn: feed what it reads in the shape it gives.
    model.subgraphs[0].tensors[0].shape = [1, 4, 1, 2]
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    name_edges(path, [("x", TensorSpec("image", (1, 4, 1, 2), "float32"))], MASK)
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    assert interpreter.get_output_details()[0]["shape"].tolist() == [1, 2, 2, 2]


def test_two_outputs_of_one_tensor_stay_two(tmp_path: Path) -> None:
    path = flattened(tmp_path / "m.tflite", turned=False)
    model = flatbuffer_utils.read_model(str(path))
    graph = model.subgraphs[0]
    graph.tensors.append(
        schema.TensorT(shape=[8], type=schema.TensorType.FLOAT32, name=b"y2", buffer=0)
    )
    graph.operators.append(schema.OperatorT(opcodeIndex=1, inputs=[1, 3], outputs=[4]))
    graph.outputs = [2, 4]
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    name_edges(path, IMAGE, (*MASK, ("y2", TensorSpec("again", (1, 2, 2, 2), "float32"))))
    assert [each.name for each in open_model(path).outputs] == ["mask", "again"]


def test_an_output_that_nothing_computes_is_a_failure_of_the_runtime(tmp_path: Path) -> None:
    path = write(tmp_path / "m.tflite")
    model = flatbuffer_utils.read_model(str(path))
    model.subgraphs[0].operators = [
        each for each in model.subgraphs[0].operators if 3 not in each.outputs
    ]
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    loaded = runtimes.load("litert", str(path), threads=1, kernel="builtin")
    arrays = [np.zeros(port.shape, np.float32) for port in loaded.inputs]
    with pytest.raises(runtimes.RuntimeFailed, match="LiteRT has no outputs"):
        loaded.run(arrays)
