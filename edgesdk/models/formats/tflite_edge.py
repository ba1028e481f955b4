"""Give a TFLite file the names and the order that its source model had."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from edgesdk.errors import ConversionError
from edgesdk.models.types import TensorSpec

_SIGNATURE = b"serving_default"

Edge = Sequence[tuple[str, TensorSpec]]
"""What the file calls a tensor (its signature's name or the tensor's own), and the source's."""


def name_edges(path: Path, inputs: Edge, outputs: Edge) -> None:
    """Rename and reorder the file's inputs and outputs; it then has the one signature.

    An output that a RESHAPE made flat gets the source's shape back.

    Raises:
        ConversionError: one of them is missing, one tensor would need two names, or the file
            holds what LiteRT does not run.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(path.read_bytes()))
    if len(model.subgraphs) != 1:
        raise ConversionError(
            f"the TFLite form of the model has {len(model.subgraphs)} subgraphs, expected 1",
            hint="replace its branches and loops; recurrent layers can be unrolled (unroll=True)",
        )
    graph = model.subgraphs[0]
    _require_builtins(model)
    found_inputs = _found(_names(model, graph.inputs, "inputs"), inputs, "input")
    found_outputs = _found(_names(model, graph.outputs, "outputs"), outputs, "output")
    found_outputs = _with_shapes(model, found_outputs, outputs, _by_index(found_inputs, inputs))
    found = [*found_inputs, *found_outputs]
    _rename(graph, list(zip(found, [*inputs, *outputs], strict=True)))
    graph.inputs = np.asarray(found_inputs, np.int32)
    graph.outputs = np.asarray(found_outputs, np.int32)
    model.signatureDefs = [_signature(found_inputs, inputs, found_outputs, outputs)]
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _require_builtins(model: Any) -> None:
    custom = sorted({_text(code.customCode) for code in model.operatorCodes if code.customCode})
    if custom:
        raise ConversionError(
            f"the TFLite form of the model holds {', '.join(custom)}, which is no operator "
            "of TFLite",
            hint="replace that operator in the network, or cut that part off",
        )


def _names(model: Any, indices: Sequence[int], role: str) -> dict[str, int]:
    """Every name a tensor at the edge goes by; the signature's win."""
    graph = model.subgraphs[0]
    names = {_text(graph.tensors[index].name): int(index) for index in indices}
    for signature in (model.signatureDefs or [])[:1]:
        for entry in getattr(signature, role) or []:
            names[_text(entry.name)] = int(entry.tensorIndex)
    return names


def _text(name: bytes | None) -> str:
    return (name or b"").decode(errors="replace")


def _found(names: Mapping[str, int], edge: Edge, role: str) -> list[int]:
    for found, spec in edge:
        if found not in names:
            raise ConversionError(
                f"the TFLite form of the model has lost the {role} {spec.name!r}",
                hint=f"check that the network uses it; its {role}s are {', '.join(names)}",
            )
    return [names[found] for found, _ in edge]


def _by_index(found: Sequence[int], edge: Edge) -> dict[int, str]:
    return {index: spec.name for index, (_, spec) in zip(found, edge, strict=True)}


def _with_shapes(
    model: Any, found: Sequence[int], edge: Edge, names: Mapping[int, str]
) -> list[int]:
    """The outputs with the source's shapes; a RESHAPE that then changes nothing is taken out.

    Args:
        names: what the tensors that are inputs will be called: a tensor has one name.
    """
    taken = dict(names) | dict.fromkeys(found, "")
    results = []
    for index, (_, spec) in zip(found, edge, strict=True):
        operator = _flattening(model, index, spec)
        if operator is not None:
            index = _reshaped(model, operator, spec, taken)
            taken[index] = spec.name
        results.append(index)
    return results


def _flattening(model: Any, index: int, spec: TensorSpec) -> Any:
    """The RESHAPE that makes an output of the source's size but of another shape."""
    graph = model.subgraphs[0]
    if math.prod(_shape(graph.tensors[index])) != math.prod(spec.shape):
        return None
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        if index in operator.outputs and kind == schema.BuiltinOperator.RESHAPE:
            return None if _shape(graph.tensors[index]) == spec.shape else operator
    return None


def _reshaped(model: Any, operator: Any, spec: TensorSpec, taken: Mapping[int, str]) -> int:
    """The index of the tensor of the source's shape that this RESHAPE makes, or reads already."""
    graph = model.subgraphs[0]
    source, index = int(operator.inputs[0]), int(operator.outputs[0])
    is_computed = any(source in each.outputs for each in graph.operators)
    if (
        _shape(graph.tensors[source]) == spec.shape
        and taken.get(source, spec.name) == spec.name
        and (is_computed or source in taken)
    ):
        graph.operators = [each for each in graph.operators if each is not operator]
        return source
    graph.tensors[index].shape = np.asarray(spec.shape, np.int32)
    graph.tensors[index].shapeSignature = None
    operator.inputs = [source, _shape_tensor(model, spec)]
    operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = schema.ReshapeOptionsT(newShape=np.asarray(spec.shape, np.int32))
    return index


def _shape_tensor(model: Any, spec: TensorSpec) -> int:
    graph = model.subgraphs[0]
    data = np.frombuffer(np.asarray(spec.shape, np.int32).tobytes(), np.uint8)
    model.buffers.append(schema.BufferT(data=data))
    graph.tensors.append(
        schema.TensorT(
            shape=np.asarray([len(spec.shape)], np.int32),
            type=schema.TensorType.INT32,
            buffer=len(model.buffers) - 1,
            name=f"{spec.name}/shape".encode(),
        )
    )
    return len(graph.tensors) - 1


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def _rename(graph: Any, edge: Sequence[tuple[int, tuple[str, TensorSpec]]]) -> None:
    wanted: dict[int, str] = {}
    for index, (_, spec) in edge:
        if wanted.setdefault(index, spec.name) != spec.name:
            raise ConversionError(
                f"{spec.name!r} and {wanted[index]!r} are one tensor in the TFLite form of the "
                "model, which can have only one name",
                hint="remove the output that repeats another output or an input",
            )
    taken = set(wanted.values())
    for index, tensor in enumerate(graph.tensors):
        if index in wanted:
            tensor.name = wanted[index].encode()
        elif _text(tensor.name) in taken:
            tensor.name = f"{_text(tensor.name)}/inner_{index}".encode()


def _signature(
    found_inputs: Sequence[int], inputs: Edge, found_outputs: Sequence[int], outputs: Edge
) -> Any:
    return schema.SignatureDefT(
        signatureKey=_SIGNATURE,
        inputs=_entries(found_inputs, inputs),
        outputs=_entries(found_outputs, outputs),
        subgraphIndex=0,
    )


def _entries(found: Sequence[int], edge: Edge) -> list[Any]:
    return [
        schema.TensorMapT(name=spec.name.encode(), tensorIndex=index)
        for index, (_, spec) in zip(found, edge, strict=True)
    ]
