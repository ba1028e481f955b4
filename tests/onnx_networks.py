"""Tiny ONNX networks, put together operator by operator, and what it takes to convert them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from edgesdk.convert.backends import onnxruntime as backend
from edgesdk.models.opening import open_model
from edgesdk.models.types import Model
from edgesdk.targets.types import Accelerator, Runtime, Scheme, TensorScheme
from edgesdk.values.plan import ConversionPlan

Array = npt.NDArray[Any]
Shape = Sequence[int | str] | None
PER_CHANNEL = TensorScheme(8, True, "per-channel")
ASYMMETRIC = TensorScheme(8, False, "per-tensor")


class Network:
    """A graph under construction; every method returns the name of the tensor it makes."""

    def __init__(self, opset: int = 17, seed: int = 7) -> None:
        self.opset = opset
        self.random = np.random.default_rng(seed)
        self.graph = onnx.GraphProto(name="network")

    def input(self, name: str, shape: Shape, dtype: str = "float32") -> str:
        self.graph.input.append(value_info(name, shape, dtype))
        return name

    def constant(self, name: str, values: Any, dtype: str = "float32") -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weights(self, name: str, *shape: int) -> str:
        return self.constant(name, self.random.normal(size=shape) / np.sqrt(np.prod(shape[1:])))

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """One operator, named like its output."""
        attributes.setdefault("name", output)
        self.graph.node.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(
        self, source: str, output: str, channels: tuple[int, int], kernel: int = 3, group: int = 1
    ) -> str:
        """A convolution with same padding and a ReLU; `channels` are (in, out)."""
        w = self.weights(f"{output}_w", channels[1], channels[0] // group, kernel, kernel)
        b = self.weights(f"{output}_b", channels[1])
        pads = [kernel // 2] * 4
        self.node("Conv", [source, w, b], f"{output}_linear", pads=pads, group=group)
        return self.node("Relu", [f"{output}_linear"], output)

    def dense(self, source: str, output: str, features: tuple[int, int]) -> str:
        w = self.weights(f"{output}_w", features[1], features[0])
        return self.node("Gemm", [source, w, self.weights(f"{output}_b", features[1])], output,
                         transB=1)  # fmt: skip

    def model(self, outputs: Mapping[str, Shape], dtype: str = "float32") -> onnx.ModelProto:
        for name, shape in outputs.items():
            self.graph.output.append(value_info(name, shape, dtype))
        opset = helper.make_opsetid("", self.opset)
        return helper.make_model(self.graph, opset_imports=[opset], ir_version=10)

    def write(self, path: Path, **outputs: Shape) -> Path:
        onnx.save(self.model(outputs), str(path))
        return path


def value_info(name: str, shape: Shape, dtype: str = "float32") -> onnx.ValueInfoProto:
    """A tensor at the edge."""
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
    )


def edited(path: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    """The model at `path` after `edit` has changed it in place."""
    proto = onnx.load(str(path))
    edit(proto)
    onnx.save(proto, str(path))
    return path


def conv_network(path: Path, opset: int = 17) -> Path:
    """x (1, 3, 8, 8) -> Conv, Relu -> Conv, Relu -> pool -> Gemm -> y (1, 5)."""
    net = Network(opset)
    h = net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 8))
    g = net.conv(h, "g", (8, 8))
    pooled = net.node("GlobalAveragePool", [g], "pooled")
    flat = net.node("Flatten", [pooled], "flat")
    net.dense(flat, "y", (8, 5))
    return net.write(path, y=(1, 5))


def plan_for(model: Model, **changes: Any) -> ConversionPlan:
    """A plan for the ONNX backend, with whatever is changed."""
    fields: dict[str, Any] = {
        "model_name": model.name,
        "model_format": "onnx",
        "model_sha256": model.sha256,
        "inputs": model.inputs,
        "outputs": model.outputs,
        "target_id": "generic-x86-64",
        "target_architecture": "x86_64",
        "working_format": "onnx",
        "bridge": "",
        "backend": "onnxruntime",
        "quantizer": None,
        "runtime": Runtime("onnxruntime", "1.18"),
        "accelerator": Accelerator(),
        "cpu_features": (),
        "precision": "w8a8",
        "scheme": Scheme(PER_CHANNEL, ASYMMETRIC),
        "io": "float32",
        "keep_float": (),
        "overrides": (),
        "range_method": "minmax",
        "encodings": False,
        "rules_sha256": "",
        "calibration_sha256": "0" * 64,
        "calibration_samples": 8,
        "toolchain": {},
    }
    return ConversionPlan(**{**fields, **changes})


def random_samples(model: Model, count: int = 8, seed: int = 3) -> list[dict[str, Array]]:
    """Standard normal samples, small whole numbers for integer inputs, both truths for bools."""
    random = np.random.default_rng(seed)

    def one(shape: tuple[int, ...], dtype: str) -> Array:
        if dtype == "float32":
            return random.normal(size=shape).astype(np.float32)
        return random.integers(0, 2 if dtype == "bool" else 4, shape).astype(dtype)

    return [{s.name: one(s.shape, s.dtype) for s in model.inputs} for _ in range(count)]


def sha256(samples: Sequence[Mapping[str, Array]]) -> str:
    """Of names and values, in order; it decides whether a calibration is taken from the cache."""
    total = hashlib.sha256()
    for sample in samples:
        for name, values in sample.items():
            total.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return total.hexdigest()


class Converted:
    """A network after prepare and convert, with the plan and the samples it was made with."""

    def __init__(
        self,
        source: Path,
        samples: Sequence[dict[str, Array]] | None = None,
        input_shapes: Mapping[str, tuple[int, ...]] | None = None,
        **plan: Any,
    ) -> None:
        self.model = open_model(source, input_shapes)
        self.samples = random_samples(self.model) if samples is None else list(samples)
        self.plan = plan_for(self.model, **{"calibration_sha256": sha256(self.samples), **plan})
        self.float_path = source.with_name("prepared.onnx")
        self.path = source.with_name("int8.onnx")
        self.advanced = 0
        backend.prepare(source, self.plan, self.float_path)
        backend.convert(self.float_path, self.plan, self._stream, self.path, self._advance)
        self.description = backend.describe(self.path)
        self.proto = onnx.load(str(self.path))

    def _stream(self) -> Iterator[dict[str, Array]]:
        yield from self.samples

    def _advance(self, count: int) -> None:
        self.advanced += count

    def precisions(self) -> dict[str, set[str]]:
        """Operator type to the precisions it has, without what computes nothing."""
        found: dict[str, set[str]] = {}
        for operator in self.description.operators:
            if operator.precision != "-":
                found.setdefault(operator.type, set()).add(operator.precision)
        return found

    def in_float(self) -> set[str]:
        """Types of the operators that compute in float."""
        return {kind for kind, precisions in self.precisions().items() if "float32" in precisions}

    def sqnr_db(self) -> float:
        """Of all outputs together, against the source model, over the samples."""
        signal = noise = 0.0
        for sample in self.samples:
            wanted, found = run(self.float_path, sample), run(self.path, sample)
            for name in wanted:
                signal += float((wanted[name].astype(np.float64) ** 2).sum())
                noise += float(((wanted[name].astype(np.float64) - found[name]) ** 2).sum())
        return float(10 * np.log10(signal / noise)) if noise else 200.0


def run(path: Path, sample: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name, from a fresh session of ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(sample)), strict=True))
