"""Keras files and SavedModels: describe, run, and convert to TFLite or ONNX with TensorFlow."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import keras_files
from .protocol import (
    Answer,
    Array,
    Refused,
    Request,
    Tensor,
    first_line,
    fixed_shape,
    require_known_inputs,
)
from .saved_models import signature_key

_ONNX_OPSET = 18
_INPUT = "edgesdk_input_{}"
_OUTPUT = "edgesdk_output_{}"


@dataclass(frozen=True)
class _Network:
    """A loaded model.

    Args:
        call: the flat inputs to the flat outputs.
        inputs: name, shape with None for what is open, dtype.
        owner: keeps the variables alive.
    """

    call: Callable[[Sequence[Any]], Sequence[Any]]
    inputs: tuple[tuple[str, tuple[int | None, ...] | None, Any], ...]
    outputs: tuple[str, ...]
    owner: Any


def run(request: Request) -> Answer:
    """Describe the model, or convert it and run it on the probes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # The order of sums must not depend on the machine.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    warnings.simplefilter("ignore")
    network = _load(request)
    function, edge = _fix(network, request)
    if request.action == "describe":
        return edge
    request.run(lambda values: _evaluate(function, values))
    if request.action == "tflite":
        return _to_tflite(function, request)
    return _to_onnx(function, request)


def _load(request: Request) -> _Network:
    if Path(request.source).is_dir():
        return _load_saved_model(request)
    return _load_keras(request)


def _load_keras(request: Request) -> _Network:
    found = keras_files.inspect(request.source, request.label)
    if found.legacy:
        # Read by TensorFlow when it is first imported.
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import tf_keras as keras
    else:
        import keras
    try:
        model = keras.models.load_model(request.source, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError, AttributeError, ImportError) as error:
        raise Refused(
            "model",
            f"Keras cannot load {request.label}: {first_line(error)}",
            "if it has layers of your own, export it as a SavedModel: model.export(folder)",
        ) from error
    return _keras_network(model, keras, request)


def _keras_network(model: Any, keras: Any, request: Request) -> _Network:
    import tensorflow as tf

    try:
        given, made = _structure(model, keras)
    except (AttributeError, ValueError) as error:
        raise Refused(
            "model",
            f"{request.label} does not say what its inputs are: {first_line(error)}",
            "give the model an Input layer, or export it as a SavedModel",
        ) from error
    inputs = tuple(
        (_plain(tensor.name), _shape(tensor.shape), tf.as_dtype(tensor.dtype))
        for tensor in tf.nest.flatten(given)
    )

    def call(values: Sequence[Any]) -> Sequence[Any]:
        flat = tf.nest.flatten(model(tf.nest.pack_sequence_as(given, values), training=False))
        return list(flat)

    return _Network(call, inputs, _output_names(made, tf.nest.flatten(made)), model)


def _structure(model: Any, keras: Any) -> tuple[Any, Any]:
    """The inputs and outputs in the lists or dictionaries that the model takes and gives."""
    if isinstance(model, keras.Sequential) and model.inputs:
        return model.inputs[0], model.outputs[0]
    return model.input, model.output


def _output_names(made: Any, tensors: Sequence[Any]) -> tuple[str, ...]:
    """A dictionary's keys; else the names of the layers that make them, told apart by a number."""
    if isinstance(made, Mapping) and len(made) == len(tensors):
        return tuple(sorted(made))
    layers = [_layer_name(tensor) for tensor in tensors]
    return tuple(
        name if layers.count(name) == 1 else f"{name}_{layers[:index].count(name)}"
        for index, name in enumerate(layers)
    )


def _layer_name(tensor: Any) -> str:
    history = tensor._keras_history
    # Keras 3 calls "operation" what Keras 2 called "layer".
    layer = history.operation if hasattr(history, "operation") else history.layer
    return str(layer.name)


def _plain(name: str) -> str:
    return name.partition(":")[0]


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    sizes = shape.as_list() if hasattr(shape, "as_list") else shape
    return tuple(None if size is None else int(size) for size in sizes)


def _load_saved_model(request: Request) -> _Network:
    key = signature_key(request)
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(request.source)
        signature = loaded.signatures[key]
    except (tf.errors.OpError, ValueError, OSError, KeyError, AttributeError) as error:
        raise Refused(
            "model",
            f"TensorFlow cannot load {request.label}: {first_line(error)}",
            "save it with TensorFlow 2 and with TensorFlow's own operators only",
        ) from error
    specs = signature.structured_input_signature[1]
    outputs = tuple(sorted(signature.structured_outputs))
    names = tuple(sorted(specs))

    def call(values: Sequence[Any]) -> Sequence[Any]:
        made = signature(**dict(zip(names, values, strict=True)))
        return [made[name] for name in outputs]

    inputs = tuple((name, _spec_shape(specs[name]), specs[name].dtype) for name in names)
    return _Network(call, inputs, outputs, loaded)


