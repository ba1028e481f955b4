"""Facts about the QDQ pairs of each style: the toolkit's own, or what their reader asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import (
    QuantFormat,
    QuantType,
    qdq_quantizer,
    quantize,
    quantize_static,
)
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgesdk.calibration.types import Range
from edgesdk.convert.backends import onnx_qdq
from edgesdk.convert.backends.onnx_calibration import activations, calibrated_ranges, superseded
from edgesdk.convert.backends.onnx_precisions import assigned
from edgesdk.convert.backends.onnx_qdq import CPU, HTP, HTP_A16, TENSORRT, Style
from edgesdk.errors import ConversionError, ModelError
from edgesdk.models.opening import open_model
from edgesdk.targets.types import Scheme, TensorScheme
from edgesdk.values.recipe import Override
from tests.onnx_networks import (
    ASYMMETRIC,
    PER_CHANNEL,
    Array,
    Network,
    conv_network,
    plan_for,
    random_samples,
    run,
    sha256,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def residual_network(path: Path) -> Path:
    """Depthwise convolution, Clip, residual Add, Concat, Sigmoid, Gemm without transB."""
    net = Network()
    low, high = net.constant("low", 0.0), net.constant("high", 6.0)
    h = net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 8))
    d = net.node("Conv", [h, net.weights("d_w", 8, 1, 3, 3)], "d", pads=[1] * 4, group=8)
    clipped = net.node("Clip", [d, low, high], "clipped")
    p = net.node("Conv", [clipped, net.weights("p_w", 8, 8, 1, 1)], "p")
    added = net.node("Add", [h, p], "added")
    joined = net.node("Concat", [added, net.node("Sigmoid", [added], "s")], "joined", axis=1)
    flat = net.node("Flatten", [net.node("GlobalAveragePool", [joined], "pooled")], "flat")
    net.node("Gemm", [flat, net.weights("y_w", 16, 5), net.weights("y_b", 5)], "y")
    return net.write(path, y=(1, 5))


def attention_network(path: Path) -> Path:
    """x (1, 16, 8) -> attention, residual, LayerNormalization, Tanh -> y."""
    net = Network()
    x = net.input("x", (1, 16, 8))
    q, k, v = (net.node("MatMul", [x, net.weights(f"w{n}", 8, 8)], n) for n in "qkv")
    kt = net.node("Transpose", [k], "kt", perm=[0, 2, 1])
    weights = net.node("Softmax", [net.node("MatMul", [q, kt], "scores")], "weights")
    residual = net.node("Add", [x, net.node("MatMul", [weights, v], "mixed")], "residual")
    scale, shift = net.constant("scale", np.ones(8)), net.constant("shift", np.zeros(8))
    net.node("Tanh", [net.node("LayerNormalization", [residual, scale, shift], "n")], "y")
    return net.write(path, y=(1, 16, 8))


def digits(path: Path) -> Path:
    path.write_bytes((ROOT / "examples" / "digits" / "digits.onnx").read_bytes())
    return path


NETWORKS = (conv_network, residual_network, attention_network, digits)


class Quantized:
    """A network in the form that a style gives it, beside the float model it was made from."""

    def __init__(
        self,
        source: Path,
        style: Style,
        kept: tuple[str, ...] = (),
        ranges: dict[str, Range] | None = None,
    ) -> None:
        self.source = source.with_name("clean.onnx")
        quant_pre_process(source, self.source, skip_symbolic_shape=True)
        self.float = onnx.load(str(self.source))
        opened = open_model(source, None)
        self.samples = random_samples(opened, 4)
        plan = plan_for(opened, calibration_sha256=sha256(self.samples))
        self.ranges = ranges or calibrated_ranges(
            self.float, plan, lambda: iter(self.samples), lambda _: None, style, kept
        )
        before = self.float.SerializeToString()
        self.proto = onnx_qdq.quantize(self.float, self.ranges, style, kept)
        assert self.float.SerializeToString() == before
        self.path = source.with_name("qdq.onnx")
        onnx.save(self.proto, str(self.path))
        self.makers = {name: node for node in self.proto.graph.node for name in node.output}

    def constant(self, name: str) -> Array:
        found = {tensor.name: tensor for tensor in self.proto.graph.initializer}
        return np.asarray(numpy_helper.to_array(found[name]))

    def nodes(self, kind: str) -> list[onnx.NodeProto]:
        return [node for node in self.proto.graph.node if node.op_type == kind]

    def readers(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.proto.graph.node for read in node.input if read == name]

    def zero_point_types(self) -> set[str]:
        types = {tensor.name: tensor.data_type for tensor in self.proto.graph.initializer}
        pairs = (*self.nodes("QuantizeLinear"), *self.nodes("DequantizeLinear"))
        return {TensorProto.DataType.Name(types[node.input[2]]) for node in pairs}

    def sqnr_db(self) -> float:
        signal = noise = 0.0
        for sample in self.samples:
            wanted, found = run(self.source, sample)["y"], run(self.path, sample)["y"]
            signal += float(np.square(wanted, dtype=np.float64).sum())
            noise += float(np.square(wanted - found, dtype=np.float64).sum())
        return float(10 * np.log10(signal / noise))


class Reader:
    """Samples, as ONNX Runtime takes them."""

    def __init__(self, samples: list[dict[str, Array]]) -> None:
        self._samples = iter(samples)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._samples, None)


def as_theirs(source: Path, style: Style, kept: tuple[str, ...] = ()) -> Quantized:
    """From the ranges that ONNX Runtime's own calibrator finds."""
    clean, augmented = source.with_name("clean.onnx"), source.with_name("augmented.onnx")
    quant_pre_process(source, clean, skip_symbolic_shape=True)
    calibrator = create_calibrator(clean, None, augmented_model_path=str(augmented))
    calibrator.collect_data(Reader(random_samples(open_model(source, None), 4)))
    found = calibrator.compute_data().items()
    ranges = {name: Range(each.lowest.item(), each.highest.item()) for name, each in found}
    others = superseded(onnx.load(str(clean)), style, kept, ranges)
    ranges |= {name: ranges[result] for name, result in others.items()}
    return Quantized(source, style, kept, ranges)


