"""What tests of the Qualcomm toolchain share: networks, converted for an HTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgesdk.convert.toolchains import Compiled
from edgesdk.models.opening import open_model
from edgesdk.targets.loading import load_target
from edgesdk.values.plan import ConversionPlan
from tests.onnx_networks import Array, Network, conv_network, plan_for, random_samples, sha256

try:
    version("onnxruntime-qnn")
except PackageNotFoundError:
    pytest.skip("onnxruntime-qnn is not installed", allow_module_level=True)

from edgesdk.convert.backends import qualcomm as backend
from edgesdk.convert.backends.qualcomm import compiling

__all__ = ["Network", "backend", "compiling", "conv_network"]


def plan(source: Path, target: str = "qcs8550", **changes: Any) -> ConversionPlan:
    """A plan for the Qualcomm toolchain, with whatever is changed."""
    fields: dict[str, Any] = {
        "target_id": target,
        "backend": "qualcomm",
        "quantizer": "onnxruntime",
        "accelerator": load_target(target).accelerator,
        "toolchain": {"onnxruntime": version("onnxruntime")},
    }
    return plan_for(open_model(source), **{**fields, **changes})


class Quantized:
    """A network after prepare and convert, in a folder of its own."""

    def __init__(self, source: Path, target: str = "qcs8550", **changes: Any) -> None:
        self.samples = random_samples(open_model(source))
        settled = {"calibration_sha256": sha256(self.samples), **changes}
        self.plan = plan(source, target, **settled)
        self.folder = source.parent / "artifact"
        self.folder.mkdir()
        self.float_path = self.folder / "float.reference"
        self.path = self.folder / "model.onnx"
        backend.prepare(source, self.plan, self.float_path)
        backend.convert(self.float_path, self.plan, self._stream, self.path, lambda count: None)
        self.proto = onnx.load(str(self.path))

    def _stream(self) -> Iterator[dict[str, Array]]:
        yield from self.samples

    def compile(self) -> Compiled:
        return compiling.compile(self.path, self.plan, self.folder)

    def precisions(self) -> dict[str, set[str]]:
        """Operator type to the precisions it has, without what computes nothing."""
        found: dict[str, set[str]] = {}
        for operator in backend.describe(self.path).operators:
            if operator.precision != "-":
                found.setdefault(operator.type, set()).add(operator.precision)
        return found

    def outputs(self, kernel: str, count: int = 4) -> list[Sequence[Array]]:
        inputs = [list(sample.values()) for sample in self.samples[:count]]
        return list(backend.run(self.path, kernel, inputs))


def layer_norm_network(path: Path) -> Path:
    """x (1, 4, 16) -> MatMul -> LayerNormalization -> MatMul -> y (1, 4, 6)."""
    net = Network()
    h = net.node("MatMul", [net.input("x", (1, 4, 16)), net.weights("a", 16, 8)], "h")
    norm = net.node("LayerNormalization", [h, net.weights("s", 8), net.weights("b", 8)], "norm")
    net.node("MatMul", [norm, net.weights("c", 8, 6)], "y")
    return net.write(path, y=(1, 4, 6))


def hardmax_network(path: Path) -> Path:
    """x -> Conv, Relu h -> Hardmax m -> Conv, Relu y: the HTP has no Hardmax."""
    net = Network()
    h = net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 4))
    net.conv(net.node("Hardmax", [h], "m"), "y", (4, 4))
    return net.write(path, y=(1, 4, 8, 8))


def erf_network(path: Path) -> Path:
    """x -> Erf y, of which the HTP takes nothing at all."""
    net = Network()
    net.node("Erf", [net.input("x", (1, 8))], "y")
    return net.write(path, y=(1, 8))
