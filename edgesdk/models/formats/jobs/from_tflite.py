"""TFLite to ONNX with tf2onnx."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

from .protocol import Answer, Refused, Request, first_line

_ONNX_OPSET = 18


def run(request: Request) -> Answer:
    """Convert; names and layout stay."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    warnings.simplefilter("ignore")
    import tf2onnx

    try:
        proto, _ = tf2onnx.convert.from_tflite(request.source, opset=_ONNX_OPSET)
    except Exception as error:
        raise _unsupported(error, request) from error
    Path(request.output).write_bytes(proto.SerializeToString())
    return Answer(request.inputs, request.outputs)


def _unsupported(error: BaseException, request: Request) -> Refused:
    operators = sorted(
        set(re.findall(r"op \[[^:]*: (?:TFL_)?(\w+)\] is not supported", str(error)))
    )
    if operators:
        return Refused(
            "conversion",
            f"tf2onnx has no ONNX form for {', '.join(operators)}, which {request.label} uses",
            "replace that operator, or cut that part of the network off",
        )
    reason = first_line(error)
    return Refused("conversion", f"tf2onnx could not convert {request.label}: {reason}")
