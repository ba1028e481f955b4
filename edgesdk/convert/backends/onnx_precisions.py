"""Which operators of an ONNX model stay in float, and which activations have a width of their own.

The recipe speaks of operators; ONNX Runtime's quantizer of nodes to exclude and of tensors. An
operator's precision is that of its results, behind the Relu or Clip that is computed with it; what
its neighbours need follows from it in `onnx_qdq`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import onnx

from edgesdk.convert.backends.onnx_qdq import ActivationType, Style
from edgesdk.convert.keeping import overridden
from edgesdk.errors import ConversionError
from edgesdk.values.plan import ConversionPlan

_BITS = {"w8a8": 8, "w8a16": 16}
_OF_BITS: dict[tuple[bool, int], ActivationType] = {
    (True, 8): "int8",
    (True, 16): "int16",
    (False, 8): "uint8",
    (False, 16): "uint16",
}


@dataclass(frozen=True, slots=True)
class Assignment:
    """What `edgesdk.convert.backends.onnx_qdq.quantize` is told.

    Args:
        style: the backend's with the plan's scheme and overrides.
        kept: names of the operators that stay in float, in the graph's order.
    """

    style: Style
    kept: tuple[str, ...]


def assigned(
    model: onnx.ModelProto, plan: ConversionPlan, style: Style, activations: Collection[str]
) -> Assignment:
    """The plan's scheme and overrides, for one model.

    Args:
        style: of the backend; its activations stay signed or unsigned as they are.
        activations: names of all float activations.

    Raises:
        ModelError: a pattern or an override of the plan matches no operator.
        ConversionError: an override asks for what QDQ pairs do not give.
    """
    operators = [(node.name, node.op_type) for node in model.graph.node]
    chosen = overridden(operators, plan.keep_float, plan.overrides)
    _require_supported(set(chosen.values()))
    chosen = _with_activations(model, chosen)
    signed = style.activation_type.startswith("int")
    types = {
        output: _OF_BITS[signed, _BITS[precision]]
        for node in model.graph.node
        if (precision := chosen.get(node.name, "float32")) != "float32"
        for output in node.output
        if output in activations
    }
    default = _OF_BITS[signed, 16 if plan.scheme.activations.bits == 16 else 8]
    return Assignment(
        replace(
            style,
            activation_type=default,
            activation_symmetric=plan.scheme.activations.symmetric,
            weight_symmetric=plan.scheme.weights.symmetric,
            per_channel=plan.scheme.weights.granularity == "per-channel",
            overrides={name: kind for name, kind in types.items() if kind != default},
        ),
        tuple(name for name, _ in operators if chosen.get(name) == "float32"),
    )


def _with_activations(model: onnx.ModelProto, chosen: Mapping[str, str]) -> dict[str, str]:
    """The same with every Relu and Clip that alone reads what an operator of some width makes.

    There are no pairs between the two: those behind the Relu or Clip hold the operator's result.
    """
    outputs = {value.name for value in model.graph.output}
    reads = Counter(name for node in model.graph.node for name in node.input)
    makers = {name: node.name for node in model.graph.node for name in node.output}
    found = dict(chosen)
    for node in model.graph.node:
        if node.op_type not in ("Relu", "Clip") or node.name in found:
            continue
        read = node.input[0]
        width = found.get(makers.get(read, ""), "float32")
        if width != "float32" and reads[read] == 1 and read not in outputs:
            found[node.name] = width
    return found


def _require_supported(precisions: Collection[str]) -> None:
    for precision in precisions:
        if precision not in ("float32", *_BITS):
            raise ConversionError(
                f"found an override to {precision}, expected float32, {' or '.join(_BITS)}, "
                "which is what QDQ models have"
            )
