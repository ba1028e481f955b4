"""The account of a QDQ model for the HTP: what each operator computes in, by its pairs.

The HTP executes an operator between DequantizeLinear and QuantizeLinear in integers, where the QNN
provider has taken the pairs and the operator together; what stands alone is computed in half
precision, or not at all on an HTP without it. The compiler's account of that is read where it lies
beside the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from edgesdk.convert.backends import onnxruntime as cpu
from edgesdk.convert.backends.onnx_facts import CONVERSIONS, MOVES_DATA, dtypes
from edgesdk.convert.backends.onnx_toolkit import inferred
from edgesdk.convert.backends.qualcomm.compiling import OP_TRACE
from edgesdk.convert.backends.qualcomm.trace import Trace, read_trace
from edgesdk.convert.keeping import KEPT
from edgesdk.convert.toolchains import Description
from edgesdk.values.artifact import OperatorPrecision

_NAMES = {"uint8": "int8", "int8": "int8", "uint16": "int16", "int16": "int16"}
_ALONE = (
    "the QNN provider takes {} apart from its neighbours: the HTP computes it in half precision"
)
_NO_PAIRS = "nothing quantizes its inputs or results: the HTP computes it in half precision"


def describe(path: Path) -> Description:
    """Ports, precisions and sizes of a QDQ model; see `edgesdk.convert.toolchains.Backend`."""
    model = inferred(onnx.load(str(path)), values=True)
    trace = read_trace(path.with_name(OP_TRACE))
    return replace(cpu.describe(path), operators=operators(model, trace))


def operators(model: onnx.ModelProto, trace: Trace | None) -> tuple[OperatorPrecision, ...]:
    """The precision of every operator of a QDQ model, in its order.

    Args:
        trace: what the compiler made of it; None where it was not asked.
    """
    pairs = _pairs(model)
    return tuple(
        OperatorPrecision(index, node.op_type, node.name, *_precision(node, pairs, trace))
        for index, node in enumerate(model.graph.node)
    )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Where a model is quantized.

    Args:
        stored: tensor to the integer type it is stored in before DequantizeLinear or after
            QuantizeLinear.
        dtypes: tensor to its dtype.
        names: of the QuantizeLinear and DequantizeLinear operators.
    """

    stored: Mapping[str, str]
    dtypes: Mapping[str, str]
    names: frozenset[str]


def _pairs(model: onnx.ModelProto) -> _Pairs:
    known = dtypes(model)
    nodes = [node for node in model.graph.node if node.op_type in CONVERSIONS]
    stored = {}
    for node in nodes:
        real, integer = (
            (node.input[0], node.output[0])
            if node.op_type == "QuantizeLinear"
            else (node.output[0], node.input[0])
        )
        # The type of what QuantizeLinear of com.microsoft makes is known by its zero point only.
        stored[real] = known.get(integer) or known.get(node.input[2], "")
    return _Pairs(stored, known, frozenset(node.name for node in nodes))


def _precision(node: onnx.NodeProto, pairs: _Pairs, trace: Trace | None) -> tuple[str, str]:
    if node.op_type in (*CONVERSIONS, *MOVES_DATA):
        return "-", ""
    names = [name for name in (*node.input, *node.output) if name]
    reals = [name for name in names if pairs.dtypes.get(name, "float32").startswith("float")]
    if not reals:
        dtype = pairs.dtypes[names[0]]
        return dtype, f"it computes on {dtype}, which is not quantized"
    if node.doc_string == KEPT:
        return "float16", KEPT
    widths = {_NAMES[pairs.stored[name]] for name in reals if pairs.stored.get(name) in _NAMES}
    if not widths:
        return "float16", _NO_PAIRS
    if trace is not None and trace.computes_quantized(node.name, pairs.names) is False:
        return "float16", _ALONE.format(node.op_type)
    # Weights have 8 bits in both: the wider one is that of the activations.
    return max(widths, key=("int8", "int16").index), ""
