"""A small MobileNetV2 and what it takes to convert networks for TensorRT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgesdk.convert.backends import tensorrt as backend
from edgesdk.convert.toolchains import Description
from edgesdk.models.opening import open_model
from edgesdk.targets.types import Accelerator, Fact, Runtime, Scheme, TensorRt, TensorScheme
from edgesdk.values.plan import ConversionPlan
from tests.onnx_networks import PER_CHANNEL, Array, Network, plan_for, random_samples, run, sha256

SYMMETRIC = TensorScheme(8, True, "per-tensor")


def mobilenet(path: Path, opset: int = 17) -> Path:
    """Stem, an expanded block, two with a residual, a head: x (1, 3, 16, 16) to y (1, 5)."""
    net = Network(opset)
    x = net.input("x", (1, 3, 16, 16))
    x = convolution(net, x, "stem", (3, 8), kernel=3)
    x = block(net, x, "b1", (8, 12))
    x = net.node("Add", [x, block(net, x, "b2", (12, 12))], "sum1")
    x = net.node("Add", [block(net, x, "b3", (12, 12)), x], "sum2")
    x = convolution(net, x, "head", (12, 16))
    x = net.node("GlobalAveragePool", [x], "pooled")
    net.dense(net.node("Flatten", [x], "flat"), "y", (16, 5))
    return net.write(path, y=(1, 5))


def block(net: Network, source: str, name: str, channels: tuple[int, int]) -> str:
    """Expand, filter each channel, project without an activation."""
    wide = channels[0] * 2
    x = convolution(net, source, f"{name}_expand", (channels[0], wide))
    x = convolution(net, x, f"{name}_filter", (wide, wide), kernel=3, group=wide)
    return convolution(net, x, f"{name}_project", (wide, channels[1]), relu6=False)


def convolution(
    net: Network,
    source: str,
    name: str,
    channels: tuple[int, int],
    kernel: int = 1,
    group: int = 1,
    relu6: bool = True,
) -> str:
    w = net.weights(f"{name}_w", channels[1], channels[0] // group, kernel, kernel)
    b = net.constant(f"{name}_b", net.random.normal(size=channels[1]) * 0.1)
    made = f"{name}_linear" if relu6 else name
    net.node("Conv", [source, w, b], made, pads=[kernel // 2] * 4, group=group)
    if not relu6:
        return name
    bounds = [net.constant(f"{name}_low", 0.0), net.constant(f"{name}_high", 6.0)]
    return net.node("Clip", [made, *bounds], name)


def accelerator(version: str) -> Accelerator:
    def fact(text: str) -> Fact:
        return Fact(text, "source")

    return Accelerator(tensorrt=TensorRt(fact("0"), fact(version), fact("8.7")))


class ForTensorRt:
    """A network after prepare and convert."""

    def __init__(
        self,
        source: Path,
        version: str = "10.3",
        samples: Sequence[dict[str, Array]] | None = None,
        **plan: Any,
    ) -> None:
        model = open_model(source)
        self.samples = random_samples(model, 16) if samples is None else list(samples)
        changes: dict[str, Any] = {
            "backend": "tensorrt",
            "runtime": Runtime("tensorrt", version),
            "accelerator": accelerator(version),
            "scheme": Scheme(PER_CHANNEL, SYMMETRIC),
            "calibration_sha256": sha256(self.samples),
        }
        self.plan: ConversionPlan = plan_for(model, **{**changes, **plan})
        self.float_path = source.with_name("prepared.onnx")
        self.path = source.with_name("converted.onnx")
        backend.prepare(source, self.plan, self.float_path)
        backend.convert(
            self.float_path, self.plan, lambda: iter(self.samples), self.path, lambda _: None
        )
        self.proto = onnx.load(str(self.path))

    @property
    def description(self) -> Description:
        return backend.describe(self.path)

    def precisions(self) -> dict[str, str]:
        """Operator name to precision, without what computes nothing."""
        return {o.name: o.precision for o in self.description.operators if o.precision != "-"}

    def count(self, kind: str) -> int:
        return sum(node.op_type == kind for node in self.proto.graph.node)

    def node(self, name: str) -> onnx.NodeProto:
        return next(node for node in self.proto.graph.node if node.name == name)

    def sqnr_db(self, samples: Sequence[dict[str, Array]]) -> float:
        return sqnr_db(self.float_path, self.path, samples)


def sqnr_db(reference: Path, converted: Path, samples: Sequence[dict[str, Array]]) -> float:
    """Of output y, over all samples."""
    signal = noise = 0.0
    for sample in samples:
        wanted = run(reference, sample)["y"].astype(np.float64)
        signal += float((wanted**2).sum())
        noise += float(((wanted - run(converted, sample)["y"]) ** 2).sum())
    return float(10 * np.log10(signal / noise)) if noise else 200.0


def changed(model: onnx.ModelProto, change: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    """A copy with something changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    change(copy)
    return copy
