"""What the Edge TPU's descriptor says of each operator, in the compiler's own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from edgesdk.convert.placement import ONE_SUBGRAPH, UNSUPPORTED_DTYPE, place
from edgesdk.models.graph import Attribute
from edgesdk.targets.loading import load_target, target_ids
from edgesdk.values.forecast import Placement
from tests.unit.convert.graphs import Builder, Shape

CORAL = load_target("coral-usb")
OTHERWISE = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
VERSION = "Operation version not supported"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
IMAGE = (1, 16, 16, 8)


def placed(net: Builder) -> Placement:
    return place(net.graph(), CORAL)[-1]


def of(
    kind: str,
    *constants: tuple[Shape, str, tuple[float, ...]],
    source: Shape = IMAGE,
    shape: Shape = IMAGE,
    source_dtype: str = "int8",
    dtype: str = "int8",
    version: int = 1,
    **attributes: Any,
) -> Placement:
    """One operator on one input and these constants (shape, dtype, values)."""
    net = Builder()
    inputs = [net.input(source, source_dtype)]
    inputs += [net.tensor(each, kept, values, constant=True) for each, kept, values in constants]
    given: Mapping[str, Attribute] = attributes
    net.operator(kind, inputs, shape, dtype, given, version)
    return placed(net)


SIMPLE = (
    *("ADD", "AVERAGE_POOL_2D", "CONCATENATION", "EXPAND_DIMS", "L2_NORMALIZATION", "LOGISTIC"),
    *("MAXIMUM", "MAX_POOL_2D", "MINIMUM", "MUL", "QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1"),
    *("RESHAPE", "RSQRT", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SQUARED_DIFFERENCE", "SQUEEZE"),
    *("SUB", "TANH", "TRANSPOSE", "PACK"),
)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("kind", SIMPLE)
def test_mapped(kind: str, dtype: str) -> None:
    assert of(kind, source_dtype=dtype, dtype=dtype).unit == "edgetpu"


REFUSED = (
    *("ABS", "BATCH_MATMUL", "DEPTH_TO_SPACE", "DIV", "ELU", "EXP", "GATHER", "GELU", "HARD_SWISH"),
    *("LEAKY_RELU", "LOG_SOFTMAX", "SPLIT_V", "TILE", "UNPACK", "BATCH_TO_SPACE_ND"),
)


@pytest.mark.parametrize("kind", REFUSED)
def test_not_supported(kind: str) -> None:
    assert of(kind).reason == "Operation not supported"


@pytest.mark.parametrize("dtype", ["float32", "int16", "int32", "int64", "bool"])
def test_other_data_types_are_refused(dtype: str) -> None:
    assert of("ADD", dtype=dtype).reason == UNSUPPORTED_DTYPE


def test_an_int64_arg_max_is_refused_for_its_type() -> None:
    found = of("ARG_MAX", ((), "int32", (3,)), dtype="int64", shape=(1, 16, 16))
    assert found.reason == UNSUPPORTED_DTYPE
    assert "on the host" in found.cure


def test_detection_postprocessing_is_on_the_cpu_which_is_usual() -> None:
    net = Builder()
    kind = "TFLite_Detection_PostProcess"
    net.operator(kind, [net.input((1, 100, 4), "uint8")], (1, 10, 4), "float32", domain="custom")
    found = placed(net)
    assert (found.unit, found.reason) == ("cpu", UNSUPPORTED_DTYPE)
    assert "always runs on the CPU, which is usual" in found.cure


def test_quantizing_float_inputs_has_a_status_of_its_own() -> None:
    net = Builder()
    x = net.operator("QUANTIZE", [net.input(dtype="float32")])
    net.operator("RELU", [x])
    first, second = place(net.graph(), CORAL)
    assert (first.unit, first.reason) == ("cpu", OTHERWISE)
    assert second.unit == "edgetpu"


def test_an_open_shape_is_refused() -> None:
    assert of("RELU", source=(1, -1, -1, 8), shape=(1, -1, -1, 8)).reason == OTHERWISE


@pytest.mark.parametrize("shape", [(2, 8, 8, 4), (1, 2, 8, 8, 4), (2, 1, 1, 1)])
def test_more_than_three_inner_dimensions_are_refused(shape: tuple[int, ...]) -> None:
    assert of("RESHAPE", source=shape, shape=shape).reason == RANK


@pytest.mark.parametrize("shape", [(8,), (2, 8), (4, 4, 8), (1, 1, 4, 4, 8)])
def test_three_inner_dimensions_are_mapped(shape: tuple[int, ...]) -> None:
    assert of("RESHAPE", source=shape, shape=shape).unit == "edgetpu"


WEIGHTS = ((8, 3, 3, 8), "int8", ())
BIAS = ((8,), "int32", ())


@pytest.mark.parametrize("version", [1, 2, 3, 5])
def test_convolution_versions_that_are_mapped(version: int) -> None:
    assert of("CONV_2D", WEIGHTS, BIAS, version=version).unit == "edgetpu"


def test_a_grouped_convolution_is_too_new() -> None:
    assert of("CONV_2D", WEIGHTS, BIAS, version=6).reason == VERSION


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize(("height", "width", "unit"), [(2, 2, "edgetpu"), (1, 2, "cpu")])
def test_dilation_must_be_the_same_both_ways(kind: str, height: int, width: int, unit: str) -> None:
    dilated: dict[str, Any] = {"dilation_h_factor": height, "dilation_w_factor": width}
    assert of(kind, WEIGHTS, BIAS, **dilated).unit == unit


@pytest.mark.parametrize("kind", ["CONV_2D", "FULLY_CONNECTED"])
def test_weights_must_be_constants(kind: str) -> None:
    net = Builder()
    net.operator(kind, [net.input(), net.input((1, 3, 3, 8))], (1, 8))
    assert placed(net).reason == OTHERWISE


@pytest.mark.parametrize(
    ("version", "reason"), [(1, ""), (4, ""), (6, ""), (5, VERSION), (9, VERSION), (12, VERSION)]
)
def test_fully_connected_versions(version: int, reason: str) -> None:
    dense = ((4, 64), "int8", ())
    found = of("FULLY_CONNECTED", dense, source=(1, 64), shape=(1, 4), version=version)
    assert found.reason == reason


def test_a_fully_connected_layer_has_one_row() -> None:
    found = of("FULLY_CONNECTED", ((4, 64), "int8", ()), source=(7, 64), shape=(7, 4), version=4)
    assert found.reason == OTHERWISE


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION"])
@pytest.mark.parametrize(("fused", "unit"), [("NONE", "edgetpu"), ("RELU", "cpu")])
def test_no_fused_activation(kind: str, fused: str, unit: str) -> None:
    assert of(kind, fused_activation_function=fused).unit == unit


@pytest.mark.parametrize(("values", "unit"), [((0, 0), "edgetpu"), ((0, 1), "cpu")])
def test_only_zeros_are_concatenated_as_constants(values: tuple[float, ...], unit: str) -> None:
    assert of("CONCATENATION", ((1, 2), "int8", values)).unit == unit


def test_zeros_are_concatenated_with_one_other_input() -> None:
    net = Builder()
    inputs = [net.input((1, 2)), net.input((1, 2)), net.tensor((1, 2), values=(0, 0))]
    net.operator("CONCATENATION", inputs, (1, 6))
    assert placed(net).reason == OTHERWISE


@pytest.mark.parametrize("kind", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
@pytest.mark.parametrize(("axes", "unit"), [((1, 2), "edgetpu"), ((0,), "cpu")])
def test_the_batch_is_not_reduced(kind: str, axes: tuple[float, ...], unit: str) -> None:
    assert of(kind, ((len(axes),), "int32", axes), shape=(1, 8)).unit == unit


@pytest.mark.parametrize(("depth", "unit"), [(8, "edgetpu"), (6, "cpu")])
def test_the_mean_over_channels_needs_a_multiple_of_four(depth: int, unit: str) -> None:
    found = of("MEAN", ((1,), "int32", (3,)), source=(1, 4, 4, depth), shape=(1, 4, 4, 1))
    assert found.unit == unit


@pytest.mark.parametrize(
    ("amounts", "unit"), [((0, 0, 1, 1, 1, 1, 0, 0), "edgetpu"), ((0, 1) + (0,) * 6, "cpu")]
)
def test_the_batch_is_not_padded(amounts: tuple[float, ...], unit: str) -> None:
    assert of("PAD", ((4, 2), "int32", amounts)).unit == unit


@pytest.mark.parametrize(("alpha", "unit"), [((1, 1, 8), "edgetpu"), ((16, 16, 8), "cpu")])
def test_prelu_has_one_alpha_a_channel(alpha: tuple[int, ...], unit: str) -> None:
    assert of("PRELU", (alpha, "int8", ())).unit == unit


@pytest.mark.parametrize("kind", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize(
    ("source", "result", "unit"),
    [
        ((1, 16, 16, 8), (1, 32, 32, 8), "edgetpu"),
        ((1, 33, 33, 21), (1, 513, 513, 21), "cpu"),
        ((1, 1, 1, 256), (1, 33, 33, 256), "cpu"),
        ((1, 256, 256, 32), (1, 512, 512, 32), "cpu"),
    ],
    ids=["twice", "15.5 times", "33 times", "large"],
)
def test_resizing(kind: str, source: Shape, result: Shape, unit: str) -> None:
    assert of(kind, ((2,), "int32", ()), source=source, shape=result).unit == unit


def test_a_resize_that_is_refused_has_a_cure() -> None:
    found = of("RESIZE_BILINEAR", source=(1, 1, 1, 8), shape=(1, 33, 33, 8))
    assert (found.reason, "resize by 2" in found.cure) == (OTHERWISE, True)


@pytest.mark.parametrize(("size", "unit"), [(16_000, "edgetpu"), (16_001, "cpu")])
def test_softmax_is_limited(size: int, unit: str) -> None:
    assert of("SOFTMAX", source=(1, size), shape=(1, size)).unit == unit


SLICES: dict[str, Any] = {"ellipsis_mask": 0, "new_axis_mask": 0}


@pytest.mark.parametrize(
    ("stride", "masks", "unit"),
    [
        (1, SLICES, "edgetpu"),
        (2, SLICES, "cpu"),
        (1, {**SLICES, "ellipsis_mask": 1}, "cpu"),
        (1, {**SLICES, "new_axis_mask": 2}, "cpu"),
    ],
)
def test_strided_slices(stride: int, masks: dict[str, Any], unit: str) -> None:
    four = ((4,), "int32", (0, 0, 0, 0))
    steps = ((4,), "int32", (1, stride, stride, 1))
    assert of("STRIDED_SLICE", four, four, steps, **masks).unit == unit


def test_an_lstm_may_have_its_cell_state_in_int16() -> None:
    net = Builder()
    inputs = [net.input((1, 28, 28)), net.input((1, 20)), net.input((1, 20), "int16")]
    net.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, (1, 28, 20))
    assert placed(net).unit == "edgetpu"


def test_the_compiler_makes_one_piece() -> None:
    net = Builder()
    x = net.operator("RELU", [net.input()])
    net.operator("RELU", [net.operator("ABS", [x])])
    assert [each.reason for each in place(net.graph(), CORAL)] == [
        "",
        "Operation not supported",
        ONE_SUBGRAPH,
    ]


@pytest.mark.parametrize("name", [name for name in target_ids() if name.startswith("coral-")])
def test_every_coral_device_has_the_same_edge_tpu(name: str) -> None:
    device = load_target(name)
    assert device.operators == CORAL.operators
    assert device.accelerator == CORAL.accelerator
    assert [unit.id for unit in device.compute_units] == ["edgetpu", "cpu"]
    assert [runtime.name for runtime in device.runtimes] == ["edgetpu"]
