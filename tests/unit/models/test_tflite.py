"""Facts about opening TFLite files; all but the broken ones are edits of the digits example."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import ModelError
from edgesdk.files import sha256_file
from edgesdk.models.opening import open_model

DIGITS = Path(__file__).parents[3] / "examples" / "digits" / "digits.tflite"
IMAGE = "serving_default_image"


def edited(path: Path, edit: Callable[[Any], None]) -> Path:
    model = flatbuffer_utils.read_model(DIGITS)
    edit(model)
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return path


def identity(
    path: Path, kind: str = "ABS", shape: Any = (1, 4), signature: Any = None, **tensor: Any
) -> Path:
    """x -> `kind` -> y, of one shape."""
    tensors = [
        schema.TensorT(name=name, shape=list(shape), shapeSignature=signature, **tensor)
        for name in (b"x", b"y")
    ]
    code = getattr(schema.BuiltinOperator, kind)
    operator = schema.OperatorT(inputs=[0], outputs=[1])
    graph = schema.SubGraphT(tensors=tensors, inputs=[0], outputs=[1], operators=[operator])
    model = schema.ModelT(
        version=3,
        operatorCodes=[
            schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=code, version=1)
        ],
        subgraphs=[graph],
        buffers=[schema.BufferT()],
    )
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.tflite"


def graph_of(model: Any) -> Any:
    return model.subgraphs[0]


def image_of(model: Any) -> Any:
    (image,) = [t for t in graph_of(model).tensors if t.name == IMAGE.encode()]
    return image


def test_inputs_and_outputs_are_named_as_the_runtime_names_them() -> None:
    model = open_model(DIGITS)
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == [
        f"{IMAGE}: float32[1, 1, 8, 8]",
        "serving_default_logits_output: float32[1, 10]",
    ]
    assert (model.format, model.name) == ("tflite", "digits")
    assert (model.size_bytes, model.sha256) == (DIGITS.stat().st_size, sha256_file(DIGITS))


def test_a_file_of_another_format_is_recognised(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 an archive")
    with pytest.raises(ModelError, match=r"not a TFLite model: found b' an ' at byte 4"):
        open_model(path)


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0.0001, 0.9999))
def test_a_truncated_file_says_so(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = tmp_path_factory.mktemp("cut") / "model.tflite"
    content = DIGITS.read_bytes()
    path.write_bytes(content[: int(len(content) * share) or 1])
    with pytest.raises(ModelError, match=r"is broken|not a TFLite model"):
        open_model(path)


@settings(max_examples=20, deadline=None)
@given(garbage=st.binary(min_size=16, max_size=400))
def test_garbage_behind_the_identifier_says_so(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes
) -> None:
    path = tmp_path_factory.mktemp("garbage") / "model.tflite"
    path.write_bytes(b"\x20\x00\x00\x00TFL3" + garbage)
    with pytest.raises(ModelError, match="is broken"):
        open_model(path)


def test_a_broken_file_says_what_to_do(path: Path) -> None:
    path.write_bytes(DIGITS.read_bytes()[:5000])
    with pytest.raises(ModelError) as error:
        open_model(path)
    assert error.value.hint == "export it again, or check that the download is complete"


@pytest.mark.parametrize("dtype", ["INT8", "UINT8", "INT16"])
def test_a_quantized_model_is_refused(path: Path, dtype: str) -> None:
    def quantize(model: Any) -> None:
        tensor = graph_of(model).tensors[-1]
        tensor.type = getattr(schema.TensorType, dtype)
        tensor.quantization = schema.QuantizationParametersT(
            scale=np.array([0.5], np.float32), zeroPoint=np.array([0])
        )

    with pytest.raises(ModelError, match=f"already quantized .* is {dtype.lower()}") as error:
        open_model(edited(path, quantize))
    assert error.value.hint == "give the model it was quantized from"


def test_recorded_ranges_do_not_make_a_model_quantized(path: Path) -> None:
    def record(model: Any) -> None:
        ranges = {"min": np.array([0], np.float32), "max": np.array([6], np.float32)}
        graph_of(model).tensors[-1].quantization = schema.QuantizationParametersT(**ranges)

    assert open_model(edited(path, record)).inputs[0].name == IMAGE


def test_several_subgraphs_are_refused(path: Path) -> None:
    with pytest.raises(ModelError, match="holds 2 subgraphs, expected 1"):
        open_model(edited(path, lambda model: model.subgraphs.append(model.subgraphs[0])))


def test_a_model_without_inputs_is_refused(path: Path) -> None:
    def cut(model: Any) -> None:
        model.signatureDefs = []
        graph_of(model).inputs = []

    with pytest.raises(ModelError, match="has no inputs"):
        open_model(edited(path, cut))


def test_two_inputs_of_one_name_are_refused(path: Path) -> None:
    def repeat(model: Any) -> None:
        graph = graph_of(model)
        graph.tensors.append(schema.TensorT(name=IMAGE.encode(), shape=[1, 2]))
        graph.inputs = [*graph.inputs, len(graph.tensors) - 1]

    with pytest.raises(ModelError, match=f"2 inputs of which 2 are called '{IMAGE}'"):
        open_model(edited(path, repeat))


def test_a_free_batch_size_of_one_is_fixed(path: Path) -> None:
    def free(model: Any) -> None:
        image_of(model).shapeSignature = [-1, 1, 8, 8]

    assert open_model(edited(path, free)).inputs[0].shape == (1, 1, 8, 8)


def test_a_dynamic_dimension_is_named_with_the_flag_that_fixes_it(path: Path) -> None:
    source = identity(path, shape=(1, 1, 1, 3), signature=[-1, -1, -1, 3])
    with pytest.raises(
        ModelError, match=r"'x' .* is \[-1, -1, -1, 3\]: dimension 1, 2 is"
    ) as error:
        open_model(source)
    assert error.value.hint == "fix it with --input-shape x=1,<size>,<size>,3"


def test_a_given_shape_fixes_inputs_and_outputs(path: Path) -> None:
    source = identity(path, shape=(1, 1, 1, 3), signature=[-1, -1, -1, 3])
    model = open_model(source, {"x": (1, 32, 24, 3)})
    assert (model.inputs[0].shape, model.outputs[0].shape) == ((1, 32, 24, 3), (1, 32, 24, 3))


@pytest.mark.parametrize("shape", [(1, 8), (1, 8, 0, 3), (1, 8, -1, 3)])
def test_a_given_shape_that_is_none_is_refused(path: Path, shape: tuple[int, ...]) -> None:
    source = identity(path, shape=(1, 1, 1, 3), signature=[-1, -1, -1, 3])
    with pytest.raises(ModelError, match="does not fit"):
        open_model(source, {"x": shape})


def test_a_given_shape_the_network_cannot_take_is_refused() -> None:
    with pytest.raises(ModelError, match="does not run in LiteRT") as error:
        open_model(DIGITS, {IMAGE: (1, 1, 9, 8)})
    assert "check that the network takes that shape" in error.value.hint


def test_a_shape_for_an_input_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match=f"has no input 'picture', its inputs are {IMAGE}, image"):
        open_model(DIGITS, {"picture": (1, 1, 8, 8)})


@pytest.mark.parametrize("name", [IMAGE, "image"])
def test_an_input_answers_to_its_tensor_and_its_signature_name(name: str) -> None:
    opened = open_model(DIGITS, {name: (1, 1, 8, 8)})
    assert opened.inputs[0].names == ("image", IMAGE)


def test_an_operator_litert_does_not_have_is_refused(path: Path) -> None:
    def customize(model: Any) -> None:
        code = model.operatorCodes[-1]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"MyOperator"

    with pytest.raises(ModelError, match=r"does not run in LiteRT: .*MyOperator"):
        open_model(edited(path, customize))


@pytest.mark.parametrize(
    ("dtype", "called"), [("STRING", "strings"), ("COMPLEX64", "complex64"), ("FLOAT64", "float64")]
)
def test_dtypes_that_cannot_be_fed_are_refused(path: Path, dtype: str, called: str) -> None:
    source = identity(path, "RESHAPE", type=getattr(schema.TensorType, dtype))
    with pytest.raises(ModelError, match=f"'x' of model.tflite holds {called}, expected one of"):
        open_model(source)


def test_opening_says_nothing(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(DIGITS.read_bytes()[:5000])
    with pytest.raises(ModelError):
        open_model(path)
    open_model(DIGITS)
    assert capfd.readouterr() == ("", "")
