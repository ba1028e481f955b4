"""Tiny TFLite networks, put together operator by operator with LiteRT's own schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from edgesdk.choices import Method, Precision
from edgesdk.convert.backends import litert
from edgesdk.models.types import TensorSpec
from edgesdk.targets.types import Scheme, TensorScheme
from edgesdk.values.plan import ConversionPlan
from edgesdk.values.recipe import Override
from tests.plans import USUAL_PLAN

Array = npt.NDArray[Any]
RANDOM = np.random.default_rng(7)
WEIGHTS = TensorScheme(8, True, "per-channel")
ACTIVATIONS = TensorScheme(8, False, "per-tensor")


class Network:
    """A model of one subgraph; tensors are named by the caller and known by their index."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[])
        self.model = schema.ModelT(
            version=3,
            operatorCodes=[],
            subgraphs=[self.graph],
            buffers=[schema.BufferT()],
            description=b"test",
        )

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32") -> int:
        index = self.tensor(name, shape, dtype)
        self.graph.inputs.append(index)
        return index

    def constant(self, name: str, values: Array) -> int:
        data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(schema.BufferT(data=data))
        return self.tensor(name, values.shape, values.dtype.name, len(self.model.buffers) - 1)

    def tensor(self, name: str, shape: Sequence[int], dtype: str, buffer: int = 0) -> int:
        self.graph.tensors.append(
            schema.TensorT(
                name=name.encode(),
                shape=list(shape),
                type=getattr(schema.TensorType, dtype.upper()),
                buffer=buffer,
            )
        )
        return len(self.graph.tensors) - 1

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        name: str,
        shape: Sequence[int],
        options: Any = None,
        dtype: str = "float32",
        more: Sequence[int] = (),
    ) -> int:
        """Append an operator; `more` are further outputs, made with `tensor`."""
        output = self.tensor(name, shape, dtype)
        code = getattr(schema.BuiltinOperator, kind)
        self.model.operatorCodes.append(
            schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=1)
        )
        operator = schema.OperatorT(
            opcodeIndex=len(self.model.operatorCodes) - 1,
            inputs=list(inputs),
            outputs=[output, *more],
        )
        if options is not None:
            kind_of_options = type(options).__name__[:-1]
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind_of_options)
            operator.builtinOptions = options
        self.graph.operators.append(operator)
        return output

    def write(self, path: Path, *outputs: int) -> Path:
        self.graph.outputs = list(outputs)
        path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(self.model)))
        return path


def conv(net: Network, source: int, name: str, channels: int = 8, **tensors: Array) -> int:
    """A 3x3 convolution with ReLU, same padding."""
    shape = net.graph.tensors[source].shape
    weights = RANDOM.normal(size=(channels, 3, 3, shape[3])).astype(np.float32)
    bias = RANDOM.normal(size=channels).astype(np.float32)
    inputs = [
        source,
        net.constant(f"{name}/w", tensors.get("weights", weights)),
        net.constant(f"{name}/b", tensors.get("bias", bias)),
    ]
    options = schema.Conv2DOptionsT(
        strideW=1, strideH=1, fusedActivationFunction=schema.ActivationFunctionType.RELU
    )
    return net.operator("CONV_2D", inputs, name, [*shape[:3], channels], options)


def conv_network(path: Path, edit: Callable[[Any], None] = lambda model: None) -> Path:
    """x (1, 8, 8, 3) -> CONV_2D -> y (1, 8, 8, 8); `edit` may change the model before writing."""
    net = Network()
    y = conv(net, net.input("x", (1, 8, 8, 3)), "y")
    net.graph.outputs = [y]
    edit(net.model)
    return net.write(path, y)


def unary_network(path: Path, kind: str, **keywords: Any) -> Path:
    """x (1, 8, 8, 3) -> CONV_2D h -> `kind` y."""
    net = Network()
    hidden = conv(net, net.input("x", (1, 8, 8, 3)), "h")
    options = keywords.pop("options", None)
    y = net.operator(kind, [hidden], "y", keywords.pop("shape", (1, 8, 8, 8)), options, **keywords)
    return net.write(path, y)


def plan_for(
    path: Path,
    io: Any = "int8",
    keep_float: tuple[str, ...] = (),
    weights: TensorScheme = WEIGHTS,
    activations: TensorScheme = ACTIVATIONS,
    precision: Precision = "w8a8",
    overrides: tuple[Override, ...] = (),
    range_method: Method = "minmax",
) -> ConversionPlan:
    """A plan with the shapes that are in the file."""
    graph = flatbuffer_utils.read_model(path).subgraphs[0]

    def specs(indices: Sequence[int]) -> tuple[TensorSpec, ...]:
        tensors = [graph.tensors[index] for index in indices]
        return tuple(
            TensorSpec(
                tensor.name.decode(),
                tuple(tensor.shape),
                flatbuffer_utils.type_to_name(tensor.type).lower(),
            )
            for tensor in tensors
        )

    return replace(
        USUAL_PLAN,
        model_name=path.stem,
        inputs=specs(graph.inputs),
        outputs=specs(graph.outputs),
        precision=precision,
        scheme=Scheme(weights, activations),
        io=io,
        keep_float=keep_float,
        overrides=overrides,
        range_method=range_method,
    )


def random_samples(path: Path, count: int = 8) -> list[dict[str, Array]]:
    """Standard normal samples, or small whole numbers for integer inputs."""
    random = np.random.default_rng(3)
    return [
        {
            spec.name: random.normal(size=spec.shape).astype(np.float32)
            if spec.dtype == "float32"
            else random.integers(0, 4, spec.shape).astype(spec.dtype)
            for spec in plan_for(path).inputs
        }
        for _ in range(count)
    ]


class Converted:
    """A network after prepare and convert, with the plan and the samples it was made with."""

    def __init__(
        self, source: Path, samples: Sequence[dict[str, Array]] | None = None, **plan: Any
    ) -> None:
        self.samples = random_samples(source) if samples is None else list(samples)
        self.plan = plan_for(source, **plan)
        self.float_path = source.with_name("float.tflite")
        self.path = source.with_name("int8.tflite")
        self.advanced = 0
        litert.prepare(source, self.plan, self.float_path)
        litert.convert(self.float_path, self.plan, self._stream, self.path, self._advance)
        self.description = litert.describe(self.path)
        self.model = flatbuffer_utils.read_model(self.path)

    def _stream(self) -> Iterator[dict[str, Array]]:
        yield from self.samples

    def _advance(self, count: int) -> None:
        self.advanced += count

    def precision(self, kind: str) -> str:
        """Precision of the one operator of this type."""
        (found,) = [o.precision for o in self.description.operators if o.type == kind]
        return found

    def sqnr_db(self, name: str) -> float | None:
        """Signal to noise of one activation over the samples."""
        errors = litert.compare(self.float_path, self.path, self.samples)
        (found,) = [error.sqnr_db for error in errors if error.name == name]
        return found

    def version(self, kind: str) -> int:
        """The version that the file gives for one operator type."""
        code = getattr(schema.BuiltinOperator, kind)
        (found,) = [c.version for c in self.model.operatorCodes if c.builtinCode == code]
        return int(found)

    def metadata(self, name: str) -> bytes:
        (entry,) = [e for e in self.model.metadata if e.name == name.encode()]
        return bytes(self.model.buffers[entry.buffer].data)
