"""How large a model will be once it is converted, told from its graph. Pure arithmetic.

The constants here are fitted to what our toolchains write, and tests hold the results to within
`TOLERANCE` of real conversions. What a vendor's compiler makes of the converted model has another
size, which is not told here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from edgesdk.convert.conversion import GOLDEN_SHARE
from edgesdk.convert.lifetimes import alive_bytes, live_bytes, readers
from edgesdk.convert.operands import RECURRENT
from edgesdk.convert.planning import BITS, Chain
from edgesdk.convert.uses import constant_readers
from edgesdk.models.graph import Graph, GraphOperator, GraphTensor
from edgesdk.models.types import TensorSpec
from edgesdk.units import KIB
from edgesdk.values.artifact import TensorSize
from edgesdk.values.recipe import MOST_GOLDEN_VECTORS

TOLERANCE: Final = 0.1
"""Forecast sizes lie within this share of those of the conversion."""

FLOATS = ("float16", "float32", "float64")
STAY_FLOAT = RECURRENT
"""Types with weights that none of our toolchains quantizes."""
_LOOKUPS_LEFT = frozenset(
    {("EMBEDDING_LOOKUP", "w8a8"), ("EMBEDDING_LOOKUP", "w8a16"), ("GATHER", "fp16")}
)
"""TFLite's lookups and the precisions at which LiteRT's quantizer leaves their tables in float."""
_SATURATIONS = ("Relu", "Clip")
"""ONNX operators that vanish into the pair of the operator before them."""

_WIDTHS = {1: "int8", 2: "int16", 4: "float32"}
"""Bytes of one value of an activation to its dtype."""
_KERNELS = 2
"""Most kernel paths that golden outputs are computed with."""
_USUAL_ENTROPY_BITS = 7.2
"""Of a Gaussian weight in 8 bits, for weights whose entropy nobody looked at."""
_CODING_LOSS = 1.02
"""zlib above the entropy of weights."""
_FLOAT_SHARE = 0.92
"""What zlib leaves of trained float weights."""
_FRAME_BYTES = 5 * KIB
"""Manifest, headers and end of a package."""


@dataclass(frozen=True, slots=True)
class FileSize:
    """A model file.

    Args:
        stored_bytes: without external data.
        packed_bytes: compressed as in a package; None where that was not measured.
    """

    stored_bytes: int
    packed_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """See `edgesdk.values.forecast.Forecast`.

    Args:
        golden: of the golden vectors.
        packed_share: what compression leaves of the constants.
    """

    model_bytes: int
    package_bytes: int
    installed_bytes: int
    working_set_bytes: int
    golden: Golden
    packed_share: float


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden vectors: how many, and what they take before they are compressed."""

    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a format spends on scales.

    Args:
        weight_channel_bytes: for each output channel of a weight.
        bias_channel_bytes: likewise of a bias.
        tensor_bytes: for each tensor with scales, without its name.
        names: how often such a tensor's name is written.
        packed_share: what zlib leaves of all that is no value.
        table_row_bytes: for each row of a table that is looked up in.
    """

    weight_channel_bytes: int
    bias_channel_bytes: int
    tensor_bytes: int
    names: int
    packed_share: float = 0.3
    table_row_bytes: int = 0


_COSTS = {
    "tflite": _Cost(4, 4, 60, 0),
    "onnx": _Cost(5, 8, 230, 9),
    "xml": _Cost(4, 0, 1600, 6, packed_share=0.1, table_row_bytes=4),
}
"""By the suffix of the converted file."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """One constant as it will be stored.

    Args:
        values_bytes: of its values.
        packed_bytes: of its values, compressed.
        dtype: of its values.
        scales_bytes: of its scales, which do not compress.
    """

    values_bytes: float
    packed_bytes: float
    dtype: str
    scales_bytes: int = 0


def sizes_as_stored(graph: Graph, file: FileSize) -> Sizes:
    """Of a model that is quantized already: the file's own."""
    # It is not converted again, so nobody can ask for fewer.
    golden = _golden(graph, file.stored_bytes, None, 1)
    packed_bytes = file.stored_bytes if file.packed_bytes is None else file.packed_bytes
    sizes = {index: tensor.size_bytes for index, tensor in enumerate(graph.tensors)}
    return Sizes(
        model_bytes=file.stored_bytes,
        package_bytes=packed_bytes + golden.size_bytes + _FRAME_BYTES,
        installed_bytes=file.stored_bytes + golden.size_bytes,
        working_set_bytes=_constant_bytes(graph) + live_bytes(graph, sizes),
        golden=golden,
        packed_share=packed_bytes / file.stored_bytes,
    )


