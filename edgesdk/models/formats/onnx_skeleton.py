"""An ONNX model without its weights: what is needed to check it and to infer its shapes.

Large constants are inputs of the skeleton, functions are written out, and what `Constant` nodes
hold has become constants: every runtime folds them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from edgesdk.errors import ModelError
from edgesdk.models.formats.onnx import graph_inputs

_KEPT_VALUES = 1024
"""Constants of more elements than this are not part of the skeleton."""
_PACKED_BITS = {TensorProto.INT4: 4, TensorProto.UINT4: 4}


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A model and what was taken out of it.

    Args:
        model: without large constants and `Constant` nodes.
        fed: names of the inputs that a caller feeds.
        constants: by name, those of `Constant` nodes included; external ones without their data.
        places: of the operators of `model` among those of the file, functions written out.
    """

    model: onnx.ModelProto
    fed: tuple[str, ...]
    constants: Mapping[str, TensorProto]
    places: tuple[int, ...]


def read_skeleton(path: Path) -> Skeleton:
    """Read and check a file; external data are not read, only looked for.

    Raises:
        ModelError: not ONNX, not valid, or its external data are missing.
    """
    proto = _loaded(path)
    bare = _without_weights(proto)
    held = [_held(node) for node in bare.graph.node]
    places = tuple(index for index, tensor in enumerate(held) if tensor is None)
    lifted = [tensor for tensor in held if tensor is not None]
    nodes = [bare.graph.node[index] for index in places]
    if lifted:
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del bare.graph.node[:]
        bare.graph.node.extend(copies)
        _add(bare, lifted)
    _require_sound(bare, path)
    return Skeleton(
        model=bare,
        fed=tuple(value.name for value in graph_inputs(proto)),
        constants={tensor.name: tensor for tensor in (*proto.graph.initializer, *lifted)},
        places=places,
    )


def _loaded(path: Path) -> onnx.ModelProto:
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise ModelError(
            f"{path} is broken: its bytes are not an ONNX model",
            hint="export it again, or check that the download is complete",
        ) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if not proto.graph.node:
        raise ModelError(f"{path} holds no operators, expected an ONNX model")
    for name in _external_files(proto.graph.initializer):
        if not (path.parent / name).is_file():
            raise ModelError(
                f"the weights of {path.name} are in {name}, which is not beside it",
                hint="copy both files",
            )
    for tensor in proto.graph.initializer:
        expected = stored_bytes(math.prod(tensor.dims), tensor.data_type)
        if tensor.HasField("raw_data") and len(tensor.raw_data) != expected:
            raise ModelError(
                f"{path} is broken: {tensor.name} has {len(tensor.raw_data)} bytes, "
                f"expected {expected} for {list(tensor.dims)}"
            )
    return proto


def stored_bytes(count: int, code: int) -> int:
    """Bytes of so many values of a type; 0 of strings and of a type that is not known."""
    if code in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 0
    bits = _PACKED_BITS.get(code) or 8 * helper.tensor_dtype_to_np_dtype(code).itemsize
    return int(-(-count * bits // 8))


def _external_files(tensors: Iterable[TensorProto]) -> list[str]:
    entries = (tensor.external_data for tensor in tensors if uses_external_data(tensor))
    return sorted({e.value for each in entries for e in each if e.key == "location"})


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with large constants as inputs and functions written out."""
    bare = onnx.ModelProto()
    # Copying by field keeps the weights where they are.
    _copy(proto, bare, without="graph")
    _copy(proto.graph, bare.graph, without="initializer")
    _add(bare, proto.graph.initializer)
    return onnx.inliner.inline_local_functions(bare) if bare.functions else bare


def _copy(source: Message, target: Message, without: str) -> None:
    for field, value in source.ListFields():
        if field.name == without:
            continue
        if field.is_repeated or field.message_type is not None:
            getattr(target, field.name).MergeFrom(value)
        else:
            setattr(target, field.name, value)


def _is_large(tensor: TensorProto) -> bool:
    return bool(uses_external_data(tensor)) or math.prod(tensor.dims) > _KEPT_VALUES


def _add(proto: onnx.ModelProto, tensors: Iterable[TensorProto]) -> None:
    """Small ones as constants, large ones as inputs."""
    there = {value.name for value in proto.graph.input}
    for tensor in tensors:
        if not _is_large(tensor):
            proto.graph.initializer.append(tensor)
        elif tensor.name not in there:
            proto.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )


def _held(node: onnx.NodeProto) -> TensorProto | None:
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or not node.attribute:
        return None
    attribute = node.attribute[0]
    tensor = TensorProto()
    if attribute.name == "value":
        tensor.CopyFrom(attribute.t)
    elif attribute.name in ("value_float", "value_floats"):
        values = helper.get_attribute_value(attribute)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(values, np.float32)))
    elif attribute.name in ("value_int", "value_ints"):
        values = helper.get_attribute_value(attribute)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(values, np.int64)))
    else:
        return None
    tensor.name = node.output[0]
    return tensor


def _require_sound(skeleton: onnx.ModelProto, path: Path) -> None:
    """The checker wants a shape on every input and output; runtimes do not."""
    shaped = onnx.ModelProto()
    shaped.CopyFrom(skeleton)
    for value in (*shaped.graph.input, *shaped.graph.output):
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(shaped)
    except onnx.checker.ValidationError as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{path} is not a valid ONNX model: {reason}") from error
