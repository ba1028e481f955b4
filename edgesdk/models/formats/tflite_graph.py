"""The graph of a TFLite file, float, quantized or compiled: read from its bytes, nothing is run.

Of several subgraphs the first is read, which is the one that callers run. Large constants are
passed over where they lie, so that a file of many megabytes is read in a fraction of a second.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ai_edge_litert import schema_py_generated as schema
from flatbuffers.table import Table

from edgesdk.errors import ModelError
from edgesdk.models.formats.tflite_shapes import resized
from edgesdk.models.formats.tflite_tensors import DTYPES, read_tensor, text, vector
from edgesdk.models.graph import Attribute, Graph, GraphOperator, GraphTensor
from edgesdk.models.types import TensorSpec

InputShapes = Mapping[str, tuple[int, ...]]

CUSTOM: Final = "custom"
"""Domain of operators that are not TFLite's own."""

_IDENTIFIER = b"TFL3"
_DAMAGE = (
    struct.error,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    KeyError,
    OverflowError,
    MemoryError,
)
"""What reading past or across a broken flatbuffer raises."""


def _names(enumeration: type) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}


_OPERATORS = _names(schema.BuiltinOperator)
_OPTIONS = _names(schema.BuiltinOptions)
_OPTIONS_2 = _names(schema.BuiltinOptions2)
_WORDS: Mapping[str, Mapping[int, str]] = {
    "fused_activation_function": _names(schema.ActivationFunctionType),
    "padding": _names(schema.Padding),
    "weights_format": _names(schema.FullyConnectedOptionsWeightsFormat),
    "mode": _names(schema.MirrorPadMode),
    "in_data_type": DTYPES,
    "out_data_type": DTYPES,
    "output_type": DTYPES,
}
"""Options that are numbers in the file and read better as words."""


def read_graph(path: Path, input_shapes: InputShapes) -> Graph:
    """Read the main graph of a TFLite file; see `edgesdk.models.reading.GraphReader`.

    A first dimension that the file leaves open has the size that it gives it, as LiteRT has it; any
    other open one is -1, here and in what follows from it, unless `input_shapes` fixes it.

    Raises:
        ModelError: not a TFLite file, broken, or without an input that `input_shapes` names.
    """
    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise ModelError(
            f"{path} is not a TFLite model: found {content[4:8]!r} at byte 4, "
            f"expected {_IDENTIFIER!r}",
            hint="check that it is the .tflite file itself, not an archive or another format",
        )
    try:
        graph = _graph(content)
    except _DAMAGE as error:
        raise ModelError(
            f"{path} is broken: its tables do not hold together ({error})",
            hint="export it again, or check that the download is complete",
        ) from error
    return resized(graph, content, input_shapes, path.name)


def _graph(content: bytes) -> Graph:
    model = schema.Model.GetRootAs(content, 0)
    subgraph = _entries(content, model.Subgraphs, model.SubgraphsLength(), 1)[0]
    aliases = _aliases(content, model)
    tensors = tuple(
        read_tensor(content, model, entry)
        for entry in _entries(content, subgraph.Tensors, subgraph.TensorsLength())
    )
    operators = tuple(
        _operator(content, model, tensors, index, entry)
        for index, entry in enumerate(
            _entries(content, subgraph.Operators, subgraph.OperatorsLength())
        )
    )
    return Graph(
        format="tflite",
        operators=operators,
        tensors=tensors,
        inputs=_edge(tensors, aliases, vector(subgraph.InputsAsNumpy())),
        outputs=_edge(tensors, aliases, vector(subgraph.OutputsAsNumpy())),
    )


def _entries(
    content: bytes, entry: Callable[[int], Any], count: int, at_most: int | None = None
) -> list[Any]:
    """The entries of a vector of tables, each of which takes at least its offset in the file."""
    if not 0 <= count <= len(content) // 4:
        raise ValueError(f"a vector of {count} entries")
    found = [entry(index) for index in range(count if at_most is None else min(count, at_most))]
    if not all(found):
        raise ValueError("a vector with an entry that is not there")
    return found


def _operator(
    content: bytes, model: Any, tensors: tuple[GraphTensor, ...], index: int, entry: Any
) -> GraphOperator:
    if not 0 <= entry.OpcodeIndex() < model.OperatorCodesLength():
        raise ValueError(f"operator code {entry.OpcodeIndex()}")
    code = model.OperatorCodes(entry.OpcodeIndex())
    # Old files have the code in a field of 8 bits and 0, which reads as ADD, in the one that counts
    # today; the larger of the two is right.
    builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    custom = builtin == schema.BuiltinOperator.CUSTOM
    inputs, outputs = vector(entry.InputsAsNumpy()), vector(entry.OutputsAsNumpy())
    for position in (*inputs, *outputs):
        if not -1 <= position < len(tensors):
            raise ValueError(f"tensor {position} of {len(tensors)}")
    named = [position for position in (*outputs, *inputs) if position >= 0]
    return GraphOperator(
        index=index,
        type=(text(code.CustomCode()) or "CUSTOM") if custom else _type(builtin),
        name=tensors[named[0]].name if named else "",
        version=code.Version(),
        inputs=inputs,
        outputs=outputs,
        attributes={} if custom else dict(_attributes(content, entry)),
        domain=CUSTOM if custom else "",
    )


def _type(builtin: int) -> str:
    return _OPERATORS.get(builtin, f"operator {builtin}")


def _attributes(content: bytes, entry: Any) -> Iterator[tuple[str, Attribute]]:
    for kind, table, names in (
        (entry.BuiltinOptionsType(), entry.BuiltinOptions(), _OPTIONS),
        (entry.BuiltinOptions2Type(), entry.BuiltinOptions2(), _OPTIONS_2),
    ):
        if isinstance(table, Table) and kind:
            yield from _options(content, table, names[kind])


def _options(content: bytes, table: Table, kind: str) -> Iterator[tuple[str, Attribute]]:
    options = getattr(schema, kind)()
    options.Init(content, table.Pos)
    for field in vars(getattr(schema, f"{kind}T")()):
        accessor = field[0].upper() + field[1:]
        listed = getattr(options, f"{accessor}AsNumpy", None)
        value = listed() if listed is not None else getattr(options, accessor)()
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", field).lower()
        if listed is not None:
            yield name, vector(value)
        elif isinstance(value, bytes):
            yield name, text(value)
        elif isinstance(value, bool | int | float):
            yield name, _word(name, value)


def _word(name: str, value: bool | int | float) -> Attribute:
    words = _WORDS.get(name)
    return value if words is None else words.get(int(value), str(value))


def _edge(
    tensors: tuple[GraphTensor, ...], aliases: Mapping[int, str], indices: tuple[int, ...]
) -> tuple[TensorSpec, ...]:
    specs = []
    for index in indices:
        if not 0 <= index < len(tensors):
            raise ValueError(f"tensor {index} of {len(tensors)} at the graph's edge")
        tensor, alias = tensors[index], aliases.get(index, "")
        shape = tensor.shape or ()
        specs.append(
            TensorSpec(tensor.name, shape, tensor.dtype, alias if alias != tensor.name else "")
        )
    return tuple(specs)


def _aliases(content: bytes, model: Any) -> dict[int, str]:
    """Tensor index to the name that the file's first signature gives it."""
    signatures = _entries(content, model.SignatureDefs, model.SignatureDefsLength(), 1)
    return {
        entry.TensorIndex(): text(entry.Name())
        for signature in signatures
        for entry in (
            *_entries(content, signature.Inputs, signature.InputsLength()),
            *_entries(content, signature.Outputs, signature.OutputsLength()),
        )
    }