def sizes_converted(
    graph: Graph,
    file: FileSize,
    chain: Chain,
    given: Mapping[str, str],
    golden_vectors: int = MOST_GOLDEN_VECTORS,
) -> Sizes:
    """Of a float model after its conversion.

    Args:
        given: operator name to the precision that the recipe gives it.
        golden_vectors: most that the recipe asks for.
    """
    stored = list(_constants(graph, chain, given))
    values_bytes = math.ceil(sum(each.values_bytes for each in stored))
    scales_bytes = sum(each.scales_bytes for each in stored)
    frame_bytes = _metadata_bytes(graph, file) + _scale_frames_bytes(graph, chain)
    model_bytes = values_bytes + scales_bytes + frame_bytes
    packed_bytes = scales_bytes + math.ceil(
        sum(each.packed_bytes for each in stored) + _cost(chain).packed_share * frame_bytes
    )
    golden = _golden(graph, model_bytes, chain, golden_vectors)
    activations = dict(enumerate(_activations(graph, chain, given)))
    return Sizes(
        model_bytes=model_bytes,
        package_bytes=min(packed_bytes, model_bytes) + golden.size_bytes + _FRAME_BYTES,
        installed_bytes=model_bytes + golden.size_bytes,
        working_set_bytes=values_bytes
        # In ONNX scales are tensors of their own.
        + (scales_bytes if chain.toolchain.reads == "onnx" else 0)
        + live_bytes(graph, activations, _vanishing(chain), _widened(graph, chain)),
        golden=golden,
        packed_share=sum(each.packed_bytes for each in stored) / max(1, values_bytes),
    )


def tensors_as_stored(graph: Graph) -> tuple[TensorSize, ...]:
    """Those of a model that is quantized already, largest first."""
    sizes = {index: tensor.size_bytes for index, tensor in enumerate(graph.tensors)}
    dtypes = {index: tensor.dtype for index, tensor in enumerate(graph.tensors)}
    return _told(graph, sizes, dtypes, alive_bytes(graph, sizes))


