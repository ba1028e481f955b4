"""Write the operator versions and the minimum runtime of a TFLite graph by the table."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgesdk.convert.backends.litert import flatbuffer as tflite
from edgesdk.convert.backends.litert.versions import Use, operator_version, runtime_version

_MIN_RUNTIME = "min_runtime_version"
_MIN_RUNTIME_BYTES = 16


def write_versions(model: Any) -> None:
    """Set every operator's version and the oldest runtime that runs them all.

    The quantizer leaves both at the float model's; LiteRT refuses what is too new for it, so a
    version that is too low hides that, and one too high keeps an old runtime out.
    """
    needed: dict[int, int] = {}
    for operator in model.subgraphs[0].operators:
        version = operator_version(_use(model, operator))
        if version is not None:
            needed[operator.opcodeIndex] = max(needed.get(operator.opcodeIndex, 1), version)
    for index, version in needed.items():
        model.operatorCodes[index].version = version
    tflite.set_metadata(model, _MIN_RUNTIME, _oldest_runtime(model))


def _oldest_runtime(model: Any) -> bytes:
    operators = model.subgraphs[0].operators
    oldest = max(
        (
            runtime_version(tflite.operator_type(model, operator), version) or (0,)
            for operator in operators
            for version in [model.operatorCodes[operator.opcodeIndex].version]
        ),
        default=(0,),
    )
    text = ".".join(map(str, oldest)).encode()
    return text.ljust(_MIN_RUNTIME_BYTES, b"\0")


def _use(model: Any, operator: Any) -> Use:
    graph = model.subgraphs[0]
    inputs = [graph.tensors[index] if index >= 0 else None for index in operator.inputs]
    outputs = [graph.tensors[index] for index in operator.outputs]
    shapes = [() if tensor is None else tflite.shape(tensor) for tensor in inputs]
    options = {} if operator.builtinOptions is None else vars(operator.builtinOptions)
    operator_type = tflite.operator_type(model, operator)
    return Use(
        type=operator_type,
        inputs=tuple("" if tensor is None else tflite.dtype(tensor) for tensor in inputs),
        outputs=tuple(tflite.dtype(tensor) for tensor in outputs),
        ranks=tuple(map(len, shapes)),
        options={name: value for name, value in options.items() if isinstance(value, (int, bool))},
        grouped=operator_type == "CONV_2D" and shapes[0][3] != shapes[1][3],
        weights_per_channel=any(
            len(tflite.scales(tensor)) > 1 for tensor in inputs[:2] if tensor is not None
        ),
        rescale=_rescale([*inputs[:2], *outputs[:1]]),
        broadcasts=len(shapes) > 1 and shapes[0] != shapes[1],
    )


def _rescale(tensors: list[Any]) -> float:
    """Product of the inputs' scales by the output's, in single precision as TensorFlow does."""
    found = [tflite.scales(tensor) for tensor in tensors if tensor is not None]
    if len(found) != 3 or not all(len(scales) == 1 for scales in found):
        return 0.0
    first, second, output = (np.float32(scales[0]) for scales in found)
    return float(first * second / output)
