"""Float TFLite to INT8 TFLite with ai-edge-quantizer, and the account of the result.

No TensorFlow: the quantizer rewrites the file itself. What this module adds is that its result can
be trusted; `fixups`, `calibration` and `quantizing` beside it say how.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from device_agent import runtimes
from edgesdk.convert.backends.litert import flatbuffer as tflite
from edgesdk.convert.backends.litert.calibration import activation_ranges
from edgesdk.convert.backends.litert.comparing import compared
from edgesdk.convert.backends.litert.describing import operators, tensor_sizes
from edgesdk.convert.backends.litert.fixups import open_interpreter, prepared
from edgesdk.convert.backends.litert.quantizing import quantized
from edgesdk.convert.toolchains import Array, Description, Sample
from edgesdk.errors import ConversionError
from edgesdk.values.artifact import TensorError
from edgesdk.values.plan import ConversionPlan

_KERNELS = {"xnnpack": "", "builtin": "builtin"}
"""Kernel path to what the runtime adapter calls it: XNNPACK is LiteRT's default."""


def prepare(source: Path, plan: ConversionPlan, output: Path) -> None:
    """Write the float model as one file whose input shapes are the plan's.

    Raises:
        ConversionError: LiteRT does not run the model with these shapes.
    """
    try:
        content = prepared(source.read_bytes(), plan.inputs)
    except (ValueError, RuntimeError) as error:
        shapes = ", ".join(map(str, plan.inputs))
        raise ConversionError(
            f"LiteRT does not run {source.name} with {shapes}: {error}"
        ) from error
    output.write_bytes(content)


def convert(
    source: Path,
    plan: ConversionPlan,
    samples: Callable[[], Iterator[Sample]],
    output: Path,
    advance: Callable[[int], None],
) -> None:
    """Quantize; see `edgesdk.convert.toolchains.Backend`.

    Ranges by the plan's method over all samples; weights per channel where the scheme says so,
    those of BATCH_MATMUL per tensor always. Inputs and outputs keep their names.

    Raises:
        ConversionError: calibration met no samples or no numbers, the quantizer refused, or LiteRT
            does not run the result.
    """
    content = source.read_bytes()
    result = quantized(content, activation_ranges(content, plan, samples(), advance), plan)
    _require_runnable(result, plan)
    output.write_bytes(result)


def _require_runnable(content: bytes, plan: ConversionPlan) -> None:
    try:
        interpreter = open_interpreter(content, preserve_all=False)
        interpreter.allocate_tensors()
        for details in interpreter.get_input_details():
            interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise ConversionError(f"LiteRT does not run the converted model: {error}") from error
    ports = (*interpreter.get_input_details(), *interpreter.get_output_details())
    for spec, details in zip((*plan.inputs, *plan.outputs), ports, strict=True):
        found = np.dtype(details["dtype"]).name
        wanted = plan.io if spec.dtype == "float32" else spec.dtype
        if found != wanted:
            raise ConversionError(
                f"{details['name']!r} of the converted model is {found}, expected {wanted}"
            )


def describe(path: Path) -> Description:
    """Ports, real precisions and sizes, read from the file."""
    model = tflite.read_model(path.read_bytes())
    loaded = _loaded(path, "builtin")
    return Description(
        inputs=loaded.inputs,
        outputs=loaded.outputs,
        operators=operators(model),
        tensor_sizes=tensor_sizes(model),
        kernel_path=_loaded(path, "xnnpack").kernel_path,
    )


@functools.cache
def kernels() -> tuple[str, ...]:
    """XNNPACK where this machine has it (a sandbox may switch it off), and the built-in kernels."""
    with _stderr_to_nowhere():
        interpreter = Interpreter(
            model_content=_probe(), experimental_op_resolver_type=OpResolverType.AUTO
        )
        interpreter.allocate_tensors()
    delegated = any(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())
    return ("xnnpack", "builtin") if delegated else ("builtin",)


def _probe() -> bytes:
    """A model of one operator that XNNPACK takes: y = x + x."""
    tensors = [schema.TensorT(shape=[1, 8], name=name, buffer=0) for name in (b"x", b"y")]
    graph = schema.SubGraphT(
        tensors=tensors,
        inputs=[0],
        outputs=[1],
        operators=[
            schema.OperatorT(
                inputs=[0, 0],
                outputs=[1],
                builtinOptionsType=schema.BuiltinOptions.AddOptions,
                builtinOptions=schema.AddOptionsT(),
            )
        ],
    )
    model = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(version=1)],
        subgraphs=[graph],
        buffers=[schema.BufferT()],
    )
    return tflite.write_model(model)


def run(path: Path, kernel: str, inputs: Iterable[Sequence[Array]]) -> Iterator[Sequence[Array]]:
    """Outputs on this workstation, one thread.

    A model of which XNNPACK takes no operator computes with the built-in kernels under either name,
    here as on the device.

    Raises:
        ConversionError: the runtime refuses the model or an input.
    """
    model = _loaded(path, kernel)
    for arrays in inputs:
        try:
            outputs = model.run(arrays)
        except runtimes.RuntimeFailed as error:
            raise ConversionError(f"{path.name}: {error}") from error
        yield outputs


def _loaded(path: Path, kernel: str) -> Any:
    try:
        with _stderr_to_nowhere():
            return runtimes.load("litert", str(path), threads=1, kernel=_KERNELS[kernel])
    except runtimes.RuntimeFailed as error:
        raise ConversionError(f"{path.name}: {error}") from error


def compare(
    float_path: Path, int8_path: Path, samples: Sequence[Sample]
) -> tuple[TensorError, ...]:
    """Every activation both models share, by name or by place in the graph, worst first."""
    return compared(float_path.read_bytes(), int8_path.read_bytes(), samples)


@contextlib.contextmanager
def _stderr_to_nowhere() -> Iterator[None]:
    """LiteRT greets the terminal from C++ when it makes a delegate; its errors are exceptions."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
