"""Ways around what ai-edge-quantizer 0.10 does not know or does wrong; taken before, undone after.

What it does not know how to quantize although LiteRT has INT8 kernels for it goes in under the name
of an operator with the same rules. Outputs go in behind a copy of their own.
"""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer.default_policy import DEFAULT_CONFIG_CHECK_POLICY
from ai_edge_quantizer.utils.tfl_flatbuffer_utils import TFL_OP_CODE_TO_NAME

from edgesdk.convert.backends.litert import flatbuffer as tflite

_OPS = schema.BuiltinOperator

# Ranges of inputs and outputs are independent.
_LIKE_RELU = (
    *(_OPS.RELU6, _OPS.RELU_N1_TO_1, _OPS.RELU_0_TO_1, _OPS.LEAKY_RELU, _OPS.PRELU, _OPS.ELU),
    *(_OPS.ABS, _OPS.EXP, _OPS.LOG, _OPS.LOG_SOFTMAX),
    *(_OPS.GREATER, _OPS.GREATER_EQUAL, _OPS.LESS, _OPS.LESS_EQUAL),
)
# The output has the input's scale; only input 0 is quantized.
_LIKE_GATHER = (
    *(_OPS.SQUEEZE, _OPS.EXPAND_DIMS, _OPS.TILE, _OPS.REVERSE_V2, _OPS.DEPTH_TO_SPACE),
    *(_OPS.SPACE_TO_BATCH_ND, _OPS.BATCH_TO_SPACE_ND, _OPS.SPLIT_V),
    *(_OPS.REDUCE_MAX, _OPS.ARG_MAX, _OPS.ARG_MIN, _OPS.TOPK_V2),
)
_STAND_INS: dict[int, int] = {
    **dict.fromkeys(_LIKE_RELU, _OPS.RELU),
    **dict.fromkeys(_LIKE_GATHER, _OPS.GATHER),
    # The inputs have the output's scale.
    _OPS.MINIMUM: _OPS.MAXIMUM,
    # The output is fixed to scale 1/128, zero point 0.
    _OPS.L2_NORMALIZATION: _OPS.TANH,
}
"""Operator code to one that ai-edge-quantizer 0.10 treats as this one must be."""

_ASYMMETRIC_ONLY = frozenset({_OPS.LOG_SOFTMAX})
"""Their kernels fix an output zero point other than 0."""


def quantizer_name(code: int) -> Any:
    """What the quantizer calls an operator, or its stand-in; None when it will not know it."""
    return TFL_OP_CODE_TO_NAME.get(_STAND_INS.get(code, code))


def has_int8_form(code: int) -> bool:
    """An operator of this builtin code can be quantized."""
    name = quantizer_name(code)
    return name in DEFAULT_CONFIG_CHECK_POLICY and any(
        config.activation_tensor_config is not None
        and config.activation_tensor_config.num_bits == 8
        and config.weight_tensor_config.num_bits == 8
        for config in DEFAULT_CONFIG_CHECK_POLICY[name]
    )


def take_stand_ins(model: Any, symmetric: bool) -> list[int]:
    """Rename the operators that have a stand-in; returns all codes as they were.

    Args:
        symmetric: activations are to have zero point 0.
    """
    codes = [int(code.builtinCode) for code in model.operatorCodes]
    for code in model.operatorCodes:
        if not (symmetric and code.builtinCode in _ASYMMETRIC_ONLY):
            tflite.set_operator(code, _STAND_INS.get(code.builtinCode, code.builtinCode))
    return codes


def restore_operators(model: Any, codes: list[int]) -> None:
    """Undo `take_stand_ins`; the quantizer has appended codes of its own behind these."""
    for code, builtin in zip(model.operatorCodes, codes, strict=False):
        tflite.set_operator(code, builtin)


def separate_outputs(model: Any) -> tuple[int, list[str]]:
    """Put a copy between each output and its producer; returns the copies' code index and names.

    Where an output has readers in the graph as well, the quantizer rewires them with it, the last
    operator of the graph among them even where it must not. `join_outputs` undoes it.
    """
    graph = model.subgraphs[0]
    model.operatorCodes.append(schema.OperatorCodeT(version=1))
    tflite.set_operator(model.operatorCodes[-1], _OPS.RESHAPE)
    marker = len(model.operatorCodes) - 1
    for position, index in enumerate(graph.outputs):
        source = graph.tensors[index]
        name = b"%s_output_%d" % (source.name, position)
        graph.tensors.append(schema.TensorT(shape=source.shape, type=source.type, name=name))
        graph.outputs[position] = len(graph.tensors) - 1
        graph.operators.append(
            schema.OperatorT(opcodeIndex=marker, inputs=[index], outputs=[graph.outputs[position]])
        )
    return marker, [tflite.tensor_name(graph.tensors[index]) for index in graph.outputs]


def join_outputs(model: Any, marker: int) -> None:
    """Take the copies out again."""
    graph = model.subgraphs[0]
    copies = [operator for operator in graph.operators if operator.opcodeIndex == marker]
    source = {operator.outputs[0]: operator.inputs[0] for operator in copies}
    graph.operators = [operator for operator in graph.operators if operator.opcodeIndex != marker]
    for operator in graph.operators:
        operator.inputs = [source.get(index, index) for index in operator.inputs]
    graph.outputs = [source.get(index, index) for index in graph.outputs]


def restore_edge(model: Any, original: Any) -> None:
    """Give the outputs the float model's names, its signatures the tensors that are there now."""
    graph, before = model.subgraphs[0], original.subgraphs[0]
    for index, old_index in zip(graph.outputs, before.outputs, strict=True):
        _take_name(graph, graph.tensors[index], before.tensors[old_index].name)
    new_inputs = dict(zip(before.inputs, graph.inputs, strict=True))
    new_outputs = dict(zip(before.outputs, graph.outputs, strict=True))
    model.signatureDefs = original.signatureDefs
    for signature in model.signatureDefs or []:
        for item in signature.inputs:
            item.tensorIndex = new_inputs[item.tensorIndex]
        for item in signature.outputs:
            item.tensorIndex = new_outputs[item.tensorIndex]


def _take_name(graph: Any, tensor: Any, name: bytes) -> None:
    holder = next(other for other in graph.tensors if other.name == name)
    holder.name, tensor.name = tensor.name, name