def _spec_shape(spec: Any) -> tuple[int | None, ...] | None:
    return None if spec.shape.rank is None else _shape(spec.shape)


def _fix(network: _Network, request: Request) -> tuple[Any, Answer]:
    """The network as one function of fixed shapes, and its edge."""
    import tensorflow as tf

    require_known_inputs(request, [name for name, _, _ in network.inputs])
    shapes = [fixed_shape(request, name, known) for name, known, _ in network.inputs]
    specs = [
        tf.TensorSpec(shape, dtype, name=_INPUT.format(index))
        for index, (shape, (_, _, dtype)) in enumerate(zip(shapes, network.inputs, strict=True))
    ]

    def flat(*values: Any) -> dict[str, Any]:
        return {_OUTPUT.format(index): each for index, each in enumerate(network.call(values))}

    try:
        function = tf.function(flat, input_signature=specs)
        made = function.get_concrete_function().structured_outputs
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise Refused(
            "model",
            f"{request.label} does not take inputs of {', '.join(str(list(s)) for s in shapes)}: "
            f"{first_line(error)}",
            "if you gave --input-shape, check that the network takes that shape",
        ) from error
    outputs = [made[_OUTPUT.format(index)] for index in range(len(network.outputs))]
    return function, Answer(
        inputs=tuple(
            Tensor(name, shape, dtype.name)
            for (name, _, dtype), shape in zip(network.inputs, shapes, strict=True)
        ),
        outputs=tuple(
            Tensor(name, _static(name, tensor, request), tensor.dtype.name)
            for name, tensor in zip(network.outputs, outputs, strict=True)
        ),
    )


def _static(name: str, tensor: Any, request: Request) -> tuple[int, ...]:
    if tensor.shape.rank is None or None in tensor.shape.as_list():
        raise Refused(
            "model",
            f"output {name!r} of {request.label} is {tensor.shape}: its shape depends on the data, "
            "expected a static one",
            "cut the post-processing (e.g. non-maximum suppression) off the exported model",
        )
    return tuple(tensor.shape.as_list())


def _evaluate(function: Any, values: Sequence[Array]) -> list[Array]:
    import tensorflow as tf

    made = function(*(tf.constant(value) for value in values))
    return [made[_OUTPUT.format(index)].numpy() for index in range(len(made))]


def _names(request: Request) -> Answer:
    return Answer(
        tuple(Tensor(_INPUT.format(i), t.shape, t.dtype) for i, t in enumerate(request.inputs)),
        tuple(Tensor(_OUTPUT.format(i), t.shape, t.dtype) for i, t in enumerate(request.outputs)),
    )


def _to_tflite(function: Any, request: Request) -> Answer:
    import tensorflow as tf

    concrete = function.get_concrete_function()
    # The converter finds the variables it is to freeze here; it does not find them in Keras 3's
    # models.
    holder = tf.Module()
    holder.kept = list(concrete.variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], holder)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        content = converter.convert()
    except Exception as error:
        raise _unsupported("TFLiteConverter", "TFLite", str(error), request) from error
    Path(request.output).write_bytes(content)
    return _names(request)


def _unsupported(tool: str, to: str, said: str, request: Request) -> Refused:
    operators = sorted(
        set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", said))
        | {
            name
            for names in re.findall(r"(?:TF Select|Custom) ops: ([\w, ]+)", said)
            for name in names.split(", ")
        }
        | set(re.findall(r"[Tt]ensorflow op \[[^:]*: (\w+)\] is not supported", said))
    )
    if operators:
        return Refused(
            "conversion",
            f"{tool} has no {to} form for {', '.join(operators)}, which {request.label} uses",
            "replace that operator, or cut that part of the network off",
        )
    reason = first_line(RuntimeError(said))
    return Refused("conversion", f"{tool} could not convert {request.label}: {reason}")


def _to_onnx(function: Any, request: Request) -> Answer:
    import tensorflow as tf
    import tf2onnx

    specs = [
        tf.TensorSpec(each.shape, each.dtype, name=_INPUT.format(index))
        for index, each in enumerate(request.inputs)
    ]
    try:
        proto, _ = tf2onnx.convert.from_function(function, specs, opset=_ONNX_OPSET)
    except Exception as error:
        raise _unsupported("tf2onnx", "ONNX", str(error), request) from error
    Path(request.output).write_bytes(proto.SerializeToString())
    inputs = {_plain(value.name): value.name for value in proto.graph.input}
    outputs = {_plain(value.name): value.name for value in proto.graph.output}
    named = _names(request)
    return Answer(
        tuple(Tensor(inputs[each.name], each.shape, each.dtype) for each in named.inputs),
        tuple(Tensor(outputs[each.name], each.shape, each.dtype) for each in named.outputs),
    )
