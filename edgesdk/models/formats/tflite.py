"""Read TFLite models: their edge, their integrity, and whether they are still in float.

Float16 weights are accepted, as the converter widens them exactly.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_litert.tools import flatbuffer_utils

from edgesdk.errors import ModelError
from edgesdk.models.types import Model, TensorSpec

InputShapes = Mapping[str, tuple[int, ...]]

_IDENTIFIER = b"TFL3"
_DTYPES = frozenset(
    {"float32", "float16", "uint8", "int8", "int16", "int32", "int64", "bool"},
)
_QUANTIZED = {
    code: name.lower()
    for name, code in vars(schema.TensorType).items()
    if name in ("INT2", "INT4", "UINT4", "INT8", "UINT8", "INT16")
}


def open_model(path: Path, input_shapes: InputShapes) -> Model:
    """Read a TFLite file; see `edgesdk.models.opening.FormatReader`.

    Inputs and outputs are named as LiteRT names their tensors; the name that a signature gives them
    is their alias.
    """
    content = path.read_bytes()
    interpreter = _load(content, path)
    _require_float_graph(content, path)
    _require_distinct_names(interpreter.get_input_details(), path)
    aliases = _aliases(content)
    inputs = interpreter.get_input_details()
    input_shapes = _by_name(inputs, aliases, input_shapes, path)
    for details in (*interpreter.get_input_details(), *interpreter.get_output_details()):
        _dtype(details, path)
    for details in interpreter.get_input_details():
        _fix_shape(interpreter, details, input_shapes.get(details["name"]), path)
    _run_once(interpreter, path)
    return Model(
        path=path,
        format="tflite",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        inputs=tuple(_spec(each, aliases, path) for each in interpreter.get_input_details()),
        outputs=tuple(_spec(each, aliases, path) for each in interpreter.get_output_details()),
    )


def _load(content: bytes, path: Path) -> Any:
    """The interpreter, which checks every offset in the file before anything else reads it."""
    found = content[4:8]
    if found != _IDENTIFIER:
        raise ModelError(
            f"{path} is not a TFLite model: found {found!r} at byte 4, expected {_IDENTIFIER!r}",
            hint="check that it is the .tflite file itself, not an archive or another format",
        )
    try:
        return Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path} is broken: {_reason(error)}",
            hint="export it again, or check that the download is complete",
        ) from error


def _require_float_graph(content: bytes, path: Path) -> None:
    model = flatbuffer_utils.read_model_from_bytearray(content)
    if len(model.subgraphs) != 1:
        raise ModelError(
            f"{path.name} holds {len(model.subgraphs)} subgraphs, expected 1",
            hint="export one signature, without control flow (if, while) and composite operators",
        )
    graph = model.subgraphs[0]
    for what, there in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if there is None or len(there) == 0:
            raise ModelError(f"{path.name} has no {what}, expected at least one")
    if not graph.operators:
        raise ModelError(f"{path.name} holds no operators, expected a network")
    quantized = next(_quantized(graph), None)
    if quantized is not None:
        name, dtype = quantized
        raise ModelError(
            f"{path.name} is already quantized (its tensor {name!r} is {dtype}), "
            "expected the float model",
            hint="give the model it was quantized from",
        )


def _quantized(graph: Any) -> Iterator[tuple[str, str]]:
    for tensor in graph.tensors:
        quantization = tensor.quantization
        scales = None if quantization is None else quantization.scale
        if scales is not None and len(scales) > 0 and tensor.type in _QUANTIZED:
            yield (tensor.name or b"").decode(errors="replace"), _QUANTIZED[tensor.type]


def _require_distinct_names(inputs: Sequence[Mapping[str, Any]], path: Path) -> None:
    names = [details["name"] for details in inputs]
    repeated = sorted({name for name in names if not name or names.count(name) > 1})
    if repeated:
        raise ModelError(
            f"{path.name} has {len(names)} inputs of which {names.count(repeated[0])} are called "
            f"{repeated[0]!r}, expected a name of its own for each"
        )


def _aliases(content: bytes) -> dict[int, str]:
    """Tensor index to the name that the file's first signature gives it."""
    signatures = flatbuffer_utils.read_model_from_bytearray(content).signatureDefs or []
    return {
        entry.tensorIndex: entry.name.decode(errors="replace")
        for signature in signatures[:1]
        for entry in (*(signature.inputs or ()), *(signature.outputs or ()))
    }


