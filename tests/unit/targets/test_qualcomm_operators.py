"""Facts about the HTP's table of operators: it foretells what the compiler here does."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from edgesdk.convert.placement import place
from edgesdk.errors import ConversionError
from edgesdk.models.reading import read_graph
from edgesdk.targets.loading import list_targets, load_target
from tests.onnx_networks import Network, Shape

SHAPE = (1, 4, 8, 8)
POOLED = (1, 4, 1, 1)
NETWORKS: dict[str, tuple[Callable[[Network, str], str], Shape]] = {
    "Selu": (lambda net, x: net.node("Selu", [x], "op"), SHAPE),
    "ThresholdedRelu": (lambda net, x: net.node("ThresholdedRelu", [x], "op"), SHAPE),
    "Sum": (lambda net, x: net.node("Sum", [x, net.constant("k", [0.5])], "op"), SHAPE),
    "ReduceL2": (lambda net, x: net.node("ReduceL2", [x], "op", axes=[2, 3]), POOLED),
    "ReduceProd": (lambda net, x: net.node("ReduceProd", [x], "op", axes=[2, 3]), POOLED),
    "Elu": (lambda net, x: net.node("Elu", [x], "op"), SHAPE),
}
"""Operator type to what adds one to a network, and the shape of its output."""


def network(path: Path, kind: str) -> Path:
    """x -> Sigmoid -> one operator -> Sigmoid y, so that it stands between quantized ones."""
    build, shape = NETWORKS[kind]
    net = Network()
    inner = build(net, net.node("Sigmoid", [net.input("x", SHAPE)], "before"))
    net.node("Sigmoid", [inner], "y")
    return net.write(path, y=shape)


def foretold(path: Path, target: str, kind: str) -> bool:
    """The forecast has the operator on the HTP."""
    placements = place(read_graph(path), load_target(target))
    return next(each.unit for each in placements if each.type == kind) == "htp"


def compiled(path: Path, target: str) -> bool:
    """The compiler takes the whole network; it is skipped where there is none."""
    try:
        version("onnxruntime-qnn")
    except PackageNotFoundError:
        pytest.skip("onnxruntime-qnn is not installed")
    from tests.unit.convert.qualcomm_networks import Quantized

    try:
        Quantized(path, target).compile()
    except ConversionError:
        return False
    return True


@pytest.mark.parametrize("target", ["qcs6490", "qcs8550"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_compiler_does_what_the_table_says(tmp_path: Path, kind: str, target: str) -> None:
    path = network(tmp_path / "net.onnx", kind)
    assert foretold(path, target, kind) == compiled(path, target)


@pytest.mark.parametrize(
    ("kind", "target", "taken"),
    [
        ("Selu", "qcs8550", True),
        ("Selu", "qcs6490", False),
        ("Elu", "qcs6490", True),
        ("ReduceProd", "qcs8550", False),
    ],
)
def test_the_forecast_knows_the_soc(tmp_path: Path, kind: str, target: str, taken: bool) -> None:
    assert foretold(network(tmp_path / "net.onnx", kind), target, kind) is taken


def test_no_htp_descriptor_promises_android() -> None:
    told = [t.notes for t in list_targets() if t.accelerator.htp and "Android" in t.notes]
    assert told
    assert all("not under Android" in notes for notes in told)
