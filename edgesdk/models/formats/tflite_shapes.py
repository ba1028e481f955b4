"""The shapes that the tensors of a TFLite graph take when the caller fixes those of its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgesdk.errors import ModelError
from edgesdk.models.graph import Graph, GraphTensor
from edgesdk.models.types import TensorSpec

InputShapes = Mapping[str, tuple[int, ...]]


def resized(graph: Graph, content: bytes, wanted: InputShapes, file: str) -> Graph:
    """The graph with these input shapes; as it is where they are what the file has.

    Raises:
        ModelError: there is no such input, or LiteRT does not take the shape.
    """
    changed = {}
    for name, shape in wanted.items():
        spec = next((spec for spec in graph.inputs if name in spec.names), None)
        if spec is None:
            names = ", ".join(spec.name for spec in graph.inputs)
            raise ModelError(f"{file} has no input {name!r}, its inputs are {names}")
        if shape != spec.shape:
            changed[spec.name] = shape
    if not changed:
        return graph
    shapes = _shapes(content, changed, file)
    return replace(
        graph,
        tensors=tuple(
            _reshaped(tensor, shapes.get(index)) for index, tensor in enumerate(graph.tensors)
        ),
        inputs=_edge(graph.inputs, graph.tensors, shapes),
        outputs=_edge(graph.outputs, graph.tensors, shapes),
    )


def _shapes(content: bytes, changed: InputShapes, file: str) -> dict[int, tuple[int, ...]]:
    """Tensor index to shape, as LiteRT propagates them."""
    try:
        interpreter: Any = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        for details in interpreter.get_input_details():
            if details["name"] in changed:
                interpreter.resize_tensor_input(details["index"], changed[details["name"]])
        interpreter.allocate_tensors()
        found = interpreter.get_tensor_details()
    except (ValueError, RuntimeError) as error:
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in changed.items())
        raise ModelError(f"LiteRT does not take {file} with {shapes}: {error}") from error
    return {entry["index"]: tuple(int(size) for size in entry["shape"]) for entry in found}


def _reshaped(tensor: GraphTensor, shape: tuple[int, ...] | None) -> GraphTensor:
    if shape is None or tensor.constant or shape == tensor.shape:
        return tensor
    return replace(
        tensor, shape=shape, size_bytes=math.prod(shape) * np.dtype(tensor.dtype).itemsize
    )


def _edge(
    specs: tuple[TensorSpec, ...],
    tensors: tuple[GraphTensor, ...],
    shapes: Mapping[int, tuple[int, ...]],
) -> tuple[TensorSpec, ...]:
    index_of = {tensor.name: index for index, tensor in enumerate(tensors) if not tensor.constant}
    return tuple(replace(spec, shape=shapes.get(index_of[spec.name], spec.shape)) for spec in specs)
