"""TFLite files as objects: read, look up, and write compactly and reproducibly.

The objects are those of LiteRT's generated schema (`ModelT`, `TensorT`, ...), which is untyped.
Nothing is repaired here but the operator codes, without which no operator can be named.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from edgesdk.convert.toolchains import Array

IDENTIFIER = b"TFL3"
_DATA_ALIGNMENT = 16
_PLACEHOLDER = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES

_OPERATORS: dict[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}
_DTYPES: dict[int, str] = {
    code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)
}


def read_model(content: bytes) -> Any:
    """The `ModelT` of a file, each operator code in its one true place.

    Old files have the code in a field of 8 bits and 0, which reads as ADD, in the one that counts
    today; the larger of the two is right.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    for code in model.operatorCodes:
        set_operator(code, max(code.builtinCode, code.deprecatedBuiltinCode))
    return model


def set_operator(code: Any, builtin: int) -> None:
    """Write a builtin code for new and old readers."""
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = min(builtin, _PLACEHOLDER)


def operator_code(model: Any, operator: Any) -> int:
    """The builtin code of an operator."""
    return int(model.operatorCodes[operator.opcodeIndex].builtinCode)


def operator_type(model: Any, operator: Any) -> str:
    """The type of an operator, e.g. "CONV_2D"; a custom one's own name."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.builtinCode == schema.BuiltinOperator.CUSTOM and code.customCode:
        return str(code.customCode.decode())
    return _OPERATORS.get(code.builtinCode, f"operator {code.builtinCode}")


def operator_name(graph: Any, operator: Any) -> str:
    """The name of an operator: its first output's, or its first input's when it has none."""
    indices = [index for index in (*operator.outputs, *operator.inputs) if index >= 0]
    return tensor_name(graph.tensors[indices[0]]) if indices else ""


def operators(model: Any) -> list[tuple[str, str]]:
    """Name and type of every operator, in graph order."""
    graph = model.subgraphs[0]
    return [
        (operator_name(graph, operator), operator_type(model, operator))
        for operator in graph.operators
    ]


def tensor_name(tensor: Any) -> str:
    """The name of a tensor, "" when it has none."""
    return str((tensor.name or b"").decode(errors="replace"))


def dtype(tensor: Any) -> str:
    """The dtype of a tensor as numpy spells it, e.g. "int8"."""
    return _DTYPES[tensor.type]


def shape(tensor: Any) -> tuple[int, ...]:
    """The shape of a tensor, () for a scalar."""
    return tuple(int(size) for size in tensor.shape) if tensor.shape is not None else ()


def constant(model: Any, tensor: Any) -> Array | None:
    """The values of a constant tensor of whole bytes, or None for an activation."""
    data = model.buffers[tensor.buffer].data
    if data is None:
        return None
    return np.frombuffer(bytes(data), np.dtype(dtype(tensor))).reshape(shape(tensor))


def is_constant(model: Any, tensor: Any) -> bool:
    """The tensor's values are in the file."""
    return model.buffers[tensor.buffer].data is not None


def add_constant(model: Any, values: Array) -> int:
    """Add a buffer with these values; returns its index."""
    data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    model.buffers.append(schema.BufferT(data=data))
    return len(model.buffers) - 1


def scales(tensor: Any) -> tuple[float, ...]:
    """The scales of a quantized tensor, one per tensor or one per channel; () when in float."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        return ()
    return tuple(float(scale) for scale in quantization.scale)


def set_metadata(model: Any, name: str, content: bytes) -> None:
    """Set an entry of the model's metadata, replacing one of that name."""
    kept = [entry for entry in model.metadata or [] if entry.name != name.encode()]
    buffer = add_constant(model, np.frombuffer(content, np.uint8))
    model.metadata = [*kept, schema.MetadataT(name=name.encode(), buffer=buffer)]


