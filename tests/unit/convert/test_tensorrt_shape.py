"""Facts about the rules that hold QDQ models to TensorRT's form: each is broken once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tensorrt_networks import ForTensorRt, changed, mobilenet

from edgesdk.convert.backends.tensorrt import shape
from edgesdk.errors import ConversionError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """As it is made for TensorRT 8.5: with both Q and DQ on weights."""
    return ForTensorRt(mobilenet(tmp_path_factory.mktemp("shape") / "net.onnx"), "8.5.2").proto


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def maker(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if tensor in node.output)


def set_constant(model: onnx.ModelProto, name: str, values: object, dtype: str) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values, dtype), name))


def input_quantizer(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(each for each in model.graph.node if each.input[0] == "x")


def weight_pair(model: onnx.ModelProto, name: str) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    dequantize = maker(model, node(model, name).input[1])
    return maker(model, dequantize.input[0]), dequantize


def test_what_is_converted_breaks_no_rule(model: onnx.ModelProto) -> None:
    assert shape.violations(model) == ()


def test_a_float_model_breaks_no_rule(tmp_path: Path) -> None:
    assert shape.violations(onnx.load(str(mobilenet(tmp_path / "net.onnx")))) == ()


def test_every_violation_is_a_detail_of_the_error(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        set_constant(copy, input_quantizer(copy).input[2], 3, "int8")

    with pytest.raises(ConversionError) as caught:
        shape.require_shape(changed(model, change))
    assert caught.value.details == (
        "QuantizeLinear x_QuantizeLinear has the zero point 3, expected 0",
        "DequantizeLinear x_DequantizeLinear has the zero point 3, expected 0",
    )


def test_unsigned_activations_are_refused(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        set_constant(copy, input_quantizer(copy).input[2], 0, "uint8")

    assert "QuantizeLinear x_QuantizeLinear is uint8, expected int8" in shape.violations(
        changed(model, change)
    )


def test_a_missing_zero_point_is_refused(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        del input_quantizer(copy).input[2]

    assert "QuantizeLinear x_QuantizeLinear has no zero point, expected int8 zeros" in (
        shape.violations(changed(model, change))
    )


@pytest.mark.parametrize("scale", [0.0, -0.5, np.inf, np.nan])
def test_scales_are_finite_and_positive(model: onnx.ModelProto, scale: float) -> None:
    def change(copy: onnx.ModelProto) -> None:
        set_constant(copy, input_quantizer(copy).input[1], scale, "float32")

    found = shape.violations(changed(model, change))
    assert "QuantizeLinear x_QuantizeLinear has a scale that is not finite and positive" in found


def test_a_computed_scale_is_refused(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        input_quantizer(copy).input[1] = "pooled"

    found = shape.violations(changed(model, change))
    assert "QuantizeLinear x_QuantizeLinear has no constant float scale, expected one" in found


def test_weights_with_one_scale_for_all_channels_are_refused(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        quantize, dequantize = weight_pair(copy, "stem_linear")
        for pair in (quantize, dequantize):
            set_constant(copy, pair.input[1], 0.1, "float32")
            set_constant(copy, pair.input[2], 0, "int8")

    found = shape.violations(changed(model, change))
    assert found == tuple(
        f"{kind} stem_w_{kind} has 1 scales on axis 0 of the weights of stem_linear, "
        "expected 8 on axis 0"
        for kind in ("DequantizeLinear", "QuantizeLinear")
    )


def test_weights_with_scales_on_another_axis_are_refused(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        for pair in weight_pair(copy, "b2_project"):
            pair.attribute[0].i = 1

    assert len(shape.violations(changed(model, change))) == 2


@pytest.mark.parametrize(
    ("kind", "rank", "attributes", "axis"),
    [
        ("Conv", 4, {}, 0),
        ("ConvTranspose", 4, {}, 1),
        ("Gemm", 2, {"transB": 1}, 0),
        ("Gemm", 2, {}, 1),
        ("MatMul", 3, {}, 2),
    ],
)
def test_output_channels_lie_where_onnx_has_them(
    kind: str, rank: int, attributes: dict[str, int], axis: int
) -> None:
    assert shape.channel_axis(helper.make_node(kind, ["x", "w"], ["y"], **attributes), rank) == axis


def test_float_weights_beside_an_int8_input_are_refused(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        node(copy, "stem_linear").input[1] = "b2_project_w"

    found = shape.violations(changed(model, change))
    assert "Conv stem_linear has an INT8 input and float weights, expected both in INT8" in found


def test_a_quantized_bias_is_refused(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        stem = node(copy, "stem_linear")
        bias = numpy_helper.from_array(np.zeros(8, np.int32), "bias_int32")
        zero = numpy_helper.from_array(np.zeros((), np.int32), "bias_zero")
        copy.graph.initializer.extend([bias, zero])
        inputs = ["bias_int32", input_quantizer(copy).input[1], "bias_zero"]
        dequantize = helper.make_node("DequantizeLinear", inputs, ["bias"], name="bias_dq")
        copy.graph.node.insert(0, dequantize)
        stem.input[2] = "bias"

    found = shape.violations(changed(model, change))
    assert "Conv stem_linear has a quantized bias, expected a float one" in found
    assert "DequantizeLinear bias_dq is int32, expected int8" in found


def test_activations_with_a_scale_a_channel_are_refused(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        set_constant(copy, input_quantizer(copy).input[1], [0.1, 0.2, 0.3], "float32")

    found = shape.violations(changed(model, change))
    assert "QuantizeLinear x_QuantizeLinear has 3 scales for an activation, expected one" in found


def with_pair(copy: onnx.ModelProto, tensor: str, reader: str) -> None:
    """Put a pair between a tensor and the operator that reads it."""
    like = input_quantizer(copy)
    quantize, dequantize = (
        helper.make_node(kind, [source, *like.input[1:]], [result], name=f"extra_{kind}")
        for kind, source, result in (
            ("QuantizeLinear", tensor, "extra_q"),
            ("DequantizeLinear", "extra_q", "extra_dq"),
        )
    )
    position = next(i for i, each in enumerate(copy.graph.node) if each.name == reader)
    inputs = copy.graph.node[position].input
    inputs[list(inputs).index(tensor)] = "extra_dq"
    copy.graph.node.insert(position, quantize)
    copy.graph.node.insert(position + 1, dequantize)


def test_a_pair_between_a_convolution_and_its_activation_is_refused(
    model: onnx.ModelProto,
) -> None:
    found = shape.violations(changed(model, lambda copy: with_pair(copy, "stem_linear", "stem")))
    assert found == (
        "QuantizeLinear extra_QuantizeLinear separates stem from the operator it is fused with",
    )


def test_a_pair_between_a_convolution_and_its_add_is_refused(model: onnx.ModelProto) -> None:
    found = shape.violations(changed(model, lambda copy: with_pair(copy, "b2_project", "sum1")))
    assert found == (
        "QuantizeLinear extra_QuantizeLinear separates sum1 from the operator it is fused with",
    )


def test_a_float_residual_beside_an_int8_convolution_is_refused(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        add = node(copy, "sum1")
        position = next(i for i, name in enumerate(add.input) if name != "b2_project")
        add.input[position] = "b1_project"

    found = shape.violations(changed(model, change))
    assert "Add sum1 adds a float tensor to an INT8 convolution, expected INT8" in found


def test_quantize_without_dequantize_is_refused(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        stem = node(copy, "stem_linear")
        stem.input[0] = maker(copy, stem.input[0]).input[0]

    found = shape.violations(changed(model, change))
    assert "QuantizeLinear x_QuantizeLinear is not followed by DequantizeLinear" in found
    assert "DequantizeLinear x_DequantizeLinear is read by nothing" in found


def test_per_channel_scales_need_opset_13(model: onnx.ModelProto) -> None:
    def change(copy: onnx.ModelProto) -> None:
        copy.opset_import[0].version = 12

    found = shape.violations(changed(model, change))
    assert found == ("the model is written in opset 12, expected 13 or above",)
