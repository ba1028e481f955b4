"""Every quantity that a limit can look at, on one operator each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgesdk.convert.quantities import TABLE, quantity
from edgesdk.models.graph import Attribute
from edgesdk.targets.quantities import QUANTITIES, is_quantity
from tests.unit.convert.graphs import Builder

Make = Callable[[Builder], Any]


def unary(kind: str = "RELU", **keywords: Any) -> Make:
    return lambda net: net.operator(kind, [net.input()], **keywords)


def conv(net: Builder) -> int:
    inputs = [net.input((1, 8, 8, 4)), net.tensor((6, 3, 5, 4), constant=True)]
    inputs.append(net.tensor((6,), "int32", constant=True))
    dilated = {"dilation_h_factor": 2, "dilation_w_factor": 3}
    return net.operator("CONV_2D", inputs, (1, 8, 8, 6), attributes=dilated)


def grouped(net: Builder) -> int:
    inputs = [net.input((1, 8, 8, 8)), net.tensor((6, 3, 3, 2), constant=True)]
    return net.operator("CONV_2D", inputs, (1, 8, 8, 6))


def resize(net: Builder) -> int:
    size = net.tensor((2,), "int32", values=(20, 40))
    return net.operator("RESIZE_BILINEAR", [net.input((1, 10, 10, 4)), size], (1, 20, 40, 4))


def mean(*axes: int, depth: int = 4) -> Make:
    def make(net: Builder) -> int:
        source = net.input((1, 8, 8, depth))
        return net.operator(
            "MEAN", [source, net.tensor((len(axes),), "int32", values=axes)], (1, 4)
        )

    return make


def pad(*amounts: int) -> Make:
    def make(net: Builder) -> int:
        padding = net.tensor((4, 2), "int32", values=amounts)
        return net.operator("PAD", [net.input(), padding])

    return make


def split(net: Builder) -> int:
    axis = net.tensor((), "int32", values=(-4,))
    return net.operator("SPLIT", [axis, net.input((2, 8, 8, 4))])


def strided(*strides: int) -> Make:
    def make(net: Builder) -> int:
        begin, end = (net.tensor((2,), "int32", values=(0, 1)) for _ in range(2))
        step = net.tensor((2,), "int32", values=strides)
        return net.operator("STRIDED_SLICE", [net.input((8, 8)), begin, end, step])

    return make


def joined(values: tuple[float, ...]) -> Make:
    def make(net: Builder) -> int:
        constant = net.tensor((1, 4), values=values)
        return net.operator("CONCATENATION", [net.input((1, 4)), net.input((1, 4)), constant])

    return make


def squeeze(shape: tuple[int, ...], dropped: tuple[int, ...]) -> Make:
    return lambda net: net.operator(
        "SQUEEZE", [net.input(shape)], (4,), attributes={"squeeze_dims": dropped}
    )


def pooled(net: Builder) -> int:
    sizes = {"filter_height": 3, "filter_width": 2}
    return net.operator("MAX_POOL_2D", [net.input()], attributes=sizes)


def prelu(net: Builder) -> int:
    return net.operator("PRELU", [net.input(), net.tensor((1, 8, 4), constant=True)])


CASES: list[tuple[str, Make, object]] = [
    ("version", unary(version=3), 3),
    ("opset", unary(version=17), 17),
    ("domain", unary(domain="custom"), "custom"),
    ("input_dtype", unary(dtype="uint8"), "int8"),
    ("output_dtype", unary(dtype="uint8"), "uint8"),
    ("static", unary(), True),
    ("static", unary(shape=(1, -1)), False),
    ("static", unary(shape=None), False),
    ("rank", unary(shape=(1, 1, 1, 1, 5)), 5),
    ("inner_rank", unary(shape=(1, 1, 5)), 3),
    ("inner_rank", unary(shape=(2, 1, 1, 5)), 4),
    ("output_inner_rank", unary(shape=(1, 1, 5)), 1),
    ("batch", unary(shape=(2, 8, 8, 4)), 2),
    ("batch", lambda net: net.operator("RELU", [net.input((8, 4))], (8, 4)), None),
    ("elements", unary(shape=(10,)), 256),
    ("output_elements", unary(shape=(10,)), 10),
    ("inputs", conv, 3),
    ("inputs", lambda net: net.operator("ADD", [net.input(), -1]), 1),
    ("constant_inputs", conv, 2),
    ("variable_inputs", conv, 1),
    ("constant_parameters", conv, True),
    (
        "constant_parameters",
        lambda net: net.operator("FULLY_CONNECTED", [net.input(), net.input()]),
        False,
    ),
    ("nonzero_constants", joined((0, 0, 0, 0)), 0),
    ("nonzero_constants", joined((0, 1, 0, 0)), 1),
    ("inputs_beside_constants", joined((0, 0, 0, 0)), 2),
    ("inputs_beside_constants", unary(), 0),
    ("constant_inner_rank", prelu, 2),
    ("weight_rank", conv, 4),
    ("kernel_elements", conv, 15),
    ("kernel_elements", pooled, 6),
    ("dilation", conv, 3),
    ("same_dilation", conv, False),
    ("same_dilation", unary(), True),
    ("groups", grouped, 4),
    ("scale_height", resize, 2.0),
    ("scale_width", resize, 4.0),
    ("scale", resize, 4.0),
    ("scale", unary(shape=None), None),
    ("axes", mean(-1, 1), (1, 3)),
    ("axes_batch", mean(0, 1), True),
    ("axes_batch", mean(1, 2), False),
    ("axes_batch", pad(0, 0, 1, 1, 1, 1, 0, 0), False),
    ("axes_batch", pad(1, 0, 0, 0, 0, 0, 0, 0), True),
    ("axes_batch", split, True),
    ("axes_depth_odd", mean(3, depth=6), True),
    ("axes_depth_odd", mean(3, depth=8), False),
    ("axes_depth_odd", mean(1, 2, depth=6), False),
    ("slice_strides", strided(1, 1), 1),
    ("slice_strides", strided(1, 2), (1, 2)),
    ("leading_ones", squeeze((1, 1, 4), (0, 1)), True),
    ("leading_ones", squeeze((4, 1, 4), (1,)), False),
    ("input_depth", unary(), 4),
    ("attribute.axis", unary(attributes={"axis": 3}), 3),
    ("attribute.axis", unary(), None),
]


@pytest.mark.parametrize(("name", "make", "expected"), CASES)
def test_quantity(name: str, make: Make, expected: object) -> None:
    net = Builder()
    make(net)
    assert quantity(name, net.operators[-1], net.graph()) == expected


def onnx_conv(net: Builder) -> int:
    inputs = [net.input((1, 4, 8, 8), "float32"), net.tensor((6, 2, 3, 5), "float32", (), True)]
    given: dict[str, Attribute] = {"group": 2, "dilations": (2, 2), "kernel_shape": (3, 5)}
    return net.operator("Conv", inputs, (1, 6, 8, 8), "float32", attributes=given)


def onnx_resize(net: Builder) -> int:
    return net.operator("Resize", [net.input((1, 4, 10, 10))], (1, 4, 30, 20))


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("groups", onnx_conv, 2),
        ("dilation", onnx_conv, 2),
        ("same_dilation", onnx_conv, True),
        ("kernel_elements", onnx_conv, 15),
        ("attribute.kernel_shape", onnx_conv, (3, 5)),
        ("scale_height", onnx_resize, 3.0),
        ("scale_width", onnx_resize, 2.0),
    ],
)
def test_quantity_of_onnx(name: str, make: Make, expected: object) -> None:
    net = Builder("onnx")
    make(net)
    assert quantity(name, net.operators[-1], net.graph()) == expected


def test_every_quantity_has_a_name_that_descriptors_may_use() -> None:
    assert set(TABLE) == QUANTITIES


def test_every_quantity_is_tested() -> None:
    assert {name for name, _, _ in CASES if "." not in name} == QUANTITIES


@pytest.mark.parametrize("name", ["rank", "attribute.stride_w"])
def test_known_names(name: str) -> None:
    assert is_quantity(name)


@pytest.mark.parametrize("name", ["ranks", "attribute.", ""])
def test_unknown_names(name: str) -> None:
    assert not is_quantity(name)
