"""uint8 inputs and outputs on an INT8 model, as TensorFlow's converter makes them.

A QUANTIZE at each port moves the zero point by 128: the same steps, counted from another end, so
that nothing is lost. The kernels behind it stay INT8.
"""

from __future__ import annotations

import copy
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgesdk.convert.backends.litert import flatbuffer as tflite

_SHIFT = 128
_TYPES = schema.TensorType


def make_ports_unsigned(model: Any) -> None:
    """Give every int8 input and output a uint8 port with its name; other ports stay as they are."""
    graph = model.subgraphs[0]
    model.operatorCodes.append(schema.OperatorCodeT(version=1))
    tflite.set_operator(model.operatorCodes[-1], schema.BuiltinOperator.QUANTIZE)
    inputs = {index: _port(graph, index) for index in graph.inputs if _is_int8(graph, index)}
    outputs = {index: _port(graph, index) for index in graph.outputs if _is_int8(graph, index)}
    first = [_quantize(model, port, index) for index, port in inputs.items()]
    last = [_quantize(model, index, port) for index, port in outputs.items()]
    graph.operators = [*first, *graph.operators, *last]
    graph.inputs = [inputs.get(index, index) for index in graph.inputs]
    graph.outputs = [outputs.get(index, index) for index in graph.outputs]
    for signature in model.signatureDefs or []:
        for item in signature.inputs:
            item.tensorIndex = inputs.get(item.tensorIndex, item.tensorIndex)
        for item in signature.outputs:
            item.tensorIndex = outputs.get(item.tensorIndex, item.tensorIndex)


def _is_int8(graph: Any, index: int) -> bool:
    return bool(graph.tensors[index].type == _TYPES.INT8) and bool(
        tflite.scales(graph.tensors[index])
    )


def _port(graph: Any, index: int) -> int:
    """Add the uint8 form of a tensor, with the same name: `name_tensors` leaves it to ports."""
    port = copy.deepcopy(graph.tensors[index])
    port.type = _TYPES.UINT8
    port.quantization.zeroPoint = [int(point) + _SHIFT for point in port.quantization.zeroPoint]
    graph.tensors.append(port)
    return len(graph.tensors) - 1


def _quantize(model: Any, source: int, target: int) -> Any:
    return schema.OperatorT(
        opcodeIndex=len(model.operatorCodes) - 1,
        inputs=[source],
        outputs=[target],
        builtinOptionsType=schema.BuiltinOptions.QuantizeOptions,
        builtinOptions=schema.QuantizeOptionsT(),
    )
