"""Bring a float TFLite model into the one form that the quantizer reads correctly.

Fixed input shapes, distinct tensor names, shape arithmetic and float16 weights folded into
constants, padding that it knows, and a signature. The network computes the same as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgesdk.convert.backends.litert import flatbuffer as tflite
from edgesdk.convert.backends.litert.padding import mend_constants
from edgesdk.models.types import TensorSpec

SIGNATURE = "serving_default"

_FOLDED = frozenset(
    {"ADD", "SUB", "MUL", "DIV", "FLOOR_DIV", "FLOOR_MOD", "MAXIMUM", "MINIMUM", "REDUCE_PROD"}
    | {"PACK", "UNPACK", "CONCATENATION", "SPLIT", "SLICE", "STRIDED_SLICE", "GATHER", "CAST"}
    | {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "DEQUANTIZE", "DENSIFY"}
)
"""Operators that become a constant when everything they read is one."""

_SHAPE_FROM_DATA = frozenset(
    {"WHERE", "UNIQUE", "RANGE", "CUSTOM", "SPARSE_TO_DENSE", "SEGMENT_SUM"}
)
"""Operators whose output shape may depend on what they compute, not only on their input shapes."""


def open_interpreter(content: bytes, preserve_all: bool) -> Any:
    """An interpreter with the built-in kernels on one thread.

    More threads, or XNNPACK, would add up in another order and so give other last bits.
    """
    return Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=preserve_all,
    )


def prepared(content: bytes, inputs: Sequence[TensorSpec]) -> bytes:
    """The model with the shapes of `inputs` (in the model's order), ready to quantize.

    Raises:
        ValueError, RuntimeError: LiteRT does not run it with these shapes.
    """
    model = tflite.read_model(content)
    interpreter = open_interpreter(content, preserve_all=True)
    _run_on_zeros(interpreter, inputs)
    details = {entry["index"]: entry for entry in interpreter.get_tensor_details()}
    _write_shapes(model, details)
    _fold(model, interpreter)
    mend_constants(model)
    name_tensors(model)
    add_signature(model)
    return tflite.write_model(model)


def _run_on_zeros(interpreter: Any, inputs: Sequence[TensorSpec]) -> None:
    for details, spec in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.resize_tensor_input(details["index"], spec.shape)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
    interpreter.invoke()


def _write_shapes(model: Any, details: Mapping[int, Mapping[str, Any]]) -> None:
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.shapeSignature = None
        if index in details and not tflite.is_constant(model, tensor):
            tensor.shape = [int(size) for size in details[index]["shape"]]


def _fold(model: Any, interpreter: Any) -> None:
    """Replace what is computed from constants and static shapes by its value.

    Keras files of a free batch size flatten with SHAPE, STRIDED_SLICE, PACK, RESHAPE: left in, they
    make the RESHAPE's output dynamic, which keeps delegates from taking the operators behind it.
    """
    graph = model.subgraphs[0]
    static = {*graph.inputs, *_constants(model)}
    kept = []
    for operator in graph.operators:
        if _is_static(model, operator, static):
            static.update(operator.outputs)
        if _is_foldable(model, operator, static):
            for index in operator.outputs:
                tensor = graph.tensors[index]
                tensor.buffer = tflite.add_constant(model, interpreter.get_tensor(index))
        else:
            kept.append(operator)
    graph.operators = kept


def _constants(model: Any) -> list[int]:
    tensors = model.subgraphs[0].tensors
    return [index for index, tensor in enumerate(tensors) if tflite.is_constant(model, tensor)]


def _is_static(model: Any, operator: Any, static: set[int]) -> bool:
    """The output shapes follow from static input shapes and constant parameters."""
    graph = model.subgraphs[0]
    if tflite.operator_type(model, operator) in _SHAPE_FROM_DATA:
        return False
    return all(
        index in static and (position == 0 or _is_parameter_free(model, graph.tensors[index]))
        for position, index in enumerate(operator.inputs)
        if index >= 0
    )


def _is_parameter_free(model: Any, tensor: Any) -> bool:
    return tflite.is_constant(model, tensor) or not tflite.dtype(tensor).startswith("int")


def _is_foldable(model: Any, operator: Any, static: set[int]) -> bool:
    graph = model.subgraphs[0]
    if any(index in graph.outputs for index in operator.outputs):
        return False
    operator_type = tflite.operator_type(model, operator)
    if operator_type in ("SHAPE", "RANK"):
        return all(index in static for index in operator.inputs)
    return operator_type in _FOLDED and all(
        tflite.is_constant(model, graph.tensors[index]) for index in operator.inputs if index >= 0
    )


def name_tensors(model: Any) -> None:
    """Give every tensor a name of its own: the quantizer knows tensors by name alone."""
    taken: set[bytes] = set()
    graph = model.subgraphs[0]
    # Inputs and outputs first: theirs are the names that people know.
    edge = [graph.tensors[index] for index in (*graph.inputs, *graph.outputs)]
    for tensor in dict.fromkeys((*edge, *graph.tensors)):
        tensor.name = _free_name(tensor.name or b"tensor", taken)
        taken.add(tensor.name)


def _free_name(name: bytes, taken: set[bytes]) -> bytes:
    free, count = name, 1
    while free in taken:
        free, count = b"%s_%d" % (name, count), count + 1
    return free


def add_signature(model: Any) -> None:
    """Add a signature named after the tensors, unless there is one."""
    graph = model.subgraphs[0]
    if not model.signatureDefs:
        model.signatureDefs = [
            schema.SignatureDefT(
                inputs=[_item(graph, index) for index in graph.inputs],
                outputs=[_item(graph, index) for index in graph.outputs],
                signatureKey=SIGNATURE.encode(),
            )
        ]


def _item(graph: Any, index: int) -> Any:
    return schema.TensorMapT(name=graph.tensors[index].name, tensorIndex=index)
