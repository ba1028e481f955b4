"""Facts about conversion with ai-edge-quantizer, one for each way it can go wrong silently."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from litert_networks import (
    Converted,
    Network,
    conv,
    conv_network,
    plan_for,
    random_samples,
    unary_network,
)

from edgesdk.convert.backends import litert
from edgesdk.convert.backends.litert import flatbuffer
from edgesdk.convert.backends.litert.calibration import activation_ranges
from edgesdk.convert.keeping import KEPT
from edgesdk.errors import ConversionError, ModelError
from edgesdk.models.types import TensorSpec
from edgesdk.targets.types import TensorScheme
from edgesdk.values.plan import ConversionPlan
from edgesdk.values.recipe import Override


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "network.tflite"


def test_a_convolution_becomes_int8_and_stays_close(path: Path) -> None:
    converted = Converted(conv_network(path))
    assert converted.precision("CONV_2D") == "int8"
    assert converted.sqnr_db("y") > 30
    assert [port.dtype for port in converted.description.inputs] == ["int8"]


def test_a_model_without_a_signature_converts_and_gets_one(path: Path) -> None:
    converted = Converted(conv_network(path))
    signatures = Interpreter(str(converted.path)).get_signature_list()
    assert signatures == {"serving_default": {"inputs": ["x"], "outputs": ["y"]}}


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_a_signature_keeps_its_names_and_leads_to_the_new_edge(path: Path, io: str) -> None:
    def sign(model: Any) -> None:
        graph = model.subgraphs[0]
        model.signatureDefs = [
            schema.SignatureDefT(
                inputs=[schema.TensorMapT(name=b"image", tensorIndex=graph.inputs[0])],
                outputs=[schema.TensorMapT(name=b"features", tensorIndex=graph.outputs[0])],
                signatureKey=b"main",
            )
        ]

    converted = Converted(conv_network(path, sign), io=io)
    runner = Interpreter(str(converted.path)).get_signature_runner("main")
    assert np.dtype(runner.get_input_details()["image"]["dtype"]) == io
    assert np.dtype(runner.get_output_details()["features"]["dtype"]) == io


def test_deprecated_builtin_codes_are_honoured(path: Path) -> None:
    def age(model: Any) -> None:
        for code in model.operatorCodes:
            code.builtinCode = 0

    converted = Converted(conv_network(path, age))
    assert [operator.type for operator in converted.description.operators] == ["CONV_2D"]
    assert converted.sqnr_db("y") > 30


def test_min_max_not_moving_average_an_outlier_in_the_first_sample_is_still_covered(
    path: Path,
) -> None:
    samples = random_samples(conv_network(path), count=40)
    samples[0]["x"][0, 0, 0, 0] = 100.0
    port = Converted(path, samples).description.inputs[0]
    assert port.scale * (127 - port.zero_point) == pytest.approx(100.0, rel=0.01)


def test_calibration_takes_every_sample_of_a_stream_once(path: Path) -> None:
    converted = Converted(conv_network(path))
    assert converted.advanced == len(converted.samples)


def test_batch_matmul_constants_do_not_become_zeros(path: Path) -> None:
    net = Network()
    scales = np.geomspace(0.01, 10, 6)
    weights = net.constant(
        "w", (np.random.default_rng(1).normal(size=(1, 5, 6)) * scales).astype("f")
    )
    x = net.input("x", (1, 4, 5))
    y = net.operator("BATCH_MATMUL", [x, weights], "y", (1, 4, 6), schema.BatchMatMulOptionsT())
    converted = Converted(net.write(path, y))
    assert converted.precision("BATCH_MATMUL") == "int8"
    assert converted.sqnr_db("y") > 25


def test_operator_versions_and_runtime_follow_the_table(path: Path) -> None:
    converted = Converted(conv_network(path))
    assert converted.version("CONV_2D") == 3
    assert converted.metadata("min_runtime_version") == b"1.14.0".ljust(16, b"\0")


def test_a_float_edge_costs_a_quantize_and_a_dequantize_of_their_own_versions(path: Path) -> None:
    converted = Converted(conv_network(path), io="float32")
    assert [operator.type for operator in converted.description.operators] == [
        "QUANTIZE",
        "CONV_2D",
        "DEQUANTIZE",
    ]
    assert converted.version("QUANTIZE") == 1
    assert converted.version("DEQUANTIZE") == 2
    assert [operator.precision for operator in converted.description.operators] == [
        "-",
        "int8",
        "-",
    ]


def test_a_stale_minimum_runtime_is_replaced(path: Path) -> None:
    def claim(model: Any) -> None:
        model.buffers.append(schema.BufferT(data=np.frombuffer(b"9.9.9".ljust(16, b"\0"), "u1")))
        entry = schema.MetadataT(name=b"min_runtime_version", buffer=len(model.buffers) - 1)
        model.metadata = [entry]

    assert Converted(conv_network(path, claim)).metadata("min_runtime_version")[:6] == b"1.14.0"


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_inputs_and_outputs_keep_their_names(path: Path, io: str) -> None:
    description = Converted(conv_network(path), io=io).description
    assert [port.name for port in (*description.inputs, *description.outputs)] == ["x", "y"]
    assert [port.dtype for port in (*description.inputs, *description.outputs)] == [io, io]


def test_what_stays_in_float_is_listed_with_a_reason(path: Path) -> None:
    converted = Converted(unary_network(path, "SIN"))
    (sine,) = [o for o in converted.description.operators if o.type == "SIN"]
    assert (sine.precision, sine.reason) == ("float32", "SIN has no INT8 form in this toolchain")
    assert converted.precision("CONV_2D") == "int8"
    assert converted.description.outputs[0].dtype == "int8"


def test_what_the_recipe_keeps_in_float_says_so(path: Path) -> None:
    converted = Converted(unary_network(path, "TANH"), keep_float=("h",))
    (kept,) = [o for o in converted.description.operators if o.type == "CONV_2D"]
    assert (kept.precision, kept.reason) == ("float32", KEPT)
    assert converted.precision("TANH") == "int8"


def test_keeping_the_last_operator_in_float_leaves_the_output_as_planned(path: Path) -> None:
    converted = Converted(unary_network(path, "TANH"), keep_float=("y",))
    assert converted.precision("TANH") == "float32"
    assert converted.description.outputs[0].dtype == "int8"


def test_keep_float_matches_names_in_full(path: Path) -> None:
    net = Network()
    first = conv(net, net.input("x", (1, 8, 8, 3)), "block")
    second = conv(net, first, "block2")
    converted = Converted(net.write(path, second), keep_float=("block",))
    precisions = {o.name: o.precision for o in converted.description.operators}
    assert (precisions["block"], precisions["block2"]) == ("float32", "int8")


def test_keep_float_that_matches_nothing_is_refused(path: Path) -> None:
    with pytest.raises(ModelError, match=r"keep_float 'conv\.\*' matches no operator"):
        Converted(conv_network(path), keep_float=("conv.*",))


def test_w8a16_computes_on_int16_and_is_closer_than_w8a8(path: Path) -> None:
    narrow_db = Converted(unary_network(path, "TANH")).sqnr_db("y") or 0
    wide = Converted(path, precision="w8a16", io="float32")
    assert (wide.precision("CONV_2D"), wide.precision("TANH")) == ("int16", "int16")
    assert wide.description.inputs[0].dtype == "float32"
    assert (wide.sqnr_db("y") or 0) > narrow_db + 3


def test_fp16_stores_weights_in_half_and_needs_no_ranges(path: Path) -> None:
    half = Converted(conv_network(path), precision="fp16", io="float32")
    (weights,) = [
        s for s in half.description.tensor_sizes if len(s.shape) == 4 and s.kind != "activation"
    ]
    assert weights.dtype == "float16"
    (conv_2d,) = [o for o in half.description.operators if o.type == "CONV_2D"]
    assert conv_2d.precision == "float32"
    assert conv_2d.reason == "its weights are stored in float16 and widened"
    assert (half.sqnr_db("y") or 0) > 60


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (Override("float32", type="CONV_2D"), ("float32", "int8")),
        (Override("w8a16", name="y"), ("int8", "int16")),
        (Override("w8a16", type="TANH"), ("int8", "int16")),
    ],
)
def test_an_override_gives_its_operators_another_precision(
    path: Path, override: Override, expected: tuple[str, str]
) -> None:
    converted = Converted(unary_network(path, "TANH"), overrides=(override,))
    assert (converted.precision("CONV_2D"), converted.precision("TANH")) == expected
    assert (converted.sqnr_db("y") or 0) > 25


def test_a_later_override_wins(path: Path) -> None:
    overrides = (Override("float32", name=".*"), Override("w8a8", type="TANH"))
    converted = Converted(unary_network(path, "TANH"), overrides=overrides)
    assert (converted.precision("CONV_2D"), converted.precision("TANH")) == ("float32", "int8")


def test_an_override_that_matches_nothing_is_refused(path: Path) -> None:
    with pytest.raises(ModelError, match="the override to w8a16 of type 'Conv' matches no oper"):
        Converted(conv_network(path), overrides=(Override("w8a16", type="Conv"),))


STAND_INS = [
    ("RELU6", {}),
    ("RELU_N1_TO_1", {}),
    ("RELU_0_TO_1", {}),
    ("LEAKY_RELU", {"options": schema.LeakyReluOptionsT(alpha=0.1)}),
    ("ELU", {}),
    ("ABS", {"options": schema.AbsOptionsT()}),
    ("L2_NORMALIZATION", {"options": schema.L2NormOptionsT()}),
    ("DEPTH_TO_SPACE", {"options": schema.DepthToSpaceOptionsT(2), "shape": (1, 16, 16, 2)}),
    ("SQUEEZE", {"options": schema.SqueezeOptionsT([0]), "shape": (8, 8, 8)}),
]


@pytest.mark.parametrize(("kind", "keywords"), STAND_INS, ids=[kind for kind, _ in STAND_INS])
def test_an_operator_the_quantizer_does_not_know_still_becomes_int8(
    path: Path, kind: str, keywords: dict[str, Any]
) -> None:
    converted = Converted(unary_network(path, kind, **keywords))
    assert {operator.type for operator in converted.description.operators} == {"CONV_2D", kind}
    assert converted.precision(kind) in ("int8", "-")
    assert converted.sqnr_db("y") > 25


@pytest.mark.parametrize("kind", ["EXP", "LOG"])
def test_exponential_and_logarithm_become_int8(path: Path, kind: str) -> None:
    net = Network()
    x = net.input("x", (1, 64))
    y = net.operator(kind, [x], "y", (1, 64))
    samples = [{"x": np.linspace(0.5, 2.0, 64, dtype=np.float32)[None]}]
    converted = Converted(net.write(path, y), samples)
    assert converted.precision(kind) == "int8"
    assert converted.sqnr_db("y") > 25


def parametrized_network(path: Path, kind: str, dtype: str = "float32") -> Path:
    """x -> CONV_2D h -> `kind` with constant parameters -> y."""
    net = Network()
    h = conv(net, net.input("x", (1, 8, 8, 3)), "h")
    ints = {
        "EXPAND_DIMS": ([1], (1, 1, 8, 8, 8), schema.ExpandDimsOptionsT()),
        "TILE": ([1, 1, 1, 2], (1, 8, 8, 16), schema.TileOptionsT()),
        "REVERSE_V2": ([1], (1, 8, 8, 8), schema.ReverseV2OptionsT()),
        "REDUCE_MAX": ([1, 2], (1, 8), schema.ReducerOptionsT()),
        "ARG_MAX": ([3], (1, 8, 8), schema.ArgMaxOptionsT(schema.TensorType.INT32)),
        "ARG_MIN": ([3], (1, 8, 8), schema.ArgMinOptionsT(schema.TensorType.INT32)),
    }
    floats = {
        "PRELU": np.full((1, 1, 8), 0.25, np.float32),
        "MINIMUM": np.full((1, 1, 1, 8), 1.5, np.float32),
    }
    if kind in floats:
        parameters, shape, options = floats[kind], (1, 8, 8, 8), None
    else:
        values, shape, options = ints[kind]
        parameters = np.array(values, np.int32)
    y = net.operator(kind, [h, net.constant("p", parameters)], "y", shape, options, dtype)
    return net.write(path, y)


@pytest.mark.parametrize(
    "kind", ["EXPAND_DIMS", "TILE", "REVERSE_V2", "REDUCE_MAX", "PRELU", "MINIMUM"]
)
def test_an_operator_with_parameters_the_quantizer_does_not_know_becomes_int8(
    path: Path, kind: str
) -> None:
    converted = Converted(parametrized_network(path, kind))
    assert converted.precision(kind) in ("int8", "-")
    assert converted.description.outputs[0].dtype == "int8"
    assert not [o for o in converted.description.operators if o.precision == "float32"]
    assert converted.sqnr_db("y") > 25


@pytest.mark.parametrize("kind", ["ARG_MAX", "ARG_MIN"])
def test_arg_max_reads_int8_and_keeps_its_integer_output(path: Path, kind: str) -> None:
    converted = Converted(parametrized_network(path, kind, "int32"))
    assert [operator.precision for operator in converted.description.operators] == ["int8"] * 2
    assert converted.description.outputs[0].dtype == "int32"


def test_every_part_of_a_split_stays_int8(path: Path) -> None:
    net = Network()
    h = conv(net, net.input("x", (1, 8, 8, 3)), "h")
    sizes = net.constant("sizes", np.array([3, 5], np.int32))
    axis = net.constant("axis", np.array(3, np.int32))
    rest = net.tensor("rest", (1, 8, 8, 5), "float32")
    y = net.operator(
        "SPLIT_V", [h, sizes, axis], "y", (1, 8, 8, 3), schema.SplitVOptionsT(2), more=[rest]
    )
    converted = Converted(net.write(path, y, rest))
    assert [port.dtype for port in converted.description.outputs] == ["int8", "int8"]
    assert min(converted.sqnr_db("y"), converted.sqnr_db("rest")) > 25


def test_top_k_reads_int8_and_keeps_its_integer_indices(path: Path) -> None:
    net = Network()
    h = conv(net, net.input("x", (1, 8, 8, 3)), "h")
    places = net.tensor("places", (1, 8, 8, 2), "int32")
    inputs = [h, net.constant("k", np.array(2, np.int32))]
    y = net.operator("TOPK_V2", inputs, "y", (1, 8, 8, 2), schema.TopKV2OptionsT(), more=[places])
    converted = Converted(net.write(path, y, places))
    assert converted.precision("TOPK_V2") == "int8"
    assert [port.dtype for port in converted.description.outputs] == ["int8", "int32"]
    assert converted.sqnr_db("y") > 25


@pytest.mark.parametrize("kind", ["GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"])
def test_comparisons_read_int8(path: Path, kind: str) -> None:
    net = Network()
    x = net.input("x", (1, 8, 8, 3))
    operands = [conv(net, x, "h"), conv(net, x, "g")]
    y = net.operator(kind, operands, "y", (1, 8, 8, 8), dtype="bool")
    converted = Converted(net.write(path, y))
    assert {operator.precision for operator in converted.description.operators} == {"int8"}
    assert converted.description.outputs[0].dtype == "bool"


def test_log_softmax_gets_the_scale_its_kernel_has(path: Path) -> None:
    converted = Converted(unary_network(path, "LOG_SOFTMAX", options=schema.LogSoftmaxOptionsT()))
    (port,) = converted.description.outputs
    assert (port.scale, port.zero_point) == (1 / 16, 127)
    assert converted.precision("LOG_SOFTMAX") == "int8"


def test_log_softmax_stays_in_float_with_symmetric_activations(path: Path) -> None:
    source = unary_network(path, "LOG_SOFTMAX", options=schema.LogSoftmaxOptionsT())
    converted = Converted(source, activations=TensorScheme(8, True, "per-tensor"))
    assert converted.precision("LOG_SOFTMAX") == "float32"


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_an_output_that_is_read_inside_the_network_too_converts(path: Path, io: str) -> None:
    net = Network()
    first = conv(net, net.input("x", (1, 8, 8, 3)), "first")
    second = conv(net, first, "second")
    converted = Converted(net.write(path, second, first), io=io)
    outputs = [(port.name, port.dtype) for port in converted.description.outputs]
    assert outputs == [("second", io), ("first", io)]
    kinds = [o.type for o in converted.description.operators if o.precision != "-"]
    assert kinds == ["CONV_2D", "CONV_2D"]


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_an_output_that_is_an_input_too_converts(path: Path, io: str) -> None:
    net = Network()
    x = net.input("x", (1, 8, 8, 3))
    description = Converted(net.write(path, conv(net, x, "y"), x), io=io).description
    assert [(port.name, port.dtype) for port in description.inputs] == [("x", io)]
    assert [(port.name, port.dtype) for port in description.outputs] == [("y", io), ("x", io)]


def test_a_float_output_behind_a_float_operator_is_not_quantized_on_its_way(path: Path) -> None:
    converted = Converted(unary_network(path, "SIN"), io="float32")
    types = [operator.type for operator in converted.description.operators]
    assert types == ["QUANTIZE", "CONV_2D", "DEQUANTIZE", "SIN"]


def test_space_to_batch_and_back_stay_int8(path: Path) -> None:
    net = Network()
    h = conv(net, net.input("x", (1, 8, 8, 3)), "h")
    block = net.constant("block", np.array([2, 2], np.int32))
    edges = net.constant("edges", np.zeros((2, 2), np.int32))
    split = net.operator("SPACE_TO_BATCH_ND", [h, block, edges], "split", (4, 4, 4, 8))
    y = net.operator("BATCH_TO_SPACE_ND", [split, block, edges], "y", (1, 8, 8, 8))
    converted = Converted(net.write(path, y))
    assert not [o for o in converted.description.operators if o.precision == "float32"]
    assert converted.sqnr_db("y") > 25


def test_integer_inputs_stay_integers(path: Path) -> None:
    net = Network()
    table = net.constant("table", np.random.default_rng(2).normal(size=(4, 16)).astype("f"))
    tokens = net.input("tokens", (1, 6), "int32")
    rows = net.operator("GATHER", [table, tokens], "rows", (1, 6, 16), schema.GatherOptionsT())
    y = net.operator("TANH", [rows], "y", (1, 6, 16))
    converted = Converted(net.write(path, y))
    assert converted.description.inputs[0].dtype == "int32"
    assert converted.precision("TANH") == "int8"
    assert converted.sqnr_db("y") > 25


def test_the_bias_of_a_channel_without_weights_survives(path: Path) -> None:
    weights = np.random.default_rng(5).normal(size=(4, 3, 3, 3)).astype(np.float32)
    weights[1] = 0.0
    weights[2] *= 1e-9
    bias = np.array([0.5, 3.0, 2.0, 1.0], np.float32)
    net = Network()
    y = conv(net, net.input("x", (1, 8, 8, 3)), "y", channels=4, weights=weights, bias=bias)
    converted = Converted(net.write(path, y))
    port = converted.description.outputs[0]
    sample = np.zeros((1, 8, 8, 3), np.int8)
    (found,) = next(litert.run(converted.path, "builtin", [[sample]]))
    channels = port.scale * (found.astype(np.float32) - port.zero_point)
    assert channels[..., 1] == pytest.approx(3.0, abs=port.scale)
    assert channels[..., 2] == pytest.approx(2.0, abs=port.scale)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    weight=st.sampled_from([1e-12, 1e-6, 1e-2, 1.0, 100.0]),
    offset=st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
    per_channel=st.booleans(),
)
def test_any_mix_of_weight_and_bias_sizes_stays_close(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    weight: float,
    offset: float,
    per_channel: bool,
) -> None:
    assume(weight > 1e-9 or offset > 0)  # the quantizer takes activations below 1e-9 for zero
    random = np.random.default_rng(seed)
    net = Network()
    x = net.input("x", (1, 16))
    w = net.constant("w", (random.normal(size=(4, 16)) * weight).astype(np.float32))
    b = net.constant("b", (random.normal(size=4) * offset).astype(np.float32))
    y = net.operator("FULLY_CONNECTED", [x, w, b], "y", (1, 4), schema.FullyConnectedOptionsT())
    granularity = "per-channel" if per_channel else "per-tensor"
    path = net.write(tmp_path_factory.mktemp("mix") / "network.tflite", y)
    converted = Converted(path, weights=TensorScheme(8, True, granularity))
    assert converted.sqnr_db("y") > 20


def test_per_tensor_weights_have_one_scale(path: Path) -> None:
    converted = Converted(conv_network(path), weights=TensorScheme(8, True, "per-tensor"))
    (weights,) = [t for t in converted.model.subgraphs[0].tensors if t.name == b"y/w"]
    assert len(weights.quantization.scale) == 1


def test_symmetric_activations_have_zero_point_zero(path: Path) -> None:
    symmetric = TensorScheme(8, True, "per-tensor")
    description = Converted(conv_network(path), activations=symmetric).description
    assert [port.zero_point for port in (*description.inputs, *description.outputs)] == [0, 0]


def test_asymmetric_weights_are_refused(path: Path) -> None:
    with pytest.raises(ConversionError, match="expected symmetric weights"):
        Converted(conv_network(path), weights=TensorScheme(8, False, "per-channel"))


def test_tensors_of_the_same_name_convert(path: Path) -> None:
    net = Network()
    first = conv(net, net.input("x", (1, 8, 8, 3)), "h")
    second = conv(net, first, "h")
    net.graph.tensors[second].name = b"y"
    converted = Converted(net.write(path, second))
    assert [o.precision for o in converted.description.operators] == ["int8", "int8"]
    assert converted.sqnr_db("y") > 25


def flatten_network(path: Path) -> Path:
    """x -> SHAPE -> STRIDED_SLICE -> PACK -> RESHAPE, as Keras flattens with a free batch size."""
    net = Network()
    x = net.input("x", (1, 4, 4, 3))
    net.graph.tensors[x].shapeSignature = [-1, 4, 4, 3]
    shape = net.operator("SHAPE", [x], "shape", (4,), schema.ShapeOptionsT(2), "int32")
    begin, end, step = (
        net.constant(name, np.array([value], np.int32))
        for name, value in (("begin", 0), ("end", 1), ("step", 1))
    )
    options = schema.StridedSliceOptionsT(shrinkAxisMask=1)
    batch = net.operator("STRIDED_SLICE", [shape, begin, end, step], "batch", (), options, "int32")
    rest = net.constant("rest", np.array(48, np.int32))
    packed = net.operator("PACK", [batch, rest], "packed", (2,), schema.PackOptionsT(2), "int32")
    y = net.operator("RESHAPE", [x, packed], "y", (1, 48), schema.ReshapeOptionsT())
    net.graph.tensors[y].shapeSignature = [-1, 48]
    return net.write(path, y)


def test_shape_arithmetic_is_folded_away(path: Path) -> None:
    source = flatten_network(path)
    output = path.with_name("float.tflite")
    litert.prepare(source, plan_for(source), output)
    assert [o.type for o in litert.describe(output).operators] == ["RESHAPE"]


def _resized(source: Path, *shape: int) -> ConversionPlan:
    return replace(plan_for(source), inputs=(TensorSpec("x", shape, "float32"),))


def test_a_resized_input_changes_every_shape_behind_it(path: Path) -> None:
    source, output = conv_network(path), path.with_name("float.tflite")
    litert.prepare(source, _resized(source, 1, 16, 12, 3), output)
    description = litert.describe(output)
    assert description.inputs[0].shape == (1, 16, 12, 3)
    assert description.outputs[0].shape == (1, 16, 12, 8)


def test_a_shape_the_network_cannot_take_is_refused(path: Path) -> None:
    source = conv_network(path)
    plan = _resized(source, 1, 8, 8, 5)
    with pytest.raises(ConversionError, match=r"does not run network\.tflite with x: float32"):
        litert.prepare(source, plan, path.with_name("float.tflite"))


def test_float16_weights_are_widened_exactly_and_quantized(path: Path) -> None:
    net = Network()
    half = np.random.default_rng(4).normal(size=(4, 16)).astype(np.float16)
    x, stored = net.input("x", (1, 16)), net.constant("w16", half)
    weights = net.operator("DEQUANTIZE", [stored], "w", (4, 16))
    y = net.operator(
        "FULLY_CONNECTED", [x, weights, -1], "y", (1, 4), schema.FullyConnectedOptionsT()
    )
    converted = Converted(net.write(path, y))
    assert [o.type for o in converted.description.operators] == ["FULLY_CONNECTED"]
    assert converted.precision("FULLY_CONNECTED") == "int8"
    (widened,) = [
        flatbuffer.constant(model, tensor)
        for model in [flatbuffer.read_model(converted.float_path.read_bytes())]
        for tensor in model.subgraphs[0].tensors
        if tensor.name == b"w"
    ]
    assert np.array_equal(widened, half.astype(np.float32))


def test_no_calibration_samples_is_an_error(path: Path) -> None:
    with pytest.raises(ConversionError, match="no calibration samples"):
        Converted(conv_network(path), samples=[])


def test_an_activation_that_is_no_number_is_named(path: Path) -> None:
    samples = random_samples(unary_network(path, "LOG"))
    samples[2]["x"][:] = np.nan
    with pytest.raises(ConversionError, match=r"'x' .* not a number on calibration sample 3"):
        Converted(path, samples)


def test_infinite_padding_does_not_stretch_the_range(path: Path) -> None:
    net = Network()
    x = net.input("x", (1, 8, 8, 3))
    edges = net.constant("edges", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    low = net.constant("low", np.array(-np.inf, np.float32))
    padded = net.operator("PADV2", [x, edges, low], "padded", (1, 10, 10, 3))
    options = schema.Pool2DOptionsT(strideW=1, strideH=1, filterWidth=3, filterHeight=3)
    options.padding = schema.Padding.VALID
    y = net.operator("MAX_POOL_2D", [padded], "y", (1, 8, 8, 3), options)
    converted = Converted(net.write(path, y))
    assert converted.sqnr_db("y") > 30


def test_conversion_is_silent_and_leaves_logging_alone(
    path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    net = Network()
    # The quantizer warns of names this long.
    y = conv(net, net.input("x", (1, 8, 8, 3)), "y" * 10_001)
    converted = Converted(net.write(path, y))
    list(litert.run(converted.path, litert.kernels()[0], []))
    assert capfd.readouterr() == ("", "")
    assert logging.root.handlers == []
    assert logging.root.manager.disable == logging.NOTSET


def test_asking_for_the_kernels_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    litert.kernels.__wrapped__()
    assert capfd.readouterr() == ("", "")


def test_a_result_that_does_not_load_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert, "quantized", lambda content, ranges, plan: content[:200])
    with pytest.raises(ConversionError, match="LiteRT does not run the converted model"):
        Converted(conv_network(path))


def test_a_result_whose_edge_is_not_as_planned_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert, "quantized", lambda content, ranges, plan: content)
    with pytest.raises(ConversionError, match=r"'x' .* is float32, expected int8"):
        Converted(conv_network(path))


def test_no_float_weights_and_nothing_unused_are_left_behind(path: Path) -> None:
    def litter(model: Any) -> None:
        model.buffers.append(schema.BufferT(data=np.zeros(10_000, np.uint8)))
        model.operatorCodes.append(schema.OperatorCodeT(builtinCode=66, version=1))

    converted = Converted(conv_network(path, litter))
    assert converted.path.stat().st_size < 3000
    assert len(converted.model.operatorCodes) == 1


def test_equal_zero_points_are_stored_once(path: Path) -> None:
    net = Network()
    h = conv(net, net.input("x", (1, 8, 8, 3)), "h", channels=200)
    y = conv(net, h, "y", channels=200)
    converted = Converted(net.write(path, y))
    packed = schema.Model.GetRootAs(converted.path.read_bytes(), 0)
    tensors = [packed.Subgraphs(0).Tensors(i) for i in range(packed.Subgraphs(0).TensorsLength())]
    places = {
        t.Quantization().ZeroPointAsNumpy().__array_interface__["data"][0]
        for t in tensors
        if t.Quantization().ZeroPointLength() == 200
    }
    assert len(places) == 1


def dense_network(path: Path, units: int) -> Path:
    """x (1, units) -> FULLY_CONNECTED y (1, units)."""
    random = np.random.default_rng(6)
    net = Network()
    weights = net.constant("w", random.normal(size=(units, units)).astype(np.float32))
    bias = net.constant("b", random.normal(size=units).astype(np.float32))
    inputs = [net.input("x", (1, units)), weights, bias]
    y = net.operator("FULLY_CONNECTED", inputs, "y", (1, units), schema.FullyConnectedOptionsT())
    return net.write(path, y)


@pytest.mark.parametrize("units", [8, 600], ids=["small", "stored outside by the quantizer"])
def test_constants_are_aligned_to_16_bytes_within_the_flatbuffer(path: Path, units: int) -> None:
    content = np.fromfile(Converted(dense_network(path, units)).path, np.uint8)
    packed = schema.Model.GetRootAs(content, 0)
    start = content.__array_interface__["data"][0]
    buffers = [packed.Buffers(i).DataAsNumpy() for i in range(packed.BuffersLength())]
    arrays = [buffer for buffer in buffers if not isinstance(buffer, int)]
    assert max(array.size for array in arrays) == units * units
    assert all((a.__array_interface__["data"][0] - start) % 16 == 0 for a in arrays)


def test_sizes_are_those_of_the_tensors(path: Path) -> None:
    description = Converted(conv_network(path)).description
    sizes = {
        size.name: (size.kind, size.dtype, size.size_bytes) for size in description.tensor_sizes
    }
    assert sizes == {
        "y": ("activation", "int8", 512),
        "y/w": ("constant", "int8", 216),
        "x": ("activation", "int8", 192),
        "y/b": ("constant", "int32", 32),
    }
    assert list(sizes) == ["y", "y/w", "x", "y/b"]
    assert description.working_set_bytes == 512 + 216 + 192 + 32


def test_the_worst_activation_comes_first(path: Path) -> None:
    converted = Converted(unary_network(path, "TANH"))
    errors = litert.compare(converted.float_path, converted.path, converted.samples)
    assert {error.name for error in errors} == {"x", "h", "y"}
    ratios = [error.sqnr_db for error in errors]
    assert ratios == sorted(ratios)


def test_a_model_equals_itself(path: Path) -> None:
    source = conv_network(path)
    errors = litert.compare(source, source, random_samples(source))
    assert {(error.name, error.sqnr_db, error.max_abs_error) for error in errors} == {
        ("x", 200.0, 0.0),
        ("y", 200.0, 0.0),
    }


def test_activations_are_compared_by_place_where_names_changed(path: Path) -> None:
    converted = Converted(conv_network(path))
    model = flatbuffer.read_model(converted.path.read_bytes())
    for tensor in model.subgraphs[0].tensors:
        tensor.name += b"_int8"
    converted.path.write_bytes(flatbuffer.write_model(model))
    assert converted.sqnr_db("y") > 30


def test_activations_are_compared_by_name_where_operators_changed(path: Path) -> None:
    source = flatten_network(path)
    folded = path.with_name("float.tflite")
    litert.prepare(source, plan_for(source), folded)
    errors = litert.compare(source, folded, random_samples(source))
    assert {(error.name, error.sqnr_db) for error in errors} == {("x", 200.0), ("y", 200.0)}


def test_golden_outputs_can_be_computed_with_every_kernel(path: Path) -> None:
    converted = Converted(conv_network(path))
    assert litert.kernels()[-1] == "builtin"
    for kernel in litert.kernels():
        (outputs,) = litert.run(converted.path, kernel, [[np.zeros((1, 8, 8, 3), np.int8)]])
        assert [(o.shape, o.dtype) for o in outputs] == [((1, 8, 8, 8), np.int8)]


def test_running_what_is_no_model_is_an_error(path: Path) -> None:
    path.write_bytes(b"no model")
    with pytest.raises(ConversionError, match=r"network\.tflite: LiteRT refuses the model"):
        next(litert.run(path, "builtin", []))


# How ranges are made


def rare_outlier(path: Path) -> list[dict[str, Any]]:
    """Values within 5, and one of 100 among 23,040."""
    samples = random_samples(path, 120)
    samples[40]["x"].flat[0] = 100
    return samples


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_a_method_cuts_an_outlier_off(path: Path, method: str) -> None:
    source = conv_network(path)
    converted = Converted(source, rare_outlier(source), range_method=method)
    scale = converted.description.inputs[0].scale
    assert scale is not None
    assert scale * 255 < 20


def test_bounds_cover_an_outlier(path: Path) -> None:
    source = conv_network(path)
    scale = Converted(source, rare_outlier(source)).description.inputs[0].scale
    assert scale is not None
    assert scale * 255 > 100


def test_ranges_are_those_of_the_width_that_an_operator_is_given(path: Path) -> None:
    content = conv_network(path).read_bytes()
    cubes = [{"x": sample["x"] ** 3} for sample in random_samples(path, 20)]
    found = {
        precision: activation_ranges(
            content, plan_for(path, range_method="mse", precision=precision), cubes, lambda _: None
        )
        for precision in ("w8a8", "w8a16")
    }
    assert found["w8a8"]["x"].high < found["w8a16"]["x"].high