def metadata(model: Any, name: str) -> bytes | None:
    """An entry of the model's metadata, or None."""
    for entry in model.metadata or []:
        data = model.buffers[entry.buffer].data
        if entry.name == name.encode() and data is not None:
            return bytes(data)
    return None


def write_model(model: Any) -> bytes:
    """The bytes of a model of one subgraph, without what nothing refers to.

    Equal vectors (the zero points of every weight, shapes) are stored once, constants are aligned
    to 16 bytes as the schema asks.
    """
    _drop_unused(model)
    _as_arrays(model)
    builder = _Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _drop_unused(model: Any) -> None:
    graph = model.subgraphs[0]
    _keep_tensors(model, graph)
    used_buffers = [tensor.buffer for tensor in graph.tensors]
    used_buffers += [entry.buffer for entry in model.metadata or []]
    # Buffer 0 is empty by convention: it stands for "no data".
    buffer_index = _renumbering([0, *used_buffers])
    model.buffers = [model.buffers[index] for index in buffer_index]
    model.metadataBuffer = None
    for user in (*graph.tensors, *(model.metadata or [])):
        user.buffer = buffer_index[user.buffer]
    code_index = _renumbering([operator.opcodeIndex for operator in graph.operators])
    model.operatorCodes = [model.operatorCodes[index] for index in code_index]
    for operator in graph.operators:
        operator.opcodeIndex = code_index[operator.opcodeIndex]


def _keep_tensors(model: Any, graph: Any) -> None:
    used = {index for operator in graph.operators for index in _tensor_indices(operator)}
    index_of = _renumbering([*used, *graph.inputs, *graph.outputs])
    graph.tensors = [graph.tensors[index] for index in index_of]
    index_of[-1] = -1
    graph.inputs = [index_of[index] for index in graph.inputs]
    graph.outputs = [index_of[index] for index in graph.outputs]
    for operator in graph.operators:
        for field in ("inputs", "outputs", "intermediates"):
            indices = getattr(operator, field)
            if indices is not None:
                setattr(operator, field, [index_of[index] for index in indices])
    for signature in model.signatureDefs or []:
        for item in (*signature.inputs, *signature.outputs):
            item.tensorIndex = index_of[item.tensorIndex]


def _tensor_indices(operator: Any) -> list[int]:
    fields = (operator.inputs, operator.outputs, operator.intermediates)
    return [index for field in fields if field is not None for index in field if index >= 0]


def _renumbering(used: list[int]) -> dict[int, int]:
    """Old index to new, in the old order."""
    return {old: new for new, old in enumerate(sorted(set(used)))}


def _as_arrays(model: Any) -> None:
    """Make every vector of numbers an array: only those pass through `_Builder`."""
    for buffer in model.buffers:
        # Data that lay outside the flatbuffer proper, as in large files, come as plain bytes.
        if buffer.data is not None:
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    graph = model.subgraphs[0]
    _int32(graph, "inputs", "outputs")
    for tensor in graph.tensors:
        _int32(tensor, "shape", "shapeSignature")
    for operator in graph.operators:
        _int32(operator, "inputs", "outputs", "intermediates")


def _int32(table: Any, *fields: str) -> None:
    for field in fields:
        values = getattr(table, field)
        if values is not None:
            setattr(table, field, np.asarray(values, np.int32))


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """Stores equal vectors of numbers once."""

    def __init__(self, initial_bytes: int) -> None:
        super().__init__(initial_bytes)
        self._stored: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Array) -> int:
        key = (x.dtype.str, x.tobytes())
        if key not in self._stored:
            self._stored[key] = self._create(x)
        return self._stored[key]

    def _create(self, values: Array) -> int:
        if values.dtype != np.uint8:
            return int(super().CreateNumpyVector(values))
        self.StartVector(1, values.size, _DATA_ALIGNMENT)
        self.head -= values.size
        self.Bytes[self.head : self.head + values.size] = values.tobytes()
        self.vectorNumElems = values.size
        return int(self.EndVector())
