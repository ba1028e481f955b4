"""Forecast sizes against those of real conversions, which they must meet within `TOLERANCE`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgesdk.convert.planning import choose_chain
from edgesdk.convert.sizing import TOLERANCE, FileSize, Sizes, sizes_converted
from edgesdk.flows.convert import convert
from edgesdk.flows.package import package
from edgesdk.models.opening import open_model
from edgesdk.models.reading import read_graph
from edgesdk.targets.loading import load_target
from edgesdk.values.recipe import Recipe
from tests.cli import DIGITS
from tests.onnx_networks import Network
from tests.unit.convert import litert_networks

TARGET = "raspberry-pi-5"


def deep_network(path: Path) -> Path:
    """Sixteen convolutions with residuals: small weights, so that scales and names count."""
    net = Network()
    h = net.conv(net.input("x", (1, 3, 32, 32)), "stem", (3, 32))
    for index in range(15):
        inner = net.conv(h, f"/blocks/{index}/conv/Conv_output_0", (32, 32))
        h = net.node("Add", [h, inner], f"/blocks/{index}/Add_output_0")
    pooled = net.node("GlobalAveragePool", [h], "pooled")
    net.dense(net.node("Flatten", [pooled], "flat"), "y", (32, 10))
    return net.write(path, y=(1, 10))


def told(path: Path, recipe: Recipe) -> Sizes:
    graph = read_graph(path)
    chain = choose_chain(graph.format, load_target(TARGET), recipe)
    return sizes_converted(graph, FileSize(path.stat().st_size), chain, {})


def made(path: Path, folder: Path, recipe: Recipe) -> dict[str, int]:
    """What a conversion and its package really take, with random calibration data."""
    random = np.random.default_rng(0)
    data: dict[str, Any] = {
        spec.name: random.normal(size=(8, *spec.shape[1:])).astype(np.float32)
        for spec in open_model(path).inputs
    }
    np.savez(folder / "data.npz", **data)
    done = convert(path, TARGET, str(folder / "data.npz"), folder / "artifact", recipe=recipe)
    sealed = package(done.directory, folder / "out.edgepkg")
    return {
        "model_bytes": done.artifact.file("model").size_bytes,
        "package_bytes": sealed.size_bytes,
        "installed_bytes": sealed.installed_bytes,
        "working_set_bytes": done.artifact.working_set_bytes,
    }


def models(folder: Path) -> dict[str, Path]:
    return {
        "digits.onnx": DIGITS / "digits.onnx",
        "digits.tflite": DIGITS / "digits.tflite",
        "deep.onnx": deep_network(folder / "deep.onnx"),
    }


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("digits.onnx", "w8a8"),
        ("deep.onnx", "w8a8"),
        ("digits.tflite", "w8a8"),
        ("digits.tflite", "w8a16"),
        ("digits.tflite", "fp16"),
    ],
)
def test_sizes_are_those_of_the_conversion(tmp_path: Path, name: str, precision: Any) -> None:
    path, recipe = models(tmp_path)[name], Recipe(precision=precision)
    forecast, truth = told(path, recipe), made(path, tmp_path, recipe)
    for size, found in truth.items():
        assert getattr(forecast, size) == pytest.approx(found, rel=TOLERANCE), size


@pytest.mark.parametrize("kind", ["GATHER", "EMBEDDING_LOOKUP"])
@pytest.mark.parametrize("precision", ["w8a8", "w8a16", "fp16"])
def test_tables_are_told_as_wide_as_litert_leaves_them(
    tmp_path: Path, kind: str, precision: Any
) -> None:
    net = litert_networks.Network()
    ids = net.input("ids", (6,), "int32")
    table = net.constant("table", np.random.default_rng(0).normal(size=(4000, 16)).astype("f4"))
    inputs = [table, ids] if kind == "GATHER" else [ids, table]
    options = schema.GatherOptionsT(axis=0) if kind == "GATHER" else None
    found = net.operator(kind, inputs, "found", (6, 16), options)
    weights = [net.constant("w", np.ones((24, 16), "f4")), net.constant("b", np.ones(24, "f4"))]
    layer = schema.FullyConnectedOptionsT()
    y = net.operator("FULLY_CONNECTED", [found, *weights], "y", (6, 24), layer)
    path = net.write(tmp_path / "net.tflite", y)
    forecast = told(path, Recipe(precision=precision))
    converted = litert_networks.Converted(path, precision=precision, io="float32")
    assert forecast.model_bytes == pytest.approx(converted.path.stat().st_size, rel=TOLERANCE)
