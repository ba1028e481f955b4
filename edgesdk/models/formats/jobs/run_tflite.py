"""Run a TFLite model on the probes."""

from __future__ import annotations

from .protocol import Answer, Array, Request


def run(request: Request) -> Answer:
    """What the model gives for each probe, by LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=request.source)
    inputs = {each["name"]: each["index"] for each in interpreter.get_input_details()}
    for each in request.inputs:
        interpreter.resize_tensor_input(inputs[each.name], each.shape)
    interpreter.allocate_tensors()
    outputs = [each["index"] for each in interpreter.get_output_details()]

    def network(values: tuple[Array, ...]) -> list[Array]:
        for each, value in zip(request.inputs, values, strict=True):
            interpreter.set_tensor(inputs[each.name], value)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    request.run(network)
    return Answer()
