"""Padded MAX_POOL_2D, as ONNX networks have it: the zoo's ResNets begin with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from litert_networks import Converted, Network, conv

from edgesdk.convert.backends.litert import flatbuffer
from edgesdk.errors import ConversionError

LOWEST = float(np.finfo(np.float32).min)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "network.tflite"


def padded_pool(path: Path, behind: str = "", low: float = LOWEST, margin: int = 1) -> Path:
    """x -> [CONV_2D with RELU, MINIMUM] -> PADV2 p -> MAX_POOL_2D y, 3x3 windows, stride 2."""
    net = Network()
    source = net.input("x", (1, 8, 8, 3))
    if behind:
        source = conv(net, source, "c", 3)
    if behind == "MINIMUM":
        # Of one dimension, too, as a Clip of ONNX comes.
        most = net.constant("most", np.full(1, -1, np.float32))
        source = net.operator("MINIMUM", [source, most], "m", (1, 8, 8, 3))
    spots = np.array([[0, 0], [margin, margin], [margin, margin], [0, 0]], np.int32)
    # onnx2tf writes its constant with one dimension.
    constants = [net.constant("edges", spots), net.constant("low", np.array([low], np.float32))]
    size = 8 + 2 * margin
    p = net.operator("PADV2", [source, *constants], "p", (1, size, size, 3))
    options = schema.Pool2DOptionsT(strideW=2, strideH=2, filterWidth=3, filterHeight=3)
    options.padding = schema.Padding.VALID
    half = (size - 3) // 2 + 1
    return net.write(path, net.operator("MAX_POOL_2D", [p], "y", (1, half, half, 3), options))


def kinds(converted: Converted) -> list[str]:
    return [operator.type for operator in converted.description.operators]


def test_behind_a_relu_zeros_are_padded(path: Path) -> None:
    converted = Converted(padded_pool(path, behind="CONV_2D"))
    assert kinds(converted) == ["CONV_2D", "PAD", "MAX_POOL_2D"]
    assert converted.sqnr_db("y") > 30


@pytest.mark.parametrize("behind", ["", "MINIMUM"])
def test_where_numbers_are_negative_zeros_are_not_padded(path: Path, behind: str) -> None:
    converted = Converted(padded_pool(path, behind))
    assert "PAD" not in kinds(converted)
    assert not {"DEQUANTIZE", "QUANTIZE"} & set(kinds(converted))
    assert converted.sqnr_db("y") > 30


def test_what_is_padded_is_the_lowest_number_of_int8(path: Path) -> None:
    converted = Converted(padded_pool(path))
    model = flatbuffer.read_model(converted.path.read_bytes())
    (pad,) = (
        each
        for each in model.subgraphs[0].operators
        if flatbuffer.operator_type(model, each) == "PADV2"
    )
    value = flatbuffer.constant(model, model.subgraphs[0].tensors[pad.inputs[2]])
    assert value is not None
    assert value.ravel().tolist() == [-128]


def test_padding_with_a_number_of_its_own_stays(path: Path) -> None:
    converted = Converted(padded_pool(path, behind="CONV_2D", low=3.0))
    assert kinds(converted) == ["CONV_2D", "PADV2", "MAX_POOL_2D"]
    assert converted.sqnr_db("y") > 30


def test_windows_of_nothing_but_padding_keep_it(path: Path) -> None:
    assert "PADV2" in kinds(Converted(padded_pool(path, behind="CONV_2D", margin=3)))


def test_the_float_model_computes_what_it_did(path: Path) -> None:
    source = padded_pool(path, behind="CONV_2D")
    wanted = _computed(source.read_bytes())
    found = _computed(Converted(source).float_path.read_bytes())
    np.testing.assert_array_equal(found, wanted)


def _computed(content: bytes) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    x = np.random.default_rng(1).standard_normal((1, 8, 8, 3)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def test_the_operator_that_the_quantizer_refuses_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = "edgesdk.convert.backends.litert.fixups.mend_constants"
    monkeypatch.setattr(mended, lambda model: None)
    with pytest.raises(
        ConversionError, match=r"the quantizer refuses PADV2 'p': ValueError: Ranks"
    ):
        Converted(padded_pool(path))