# ONNX Runtime on the CPU


def static(quantized: Quantized, kept: tuple[str, ...] = (), **options: Any) -> bytes:
    """What ONNX Runtime's own `quantize_static` writes, with its own calibration."""
    output = quantized.source.with_name("static.onnx")
    settings: dict[str, Any] = {
        "quant_format": QuantFormat.QDQ,
        "per_channel": True,
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "extra_options": {"ActivationSymmetric": False, "WeightSymmetric": True},
    }
    quantize_static(
        quantized.source,
        output,
        Reader(quantized.samples),
        nodes_to_exclude=list(kept),
        **{**settings, **options},
    )
    return output.read_bytes()


@pytest.mark.parametrize("build", NETWORKS)
def test_cpu_models_are_byte_for_byte_those_of_quantize_static(
    path: Path, build: Callable[[Path], Path]
) -> None:
    quantized = as_theirs(build(path), CPU)
    assert quantized.path.read_bytes() == static(quantized)


@pytest.mark.parametrize("kept", [("h_linear",), ("h",), ("clipped", "s"), ("y",)])
def test_what_is_kept_in_float_is_so_as_in_quantize_static(
    path: Path, kept: tuple[str, ...]
) -> None:
    quantized = as_theirs(residual_network(path), CPU, kept)
    assert quantized.path.read_bytes() == static(quantized, kept)


def test_weights_can_have_one_scale_and_activations_be_symmetric(path: Path) -> None:
    style = replace(CPU, per_channel=False, activation_symmetric=True)
    quantized = as_theirs(residual_network(path), style)
    options = {"ActivationSymmetric": True, "WeightSymmetric": True}
    assert quantized.path.read_bytes() == static(
        quantized, per_channel=False, extra_options=options
    )


def test_weights_of_zeros_and_of_next_to_nothing_are_as_in_quantize_static(path: Path) -> None:
    net = Network()
    weights = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)
    weights[1], weights[2] = 0, 1e-38
    h = net.node("Conv", [net.input("x", (1, 3, 8, 8)), net.constant("w", weights)], "h")
    net.node("Conv", [h, net.weights("y_w", 2, 4, 1, 1), net.constant("y_b", [1e9, 0])], "y")
    quantized = as_theirs(net.write(path, y=(1, 2, 8, 8)), CPU)
    assert quantized.path.read_bytes() == static(quantized)


