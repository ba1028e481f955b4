"""Read ONNX models: their edge, their integrity, and whether they are still in float."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from edgesdk.errors import ModelError
from edgesdk.files import sha256_file
from edgesdk.models.types import Model, TensorSpec

_DTYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
}
_QUANTIZED_OPERATOR = re.compile(
    r"(Dynamic)?QuantizeLinear|DequantizeLinear|(Conv|MatMul)Integer\w*|DynamicQuantize\w+"
    r"|QLinear\w+|QGemm|QAttention|MatMulNBits"
)
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Those whose operators a runtime of ours may have."""


def open_model(path: Path, input_shapes: Mapping[str, tuple[int, ...]]) -> Model:
    """Read an ONNX file; see `edgesdk.models.opening.FormatReader`."""
    proto = load(path)
    _refuse_quantized(proto, path)
    _refuse_unknown_domains(proto, path)
    _refuse_handed_through(proto, path)
    fixed = fix_shapes(proto, input_shapes, path)
    files = [path, *_external_files(path)]
    return Model(
        path=path,
        format="onnx",
        sha256=_sha256(files),
        size_bytes=sum(file.stat().st_size for file in files),
        inputs=tuple(_spec(value, path) for value in graph_inputs(fixed)),
        outputs=tuple(_spec(value, path) for value in fixed.graph.output),
    )


