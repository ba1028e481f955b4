"""How many bytes an Edge TPU would keep on chip, by hand-made graphs."""

from __future__ import annotations

import pytest

from edgesdk.convert.parameter_cache import forecast_cache
from edgesdk.values.forecast import CPU, CacheUse, Placement
from tests.unit.convert.graphs import Builder


def cache(net: Builder, capacity: int = 10**9, *units: str) -> CacheUse:
    graph = net.graph()
    where = units or ["edgetpu"] * len(graph.operators)
    placed = [
        Placement(each.index, each.type, each.name, unit)
        for each, unit in zip(graph.operators, where, strict=True)
    ]
    return forecast_cache(graph, placed, capacity)


def dense(net: Builder, outputs: int, inputs: int) -> int:
    weights = net.tensor((outputs, inputs), constant=True)
    return net.operator("FULLY_CONNECTED", [net.input((1, inputs)), weights], (1, outputs))


def test_channels_are_stored_in_groups_of_sixteen_with_sixteen_bytes_each() -> None:
    net = Builder()
    dense(net, 30, 100)
    assert cache(net).on_chip_bytes == 32 * 112 + 32 * 16


def test_few_channels_are_stored_in_groups_of_four() -> None:
    net = Builder()
    weights = net.tensor((16, 3, 3, 3), constant=True)
    net.operator("CONV_2D", [net.input(), weights])
    assert cache(net).on_chip_bytes == 9 * 16 * 4 + 16 * 16


def test_a_depthwise_kernel_is_stored_four_times() -> None:
    net = Builder()
    weights = net.tensor((1, 3, 3, 32), constant=True)
    net.operator("DEPTHWISE_CONV_2D", [net.input(), weights])
    assert cache(net).on_chip_bytes == 9 * 32 * 4 + 32 * 16


@pytest.mark.parametrize(("form", "shape"), [("tflite", (16, 5, 3, 32)), ("onnx", (16, 32, 5, 3))])
def test_the_layout_is_the_formats(form: str, shape: tuple[int, ...]) -> None:
    net = Builder(form)  # type: ignore[arg-type]
    kind = "CONV_2D" if form == "tflite" else "Conv"
    net.operator(kind, [net.input(), net.tensor(shape, constant=True)])
    assert cache(net).on_chip_bytes == 15 * 16 * 32 + 16 * 16


def test_every_operator_takes_whole_lines() -> None:
    net = Builder()
    dense(net, 1, 1)
    assert cache(net).on_chip_bytes == 128


def test_shapes_axes_and_biases_are_no_parameters_of_their_own() -> None:
    net = Builder()
    net.operator("RESHAPE", [net.input(), net.tensor((2,), "int32", values=(1, 4))])
    assert cache(net) == CacheUse(0, 0, 10**9)


def test_operators_on_the_cpu_keep_nothing_on_chip() -> None:
    net = Builder()
    dense(net, 16, 16)
    dense(net, 32, 32)
    assert cache(net, 10**9, "edgetpu", CPU).on_chip_bytes == 512


def test_weights_that_two_operators_share_are_there_once() -> None:
    net = Builder()
    weights = net.tensor((16, 16), constant=True)
    for _ in range(2):
        net.operator("FULLY_CONNECTED", [net.input((1, 16)), weights], (1, 16))
    assert cache(net).on_chip_bytes == 512


def test_what_does_not_fit_is_streamed_as_a_whole() -> None:
    net = Builder()
    dense(net, 16, 16)
    dense(net, 64, 64)
    dense(net, 16, 16)
    assert cache(net, 2000) == CacheUse(1024, 64 * 64 + 64 * 16, 2000)
