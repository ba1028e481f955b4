"""ONNX to float TFLite with onnx2tf's own writer, without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .protocol import Answer, Refused, Request, Tensor, first_line


def run(request: Request) -> Answer:
    """Convert; every input keeps its shape and layout.

    The file's inputs and outputs are the request's in order, under names of its own.
    """
    import onnx
    import onnx2tf

    graph = onnx.load(request.source, load_external_data=False).graph
    inputs, outputs = _named(request.inputs, graph.input), _named(request.outputs, graph.output)
    folder = Path(request.folder) / "onnx2tf"
    try:
        onnx2tf.convert(
            input_onnx_file_path=request.source,
            output_folder_path=str(folder),
            tflite_backend="flatbuffer_direct",
            keep_shape_absolutely_input_names=[each.name for each in inputs],
            non_verbose=True,
        )
    # It ends with SystemExit where it does not know an operator.
    except (Exception, SystemExit) as error:
        raise _unsupported(error, request) from error
    found = sorted(folder.glob("*_float32.tflite"))
    if len(found) != 1:
        raise Refused(
            "conversion", f"onnx2tf wrote {len(found)} float TFLite files for {request.label}"
        )
    found[0].replace(request.output)
    return Answer(inputs, outputs)


def _named(tensors: Sequence[Tensor], values: Sequence[Any]) -> tuple[Tensor, ...]:
    return tuple(
        replace(tensor, name=value.name) for tensor, value in zip(tensors, values, strict=True)
    )


def _unsupported(error: BaseException, request: Request) -> Refused:
    operators = sorted(set(re.findall(r"op(?:_type)?[=:] ?'?([A-Z]\w+)", str(error))))
    if operators:
        return Refused(
            "conversion",
            f"onnx2tf has no TFLite form for {', '.join(operators)}, which {request.label} uses",
            "replace that operator, or cut that part of the network off",
            [first_line(error)],
        )
    reason = first_line(error)
    return Refused("conversion", f"onnx2tf could not convert {request.label}: {reason}")