def test_transposed_convolutions_are_as_in_quantize_static(path: Path) -> None:
    net = Network()
    weights, bias = net.weights("y_w", 4, 6, 2, 2), net.weights("y_b", 6)
    net.node("ConvTranspose", [net.input("x", (1, 4, 4, 4)), weights, bias], "y")
    quantized = as_theirs(net.write(path, y=(1, 6, 5, 5)), CPU)
    assert quantized.path.read_bytes() == static(quantized)


@pytest.mark.parametrize("step", ["compute_data_quant_params", "quantize_onnx_initializer"])
def test_the_toolkit_is_not_asked_for_one_channel_after_the_other(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.delattr(qdq_quantizer, step)
    assert Quantized(conv_network(path), CPU).nodes("DequantizeLinear")


def test_only_the_operator_types_of_the_style_are_quantized(path: Path) -> None:
    quantized = Quantized(residual_network(path), replace(CPU, op_types=("Gemm",)))
    assert {node.input[0] for node in quantized.nodes("QuantizeLinear")} == {
        "flat",
        "y_QuantizeLinear_Input",
    }


def test_ranges_decide_the_scales(path: Path) -> None:
    names = activations(onnx.load(str(conv_network(path))))
    quantized = Quantized(path, CPU, ranges=dict.fromkeys(names, Range(-2.55, 0)))
    assert quantized.constant("x_scale") == np.float32(0.01)
    assert quantized.constant("x_zero_point") == 255


# TensorRT


@pytest.fixture
def tensorrt(path: Path) -> Quantized:
    return Quantized(residual_network(path), TENSORRT)


def test_tensorrt_has_int8_only_and_no_zero_point(tensorrt: Quantized) -> None:
    assert tensorrt.zero_point_types() == {"INT8"}
    for node in (*tensorrt.nodes("QuantizeLinear"), *tensorrt.nodes("DequantizeLinear")):
        assert not tensorrt.constant(node.input[2]).any()


def test_tensorrt_keeps_weights_and_biases_in_float(tensorrt: Quantized) -> None:
    names = ("h_w", "h_b", "d_w", "y_w", "y_b")
    assert all(tensorrt.constant(name).dtype == np.float32 for name in names)


def test_tensorrt_has_a_pair_of_its_own_for_every_reader(tensorrt: Quantized) -> None:
    for node in tensorrt.nodes("QuantizeLinear"):
        (reader,) = tensorrt.readers(node.output[0])
        assert reader.op_type == "DequantizeLinear"
        assert len(tensorrt.readers(reader.output[0])) == 1


def test_tensorrt_has_one_scale_an_output_channel(tensorrt: Quantized) -> None:
    channels = {"h_w": (8, 0), "d_w": (8, 0), "p_w": (8, 0), "y_w": (5, 1)}
    for node in tensorrt.nodes("QuantizeLinear"):
        if node.input[0] in channels:
            (axis,) = [each.i for each in node.attribute if each.name == "axis"]
            shape = tensorrt.constant(node.input[1]).shape
            assert (shape, axis) == ((channels[node.input[0]][0],), channels[node.input[0]][1])


def test_tensorrt_has_one_scale_a_column_of_a_matmul(path: Path) -> None:
    quantized = Quantized(attention_network(path), TENSORRT)
    (node,) = [node for node in quantized.nodes("QuantizeLinear") if node.input[0] == "wq"]
    assert [each.i for each in node.attribute if each.name == "axis"] == [1]


def test_tensorrt_gives_convolutions_and_sums_quantized_inputs_and_float_outputs(
    tensorrt: Quantized,
) -> None:
    for node in (*tensorrt.nodes("Conv"), *tensorrt.nodes("Add"), *tensorrt.nodes("Gemm")):
        makers = [tensorrt.makers.get(name) for name in node.input[:2]]
        assert [maker and maker.op_type for maker in makers] == ["DequantizeLinear"] * 2
    for node in tensorrt.nodes("Conv"):
        readers = {reader.op_type for reader in tensorrt.readers(node.output[0])}
        assert readers <= {"Relu", "Clip", "QuantizeLinear"}
    assert tensorrt.makers["y"].op_type == "Gemm"


@pytest.mark.parametrize("style", [TENSORRT, HTP, HTP_A16])
@pytest.mark.parametrize("build", NETWORKS)
def test_every_style_computes_what_the_float_model_does(
    path: Path, style: Style, build: Callable[[Path], Path]
) -> None:
    quantized = Quantized(build(path), style)
    (name,) = [value.name for value in quantized.proto.graph.output]
    signal = noise = 0.0
    for sample in quantized.samples:
        wanted = run(quantized.source, sample)[name].astype(np.float64)
        signal += float(np.square(wanted).sum())
        noise += float(np.square(wanted - run(quantized.path, sample)[name]).sum())
    assert 10 * np.log10(signal / noise) > 20


# Qualcomm's HTP


@pytest.mark.parametrize("style", [HTP, HTP_A16])
@pytest.mark.parametrize("build", NETWORKS)
def test_htp_models_are_those_of_the_toolkits_own_configuration(
    path: Path, style: Style, build: Callable[[Path], Path]
) -> None:
    quantized = as_theirs(build(path), style)
    config = get_qnn_qdq_config(
        quantized.source,
        Reader(quantized.samples),
        activation_type=QuantType.QUInt8 if style is HTP else QuantType.QUInt16,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    output = path.with_name("theirs.onnx")
    quantize(quantized.source, output, config)
    theirs = onnx.load(str(output))
    # It raises the opset for 16-bit types and then does not use it: its pairs are com.microsoft's.
    assert [node.SerializeToString() for node in theirs.graph.node] == [
        node.SerializeToString() for node in quantized.proto.graph.node
    ]
    assert [tensor.SerializeToString() for tensor in theirs.graph.initializer] == [
        tensor.SerializeToString() for tensor in quantized.proto.graph.initializer
    ]


def test_htp_quantizes_every_operator(path: Path) -> None:
    quantized = Quantized(attention_network(path), HTP)
    for kind in ("Softmax", "LayerNormalization", "Tanh"):
        (node,) = quantized.nodes(kind)
        assert quantized.makers[node.input[0]].op_type == "DequantizeLinear"
        (reader,) = quantized.readers(node.output[0])
        assert reader.op_type == "QuantizeLinear"


def test_htp_has_one_scale_for_a_matmul_and_one_a_channel_for_a_convolution(path: Path) -> None:
    assert Quantized(attention_network(path), HTP).constant("wq_scale").shape == ()
    assert Quantized(residual_network(path), HTP).constant("h_w_scale").shape == (8,)


def test_htp_has_the_scales_that_16_bit_sigmoid_and_tanh_must_have(path: Path) -> None:
    sigmoid = Quantized(residual_network(path), HTP_A16)
    assert (sigmoid.constant("s_scale"), sigmoid.constant("s_zero_point")) == (2.0**-16, 0)
    tanh = Quantized(attention_network(path), HTP_A16)
    assert (tanh.constant("y_scale"), tanh.constant("y_zero_point")) == (2.0**-15, 2**15)


def test_htp_has_no_range_narrower_than_qnn_takes(path: Path) -> None:
    names = activations(onnx.load(str(conv_network(path))))
    quantized = Quantized(path, HTP, ranges=dict.fromkeys(names, Range(0, 1e-6)))
    assert quantized.constant("x_scale") == pytest.approx(1e-4 / 255)


def test_16_bit_activations_lie_closer_to_the_float_model_than_8_bit_ones(path: Path) -> None:
    residual_network(path)
    assert Quantized(path, HTP_A16).sqnr_db() > Quantized(path, HTP).sqnr_db() + 3


# Mixed precision


@pytest.mark.parametrize("style", [CPU, HTP])
def test_a_wider_activation_is_converted_where_its_neighbours_are_not(
    path: Path, style: Style
) -> None:
    mixed = Quantized(residual_network(path), replace(style, overrides={"added": "uint16"}))
    assert mixed.zero_point_types() == {"UINT8", "UINT16", "INT8", "INT32"}
    assert mixed.constant("added_zero_point").dtype == np.uint16
    assert mixed.constant("h_zero_point_convert").dtype == np.uint16
    assert mixed.constant("h_zero_point").dtype == np.uint8
    assert mixed.sqnr_db() > 20


def test_a_type_for_what_is_no_activation_is_an_error(path: Path) -> None:
    with pytest.raises(ConversionError, match="'h_w', 'nowhere', expected names of float act"):
        Quantized(
            conv_network(path), replace(CPU, overrides={"h_w": "uint16", "nowhere": "uint16"})
        )


def test_what_the_toolkit_refuses_is_an_error_of_ours(path: Path) -> None:
    model = onnx.load(str(conv_network(path)))
    with pytest.raises(ConversionError, match="ONNX Runtime does not quantize this model: "):
        onnx_qdq.quantize(model, {}, CPU, ())


# What the plan asks for


def assigned_to(path: Path, *overrides: Override, bits: int = 8, **plan: Any) -> Any:
    model = onnx.load(str(residual_network(path)))
    scheme = Scheme(PER_CHANNEL, replace(ASYMMETRIC, bits=bits))
    settled = plan_for(open_model(path, None), **{"overrides": overrides, "scheme": scheme, **plan})
    return assigned(model, settled, CPU, activations(model))


def test_without_overrides_the_style_is_the_backends(path: Path) -> None:
    found = assigned_to(path)
    assert (found.style, found.kept) == (CPU, ())


def test_the_scheme_decides_width_symmetry_and_granularity(path: Path) -> None:
    whole = TensorScheme(8, True, "per-tensor")
    found = assigned_to(path, scheme=Scheme(whole, TensorScheme(16, True, "per-tensor")))
    assert found.style == replace(
        CPU, activation_type="uint16", activation_symmetric=True, per_channel=False
    )


def test_overrides_give_results_another_width_or_keep_operators_in_float(path: Path) -> None:
    found = assigned_to(
        path,
        Override("w8a16", type="Conv"),
        Override("w8a8", name="p"),
        Override("float32", name="s"),
        keep_float=("y",),
    )
    assert found.style.overrides == dict.fromkeys(("h_linear", "h", "d", "clipped"), "uint16")
    assert found.kept == ("s", "y")


def test_an_override_of_its_own_keeps_an_activation_as_it_is(path: Path) -> None:
    overrides = (Override("w8a16", name="d"), Override("w8a8", name="clipped"))
    assert assigned_to(path, *overrides).style.overrides == {"d": "uint16"}


def test_the_width_of_what_others_read_too_stays_before_the_activation(path: Path) -> None:
    net = Network()
    c = net.node("Conv", [net.input("x", (1, 3, 8, 8)), net.weights("w", 4, 3, 1, 1)], "c")
    net.node("Add", [c, net.node("Relu", [c], "r")], "y")
    model = onnx.load(str(net.write(path, y=(1, 4, 8, 8))))
    plan = plan_for(open_model(path, None), overrides=(Override("w8a16", name="c"),))
    found = assigned(model, plan, CPU, activations(model))
    assert found.style.overrides == {"c": "uint16"}


def test_the_result_behind_a_relu_has_the_width_asked_for_its_convolution(path: Path) -> None:
    model = onnx.load(str(conv_network(path)))
    plan = plan_for(open_model(path, None), overrides=(Override("w8a16", name="h_linear"),))
    settled = assigned(model, plan, CPU, activations(model))
    ranges = dict.fromkeys(activations(model), Range(-1.0, 3.0))
    graph = onnx_qdq.quantize(model, ranges, settled.style, settled.kept).graph
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    first = next(
        constants[node.input[2]]
        for node in graph.node
        if node.op_type == "QuantizeLinear"
        and makers.get(node.input[0], node).op_type in ("Conv", "Relu")
    )
    assert first == TensorProto.UINT16


def test_an_override_to_8_bits_stands_out_in_a_16_bit_model(path: Path) -> None:
    found = assigned_to(path, Override("w8a8", name="added"), bits=16)
    assert found.style.activation_type == "uint16"
    assert found.style.overrides == {"added": "uint8"}


def test_an_override_that_matches_nothing_is_an_error(path: Path) -> None:
    with pytest.raises(ModelError, match="matches no operator"):
        assigned_to(path, Override("w8a16", name="nowhere"))


def test_an_override_to_half_precision_is_an_error(path: Path) -> None:
    with pytest.raises(ConversionError, match="override to fp16, expected float32, w8a8 or w8a16"):
        assigned_to(path, Override("fp16", name="s"))
