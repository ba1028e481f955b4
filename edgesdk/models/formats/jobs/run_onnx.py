"""Run an ONNX model on the probes."""

from __future__ import annotations

import os

from .protocol import Answer, Array, Refused, Request, first_line


def run(request: Request) -> Answer:
    """What the model gives for each probe, by ONNX Runtime's CPU kernels."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(request.source, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Refused(
            "model", f"ONNX Runtime cannot load {request.label}: {first_line(error)}"
        ) from error
    outputs = [each.name for each in request.outputs]

    def network(values: tuple[Array, ...]) -> list[Array]:
        names = [each.name for each in request.inputs]
        return list(session.run(outputs, dict(zip(names, values, strict=True))))

    request.run(network)
    return Answer()