def tensors_converted(
    graph: Graph, chain: Chain, given: Mapping[str, str]
) -> tuple[TensorSize, ...]:
    """Those of a float model after its conversion, largest first.

    Args:
        given: operator name to the precision that the recipe gives it.
    """
    sizes = dict(enumerate(_activations(graph, chain, given)))
    alive = alive_bytes(graph, sizes, _vanishing(chain), _widened(graph, chain))
    dtypes = {
        index: _WIDTHS.get(sizes[index] // max(1, math.prod(tensor.shape or ())), tensor.dtype)
        if tensor.dtype in FLOATS
        else tensor.dtype
        for index, tensor in enumerate(graph.tensors)
    }
    constants = (index for index, tensor in enumerate(graph.tensors) if tensor.constant)
    for index, stored in zip(constants, _constants(graph, chain, given), strict=True):
        sizes[index], dtypes[index] = math.ceil(stored.values_bytes), stored.dtype
    return _told(graph, sizes, dtypes, alive)


def _told(
    graph: Graph,
    sizes: Mapping[int, int],
    dtypes: Mapping[int, str],
    alive: Mapping[int, int],
) -> tuple[TensorSize, ...]:
    readers_of = constant_readers(graph)
    found = [
        TensorSize(
            name=tensor.name,
            kind="constant" if tensor.constant else "activation",
            dtype=dtypes[index],
            shape=tensor.shape or (),
            size_bytes=sizes[index] if tensor.constant else alive.get(index, sizes[index]),
            readers=readers_of.get(index, ()),
            at_peak=index in alive and not tensor.constant,
        )
        for index, tensor in enumerate(graph.tensors)
    ]
    return tuple(sorted(found, key=lambda size: -size.size_bytes))


def _vanishing(chain: Chain) -> tuple[str, ...]:
    return () if chain.precision == "fp16" else _SATURATIONS


def _constant_bytes(graph: Graph) -> int:
    return sum(tensor.size_bytes for tensor in graph.tensors if tensor.constant)


def _metadata_bytes(graph: Graph, file: FileSize) -> int:
    """What is in the file besides values; those that do not fit into it are in another one."""
    inside = _constant_bytes(graph)
    return file.stored_bytes - (inside if inside <= file.stored_bytes else 0)


def _scale_frames_bytes(graph: Graph, chain: Chain) -> int:
    if chain.precision == "fp16":
        return 0
    cost = _cost(chain)
    vanishing = {op.inputs[0] for op in graph.operators if op.type in _SATURATIONS and op.inputs}
    return sum(
        cost.tensor_bytes + cost.names * len(tensor.name)
        for index, tensor in enumerate(graph.tensors)
        if tensor.dtype in FLOATS and index not in vanishing
    )


def _constants(graph: Graph, chain: Chain, given: Mapping[str, str]) -> Iterator[_Stored]:
    readings, readers_of = readers(graph), constant_readers(graph)
    for index, tensor in enumerate(graph.tensors):
        if not tensor.constant:
            continue
        is_table = any(reader.use == "table" for reader in readers_of[index])
        precisions = {_precision(operator, chain, given) for operator, _ in readings[index]}
        precision = next((each for each in precisions if each != "float32"), "float32")
        if tensor.dtype not in FLOATS or "float32" in precisions:
            precision = "float32"
        slot = max((slot for _, slot in readings[index]), default=0)
        yield _stored(tensor, precision, slot, chain, is_table)


def _cost(chain: Chain) -> _Cost:
    return _COSTS.get(chain.toolchain.suffix or chain.toolchain.reads, _COSTS["onnx"])


def _stored(
    tensor: GraphTensor, precision: str, slot: int, chain: Chain, is_table: bool
) -> _Stored:
    count, shape = math.prod(tensor.shape or ()), tensor.shape or (1,)
    if precision == "float32":
        share = _FLOAT_SHARE if tensor.dtype in FLOATS else 1
        return _Stored(tensor.size_bytes, share * tensor.size_bytes, tensor.dtype)
    if precision == "fp16":
        return _Stored(2 * count, _FLOAT_SHARE * 2 * count, "float16")
    cost = _cost(chain)
    if slot >= 2 and len(shape) == 1:  # a bias
        width = 8 if (precision, chain.toolchain.reads) == ("w8a16", "tflite") else 4
        scales_bytes = cost.bias_channel_bytes * count
        return _Stored(width * count, width * count, f"int{8 * width}", scales_bytes)
    bits, activation_bits = BITS[precision]  # type: ignore[index]
    if is_table and chain.toolchain.reads == "tflite":
        bits = activation_bits
    entropy_bits = _USUAL_ENTROPY_BITS if tensor.entropy_bits is None else tensor.entropy_bits
    coded_bits = min(bits, _CODING_LOSS * max(0.0, entropy_bits - (8 - bits)))
    channels = shape[-1] if shape[0] == 1 else shape[0]
    scales = channels if len(shape) > 1 else 1
    scales_bytes = (cost.table_row_bytes if is_table else cost.weight_channel_bytes) * scales
    return _Stored(bits * count / 8, coded_bits * count / 8, f"int{bits}", scales_bytes)


def _precision(operator: GraphOperator, chain: Chain, given: Mapping[str, str]) -> str:
    left = operator.type in STAY_FLOAT or (operator.type, chain.precision) in _LOOKUPS_LEFT
    return given.get(operator.name, "float32" if left else chain.precision)


def _activations(graph: Graph, chain: Chain, given: Mapping[str, str]) -> Iterator[int]:
    """Bytes of every tensor between operators or at the edge; 0 of constants and open shapes."""
    edge = {spec.name for spec in (*graph.inputs, *graph.outputs)}
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    for index, tensor in enumerate(graph.tensors):
        shape = tensor.shape
        if tensor.constant or shape is None or -1 in shape:
            yield 0
        elif tensor.dtype not in FLOATS:
            yield tensor.size_bytes
        elif tensor.name in edge or index not in makers:
            yield math.prod(shape) * _edge_width(chain)
        else:
            precision = _precision(makers[index], chain, given)
            yield math.prod(shape) * _activation_width(precision)


def _widened(graph: Graph, chain: Chain) -> dict[int, int]:
    """LiteRT computes in float32 on a copy of weights that are stored in float16."""
    if (chain.precision, chain.toolchain.reads) != ("fp16", "tflite"):
        return {}
    return {
        index: 4 * math.prod(tensor.shape or ())
        for index, tensor in enumerate(graph.tensors)
        if tensor.constant and tensor.dtype in FLOATS
    }


def _activation_width(precision: str) -> int:
    return BITS[precision][1] // 8 if precision in BITS else 4  # type: ignore[index]


def _edge_width(chain: Chain) -> int:
    return {"float32": 4, "int16": 2}.get(chain.io, 1)


def _golden(graph: Graph, model_bytes: int, chain: Chain | None, most: int) -> Golden:
    """The golden vectors; `chain` of a float model."""
    tensors = {tensor.name: tensor for tensor in graph.tensors}

    def of(spec: TensorSpec) -> int:
        if chain is None or spec.dtype not in FLOATS:
            return tensors[spec.name].size_bytes
        return math.prod(size for size in spec.shape if size > 0) * _edge_width(chain)

    vector_bytes = sum(map(of, graph.inputs)) + _KERNELS * sum(map(of, graph.outputs))
    fitting = int(GOLDEN_SHARE * model_bytes / max(1, vector_bytes))
    count = max(1, min(most, fitting))
    return Golden(count, count * vector_bytes)
