"""Multiply-accumulates by hand, and of networks whose figures are published."""

from __future__ import annotations

from typing import Any

import pytest

from edgesdk.convert.macs import macs
from edgesdk.models.graph import Graph, GraphOperator, GraphTensor
from edgesdk.models.reading import read_graph
from edgesdk.values.forecast import Placement, accelerated_macs
from tests.cli import DIGITS


def counted(
    format_: Any,
    kind: str,
    made: tuple[int, ...] | None,
    *inputs: tuple[int, ...],
    domain: str = "",
    **attributes: Any,
) -> int | None:
    """Of one operator with an output of one shape and inputs of others."""
    tensors = tuple(GraphTensor(str(at), shape, "float32") for at, shape in enumerate(inputs))
    output = GraphTensor("made", made, "float32")
    operator = GraphOperator(
        *(0, kind, "it", 1, tuple(range(len(inputs))), (len(inputs),)), attributes, domain
    )
    return macs(operator, Graph(format_, (operator,), (*tensors, output), (), ()))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (counted("onnx", "Conv", (1, 8, 5, 5), (1, 4, 5, 5), (8, 4, 3, 3)), 200 * 36),
        (counted("onnx", "Conv", (1, 8, 5, 5), (1, 8, 5, 5), (8, 1, 3, 3), group=8), 200 * 9),
        (counted("onnx", "ConvTranspose", (1, 2, 10, 10), (1, 4, 5, 5), (4, 2, 2, 2)), 100 * 8),
        (counted("onnx", "Gemm", (6, 10), (6, 64), (64, 10)), 60 * 64),
        (counted("onnx", "Gemm", (6, 10), (64, 6), (64, 10), transA=1), 60 * 64),
        (counted("onnx", "MatMul", (2, 3, 5), (2, 3, 7), (2, 7, 5)), 30 * 7),
        (counted("onnx", "Relu", (1, 8, 5, 5), (1, 8, 5, 5)), 0),
        (counted("tflite", "CONV_2D", (1, 5, 5, 8), (1, 5, 5, 4), (8, 3, 3, 4)), 200 * 36),
        (counted("tflite", "DEPTHWISE_CONV_2D", (1, 5, 5, 8), (1, 5, 5, 8), (1, 3, 3, 8)), 1800),
        (counted("tflite", "FULLY_CONNECTED", (6, 10), (6, 64), (10, 64)), 60 * 64),
        (
            counted("tflite", "TRANSPOSE_CONV", (1, 9, 9, 2), (4,), (2, 2, 2, 4), (1, 5, 5, 4)),
            100 * 8,
        ),
        (counted("tflite", "BATCH_MATMUL", (2, 3, 5), (2, 7, 3), (2, 7, 5), adj_x=True), 30 * 7),
    ],
)
def test_by_hand(found: int, expected: int) -> None:
    assert found == expected


def test_what_is_open_or_nobodys_is_not_known() -> None:
    assert counted("onnx", "Gemm", (-1, 10), (-1, 64), (64, 10)) is None
    assert counted("onnx", "Conv", None, (1, 4, 5, 5), (8, 4, 3, 3)) is None
    assert counted("tflite", "edgetpu-custom-op", (1, 10), (1, 64), domain="custom") is None


def test_one_network_counts_alike_in_both_formats() -> None:
    pytest.importorskip("onnx", reason="install onnx")
    pytest.importorskip("ai_edge_litert", reason="install ai-edge-litert")
    graphs = [read_graph(DIGITS / name) for name in ("digits.onnx", "digits.tflite")]
    totals = [sum(macs(each, graph) or 0 for each in graph.operators) for graph in graphs]
    assert totals == [1_493_632, 1_493_632]


def placed(unit: str, count: int | None) -> Placement:
    return Placement(0, "CONV_2D", "it", unit, macs=count)


def test_the_share_is_of_the_arithmetic_and_not_of_the_operators() -> None:
    found = [placed("edgetpu", 900), placed("cpu", 100), placed("cpu", 0)]
    assert accelerated_macs(found) == 0.9
    assert accelerated_macs([*found, placed("edgetpu", None)]) is None
    assert accelerated_macs([placed("cpu", 0)]) is None
    assert accelerated_macs([]) is None


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "Einsum"])
def test_arithmetic_that_is_not_counted_is_not_known_rather_than_none(kind: str) -> None:
    assert counted("onnx", kind, (1, 10), (1, 64)) is None
    assert counted("tflite", "UNIDIRECTIONAL_SEQUENCE_LSTM", (1, 10), (1, 64)) is None
    assert counted("tflite", "CONV_3D", (1, 10), (1, 64)) is None
