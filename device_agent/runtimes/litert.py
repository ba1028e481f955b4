"""LiteRT (TensorFlow Lite), from ai-edge-litert or the older tflite-runtime."""

from __future__ import annotations

import importlib
import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from device_agent.environment_messages import RuntimeVersion
from device_agent.manifest import Port
from device_agent.profile_messages import ModelPlacement, Profiled
from device_agent.runtimes.base import LoadedModel, NotProfiled, Runtime, RuntimeFailed
from device_agent.runtimes.litert_benchmark import profile_with_tool
from device_agent.runtimes.litert_placement import XNNPACK, places
from device_agent.runtimes.profiling import ProfileOrder
from device_agent.runtimes.tensors import dtype_name

# What the interpreter raises on a broken model, a wrong input and a failing operator.
FAILURES = (RuntimeError, ValueError, TypeError, OSError)


def prepare(module: str, version: RuntimeVersion) -> Runtime:
    """Import `module`, "ai_edge_litert" or "tflite_runtime".

    Raises:
        ImportError: it cannot be imported.
    """
    return LiteRT(version, importlib.import_module(module + ".interpreter"))


class LiteRT(Runtime):
    """The imported interpreter module."""

    def __init__(self, version: RuntimeVersion, interpreter: Any) -> None:
        super().__init__(version)
        self._module = interpreter

    def load(self, path: str, threads: int, kernel: str = "") -> LoadedModel:
        interpreter = self._interpreter(path, threads, kernel)
        return LiteRTModel(self.version, interpreter, _kernel_path(interpreter))

    def _interpreter(self, path: str, threads: int, kernel: str) -> Any:
        resolvers = self._module.OpResolverType
        kernels = {"": resolvers.AUTO, "builtin": resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
        if kernel not in kernels:
            raise RuntimeFailed(f"found kernel {kernel!r}, expected '' or 'builtin'")
        try:
            interpreter = self._module.Interpreter(
                model_path=path,
                num_threads=threads,
                experimental_op_resolver_type=kernels[kernel],
            )
            interpreter.allocate_tensors()
        except FAILURES as error:
            raise RuntimeFailed(f"LiteRT refuses the model: {error}") from error
        return interpreter

    def profile(self, order: ProfileOrder) -> Profiled:
        interpreter = self._interpreter(order.path, order.threads, "")
        model = LiteRTModel(self.version, interpreter, _kernel_path(interpreter))
        try:
            # Not for everyone: it needs ctypes, which not every Python has.
            from device_agent.runtimes.litert_library import profile_with_library

            folder = os.path.dirname(self._module.__file__)
            return profile_with_library(folder, order, model, places(interpreter))
        except (ImportError, NotProfiled) as reason:
            return profile_with_tool(order, model.kernel_path, str(reason))


class LiteRTModel(LoadedModel):
    """An interpreter with its tensors allocated."""

    def __init__(self, runtime: RuntimeVersion, interpreter: Any, kernel_path: str) -> None:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        super().__init__(
            runtime,
            kernel_path,
            tuple(_port(details) for details in inputs),
            tuple(_port(details) for details in outputs),
        )
        self._interpreter = interpreter
        self._input_indices = [details["index"] for details in inputs]
        self._output_indices = [details["index"] for details in outputs]

    def set_inputs(self, arrays: Sequence[np.ndarray]) -> None:
        try:
            for index, array in zip(self._input_indices, arrays):
                self._interpreter.set_tensor(index, array)
        except FAILURES as error:
            raise RuntimeFailed(f"LiteRT refuses an input: {error}") from error

    def invoke(self) -> None:
        try:
            self._interpreter.invoke()
        except FAILURES as error:
            raise RuntimeFailed(f"LiteRT failed: {error}") from error

    def get_outputs(self) -> List[np.ndarray]:
        try:
            return [self._interpreter.get_tensor(index) for index in self._output_indices]
        # An output that no operator computes.
        except FAILURES as error:
            raise RuntimeFailed(f"LiteRT has no outputs: {error}") from error

    def placement(self) -> ModelPlacement:
        return ModelPlacement(places(self._interpreter), "LiteRT's interpreter")


def _kernel_path(interpreter: Any) -> str:
    # XNNPACK is the only default delegate. It may take nothing: an old runtime leaves INT8 alone, a
    # sandbox without /sys switches it off.
    delegated = any(place.delegate == XNNPACK for place in places(interpreter))
    return "xnnpack" if delegated else "builtin"


def _port(details: Dict[str, Any]) -> Port:
    scale, zero_point = _per_tensor(details["quantization_parameters"])
    return Port(
        name=details["name"],
        shape=tuple(int(size) for size in details["shape"]),
        dtype=dtype_name(details["dtype"]),
        scale=scale,
        zero_point=zero_point,
    )


def _per_tensor(parameters: Dict[str, Any]) -> Tuple[Optional[float], Optional[int]]:
    scales, zero_points = parameters["scales"], parameters["zero_points"]
    if len(scales) != 1 or len(zero_points) != 1:
        return None, None
    return float(scales[0]), int(zero_points[0])