def load(path: Path) -> onnx.ModelProto:
    """Load and check a model with its external data.

    Raises:
        ModelError: not ONNX, not valid, or its external data are missing.
    """
    try:
        proto = onnx.load(str(path), load_external_data=False)
        load_external_data_for_model(proto, str(path.parent))
        _check(proto, path)
    except (onnx.checker.ValidationError, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{path} is not a valid ONNX model: {reason}") from error
    except DecodeError as error:
        raise ModelError(
            f"{path} is broken: its bytes are not an ONNX model",
            hint="export it again, or check that the download is complete",
        ) from error
    if not proto.graph.node:
        raise ModelError(f"{path} holds no operators, expected an ONNX model")
    return proto


def _check(proto: onnx.ModelProto, path: Path) -> None:
    """The checker wants a shape on every output; runtimes do not, and inference will find it."""
    edge = [value.name for value in (*proto.graph.input, *proto.graph.output) if _is_bare(value)]
    if not edge:
        onnx.checker.check_model(str(path))
        return
    shaped = onnx.ModelProto()
    shaped.CopyFrom(proto)
    for value in (*shaped.graph.input, *shaped.graph.output):
        if value.name in edge:
            value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(shaped)


def _is_bare(value: onnx.ValueInfoProto) -> bool:
    return value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")


def graph_inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs a caller feeds: graph inputs that are not initializers."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in constants]


def fix_shapes(
    proto: onnx.ModelProto, input_shapes: Mapping[str, tuple[int, ...]], path: Path
) -> onnx.ModelProto:
    """A copy with the given input shapes written in and every shape inferred from them.

    Raises:
        ModelError: an unknown input, a shape that contradicts the model's, an input that is still
            dynamic.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    inputs = {value.name: value for value in graph_inputs(fixed)}
    before = [_dims(value) for value in inputs.values()]
    for name, shape in input_shapes.items():
        if name not in inputs:
            raise ModelError(
                f"{path.name} has no input {name!r}, its inputs are {', '.join(inputs)}"
            )
        write_shape(inputs[name], shape, path)
    for value in inputs.values():
        _require_static(value, path)
    # Else what the model says still holds, and not all of it is inferred: ONNX does not for Loop.
    if before != [_dims(value) for value in inputs.values()]:
        del fixed.graph.value_info[:]
        for value in fixed.graph.output:
            value.type.tensor_type.ClearField("shape")
    return inferred(fixed, path)


def inferred(proto: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """A copy with every shape that follows from those of the inputs.

    Raises:
        ModelError: shapes contradict one another.
    """
    try:
        return onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        reason = str(error).strip().splitlines()[-1]
        # Strictly, an operator that ONNX cannot infer (one of another domain, say) is an error too.
        if "TypeInferenceError" in reason and reason.endswith("is null"):
            return onnx.shape_inference.infer_shapes(proto, data_prop=True)
        raise ModelError(f"the shapes of {path.name} do not fit together: {reason}") from error


def _dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in value.type.tensor_type.shape.dim
    ]


def write_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...], path: Path) -> None:
    """Write a shape in, which must fit what the model says of it.

    Raises:
        ModelError: it does not.
    """
    known = _dims(value) if value.type.tensor_type.HasField("shape") else list(shape)
    fits = len(known) == len(shape) and all(
        wanted > 0 and (not isinstance(dim, int) or dim == wanted or dim <= 0)
        for dim, wanted in zip(known, shape, strict=False)
    )
    if not fits:
        raise ModelError(
            f"input {value.name!r} of {path.name} is {_brackets(known)}, "
            f"which {_brackets(list(shape))} does not fit"
        )
    value.type.tensor_type.ClearField("shape")
    value.type.tensor_type.shape.SetInParent()
    for size in shape:
        value.type.tensor_type.shape.dim.add().dim_value = size


def _require_static(value: onnx.ValueInfoProto, path: Path) -> None:
    if not value.type.HasField("tensor_type"):
        found = value.type.WhichOneof("value") or "nothing"
        raise ModelError(
            f"input {value.name!r} of {path.name} is a {found.removesuffix('_type')}, "
            "expected a tensor"
        )
    if not value.type.tensor_type.HasField("shape"):
        raise ModelError(
            f"input {value.name!r} of {path.name} has no shape, expected a static one",
            hint=f"fix it with --input-shape {value.name}=1,3,224,224 (your own sizes)",
        )
    dims = _dims(value)
    unknown = [index for index, dim in enumerate(dims) if isinstance(dim, str) or dim <= 0]
    if unknown:
        named = ", ".join(f"{index} ({dims[index]!r})" for index in unknown)
        example = ",".join(
            str(dim) if index not in unknown else "1" if index == 0 else "<size>"
            for index, dim in enumerate(dims)
        )
        raise ModelError(
            f"input {value.name!r} of {path.name} is {_brackets(dims)}: dimension {named} is "
            f"dynamic, expected every dimension fixed",
            hint=f"fix it with --input-shape {value.name}={example}",
        )


def _brackets(dims: list[int | str] | list[int]) -> str:
    return f"[{', '.join(map(str, dims))}]"


def _spec(value: onnx.ValueInfoProto, path: Path) -> TensorSpec:
    tensor = value.type.tensor_type
    dims = _dims(value)
    if not tensor.HasField("shape") or any(isinstance(dim, str) for dim in dims):
        raise ModelError(
            f"output {value.name!r} of {path.name} is {_brackets(dims)}: its shape depends on the "
            "data, expected a static one",
            hint="cut the post-processing (e.g. non-maximum suppression) off the exported model",
        )
    if tensor.elem_type not in _DTYPES:
        found = TensorProto.DataType.Name(tensor.elem_type)
        raise ModelError(
            f"{value.name!r} of {path.name} holds {found}, expected one of "
            f"{', '.join(sorted(_DTYPES.values()))}"
        )
    return TensorSpec(value.name, tuple(int(dim) for dim in dims), _DTYPES[tensor.elem_type])


def _refuse_unknown_domains(proto: onnx.ModelProto, path: Path) -> None:
    defined = {(function.domain, function.name) for function in proto.functions}
    for node in _all_nodes(proto):
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in defined:
            raise ModelError(
                f"{path.name} uses {node.op_type} of the domain {node.domain}, which no runtime of "
                "ours knows, expected operators of ONNX",
                hint="replace it by operators of ONNX, define it as a function in the model, or "
                "cut that part off",
            )


def _refuse_handed_through(proto: onnx.ModelProto, path: Path) -> None:
    """The graph to quantize would have two tensors of one name, and no port can be renamed."""
    inputs = {value.name for value in proto.graph.input}
    for value in proto.graph.output:
        if value.name in inputs:
            raise ModelError(
                f"output {value.name!r} of {path.name} is an input of it, too, expected outputs "
                "that an operator computes",
                hint="take it off the outputs, or export the model with Identity in between",
            )


def _refuse_quantized(proto: onnx.ModelProto, path: Path) -> None:
    kinds = {node.op_type for node in _all_nodes(proto)}
    quantized = sorted(kind for kind in kinds if _QUANTIZED_OPERATOR.fullmatch(kind))
    if quantized:
        raise ModelError(
            f"{path.name} is already quantized (it holds {', '.join(quantized)}), "
            "expected the float model",
            hint="give the model it was quantized from",
        )


def _all_nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from _nodes(proto.graph.node)
    for function in proto.functions:
        yield from _nodes(function.node)


def _nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """All operators, those of branches and loop bodies included."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from _nodes(graph.node)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The branches or the body that an operator holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _external_files(path: Path) -> list[Path]:
    graph = onnx.load(str(path), load_external_data=False).graph
    names = {
        entry.value
        for tensor in _tensors(graph)
        if uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [path.parent / name for name in sorted(names)]


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))
        for inner in subgraphs(node):
            yield from _tensors(inner)


def _sha256(files: Sequence[Path]) -> str:
    """The file's own; with external data, that of all files' digests in order."""
    if len(files) == 1:
        return sha256_file(files[0])
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