def _by_name(
    inputs: Sequence[Mapping[str, Any]],
    aliases: Mapping[int, str],
    input_shapes: InputShapes,
    path: Path,
) -> InputShapes:
    """The wanted shapes by tensor name, whichever name they were given under."""
    names = {details["name"]: details["name"] for details in inputs}
    names |= {aliases[each["index"]]: each["name"] for each in inputs if each["index"] in aliases}
    for name in input_shapes:
        if name not in names:
            raise ModelError(
                f"{path.name} has no input {name!r}, its inputs are {', '.join(names)}"
            )
    return {names[name]: shape for name, shape in input_shapes.items()}


def _fix_shape(
    interpreter: Any, details: Mapping[str, Any], wanted: tuple[int, ...] | None, path: Path
) -> None:
    shape = tuple(int(size) for size in details["shape"])
    if wanted is None:
        _require_static(details["name"], shape, _signature(details), path)
    elif len(wanted) != len(shape) or min(wanted, default=1) < 1:
        raise ModelError(
            f"input {details['name']!r} of {path.name} is {list(_signature(details))}, "
            f"which {list(wanted)} does not fit"
        )
    elif wanted != shape:
        interpreter.resize_tensor_input(details["index"], wanted)


def _signature(details: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape with -1 where the model leaves a dimension open."""
    signature = details["shape_signature"]
    return tuple(int(size) for size in (signature if len(signature) else details["shape"]))


def _require_static(
    name: str, shape: tuple[int, ...], signature: tuple[int, ...], path: Path
) -> None:
    unknown = [
        index
        for index, size in enumerate(signature)
        if shape[index] < 1 or (size < 1 and (index, shape[index]) != (0, 1))
    ]
    if unknown:
        example = ",".join(
            "1" if index == 0 and index in unknown else "<size>" if index in unknown else str(size)
            for index, size in enumerate(shape)
        )
        raise ModelError(
            f"input {name!r} of {path.name} is {list(signature)}: dimension "
            f"{', '.join(map(str, unknown))} is dynamic, expected every dimension fixed",
            hint=f"fix it with --input-shape {name}={example}",
        )


def _run_once(interpreter: Any, path: Path) -> None:
    """Run on zeros: it shows that LiteRT has every operator, and settles the outputs' shapes."""
    try:
        interpreter.allocate_tensors()
        for details in interpreter.get_input_details():
            zeros = np.zeros(details["shape"], details["dtype"])
            interpreter.set_tensor(details["index"], zeros)
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path.name} does not run in LiteRT: {_reason(error)}",
            hint="export it with built-in TFLite operators only; if you gave --input-shape, check "
            "that the network takes that shape",
        ) from error


def _spec(details: Mapping[str, Any], aliases: Mapping[int, str], path: Path) -> TensorSpec:
    shape = tuple(int(size) for size in details["shape"])
    if math.prod(shape) == 0:
        raise ModelError(
            f"output {details['name']!r} of {path.name} is {list(shape)}: its shape depends on the "
            "data, expected a static one",
            hint="cut the post-processing (e.g. non-maximum suppression) off the exported model",
        )
    alias = aliases.get(details["index"], "")
    name = str(details["name"])
    return TensorSpec(name, shape, _dtype(details, path), alias if alias != name else "")


def _dtype(details: Mapping[str, Any], path: Path) -> str:
    dtype = np.dtype(details["dtype"])
    if dtype.name not in _DTYPES:
        raise ModelError(
            f"{details['name']!r} of {path.name} holds "
            f"{'strings' if dtype.kind in 'OSU' else dtype.name}, "
            f"expected one of {', '.join(sorted(_DTYPES))}"
        )
    return str(dtype.name)


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0].strip() if str(error).strip() else repr(error)
