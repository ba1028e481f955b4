"""OpenVINO, its telemetry off. Import this module before openvino itself.

Reads OpenVINO's own format (model.xml with model.bin beside it), ONNX, and what else the installed
release has a front end for.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from device_agent.environment_messages import RuntimeVersion
from device_agent.manifest import Port
from device_agent.profile_messages import ModelPlacement, OperatorPlace, Profiled
from device_agent.runtimes.base import LoadedModel, NotProfiled, Runtime, RuntimeFailed
from device_agent.runtimes.profiling import ProfileOrder, profiled, timed_runs, times_of
from device_agent.runtimes.tensors import dtype_name

# Importing openvino is an event that its telemetry sends, where the user once agreed to that. With
# None here its import fails, and openvino takes the stub that it has for this.
if "openvino_telemetry" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

_FAILURES = (RuntimeError, ValueError, TypeError)
_SOURCE_PLACE = re.compile(r"Exception from \S+:\d+:")
_NOTHING = ("Input", "Parameter", "Output", "Result", "Const", "Constant")
"""Layers of the executed graph that compute nothing."""
_MICROSECOND_NS = 1_000
_DEVICES = {"": "CPU", "cpu": "CPU", "gpu": "GPU", "npu": "NPU"}


def prepare(module: str, version: RuntimeVersion) -> Runtime:
    """Import `module`, "openvino".

    Raises:
        ImportError: it cannot be imported.
    """
    return OpenVINO(version, importlib.import_module(module))


class OpenVINO(Runtime):
    """The imported openvino module."""

    def __init__(self, version: RuntimeVersion, module: Any) -> None:
        super().__init__(version)
        self._core = module.Core()

    def load(self, path: str, threads: int, kernel: str = "") -> LoadedModel:
        if kernel not in _DEVICES:
            raise RuntimeFailed(f"found kernel {kernel!r}, expected '', 'cpu', 'gpu' or 'npu'")
        return self._load(path, _DEVICES[kernel], threads, {})

    def profile(self, order: ProfileOrder) -> Profiled:
        model = self._load(order.path, _DEVICES[""], order.threads, {"PERF_COUNT": True})
        times: Dict[OperatorPlace, List[int]] = {}

        def read() -> None:
            for place, nanoseconds in model.times():
                times.setdefault(place, []).append(nanoseconds)

        samples = timed_runs(model, order, len(model.placement().operators), read)
        if not times:
            raise NotProfiled("OpenVINO's counters name no operator that was executed")
        counted = times_of(times.items(), len(samples))
        return profiled(counted, samples, "OpenVINO's performance counters", _MICROSECOND_NS)

    def _load(self, path: str, device: str, threads: int, more: Dict[str, Any]) -> OpenVINOModel:
        try:
            model = self._core.read_model(path)
            _close_open_shapes(model)
            settings = {**_settings(device, threads), **more}
            compiled = self._core.compile_model(model, device, settings)
            return OpenVINOModel(self.version, compiled)
        except _FAILURES as error:
            raise RuntimeFailed(
                f"OpenVINO refuses the model for {device}: {_words(error)}"
            ) from error


class OpenVINOModel(LoadedModel):
    """A compiled model and one request, which has a tensor for each input and output."""

    def __init__(self, runtime: RuntimeVersion, compiled: Any) -> None:
        super().__init__(
            runtime,
            _kernel_path(compiled),
            tuple(_port(port) for port in compiled.inputs),
            tuple(_port(port) for port in compiled.outputs),
        )
        self._compiled = compiled  # Must live as long as its request.
        self._request = compiled.create_infer_request()

    def set_inputs(self, arrays: Sequence[np.ndarray]) -> None:
        for index, (port, array) in enumerate(zip(self.inputs, arrays)):
            # A copy into the tensor would cast and broadcast.
            if (array.shape, array.dtype.name) != (port.shape, port.dtype):
                raise RuntimeFailed(
                    f"{port.name}: found {array.dtype.name} {array.shape}, "
                    f"expected {port.dtype} {port.shape}"
                )
            self._request.get_input_tensor(index).data[...] = array

    def invoke(self) -> None:
        try:
            # Shared, for `infer` would otherwise copy every output.
            self._request.infer(share_outputs=True)
        except _FAILURES as error:
            raise RuntimeFailed(f"OpenVINO failed: {_words(error)}") from error

    def get_outputs(self) -> List[np.ndarray]:
        return [
            np.array(self._request.get_output_tensor(index).data)
            for index in range(len(self.outputs))
        ]

    def placement(self) -> ModelPlacement:
        try:
            nodes = self._compiled.get_runtime_model().get_ordered_ops()
        except _FAILURES as error:
            # Plug-ins need not have it, and the NPU's has not.
            return ModelPlacement((), f"OpenVINO gives no executed graph: {_words(error)}")
        places = (_place(node, self.kernel_path) for node in nodes)
        return ModelPlacement(
            tuple(place for place in places if place.type not in _NOTHING),
            "OpenVINO's executed graph",
        )

    def times(self) -> List[Tuple[OperatorPlace, int]]:
        """What was executed in the last run, with its nanoseconds; names differ within a graph."""
        return [
            (
                OperatorPlace(each.node_type, each.node_name, self.kernel_path, each.exec_type),
                each.real_time.seconds * 1_000_000_000 + each.real_time.microseconds * 1_000,
            )
            for each in self._request.get_profiling_info()
            if each.status.name == "EXECUTED" and each.node_type not in _NOTHING
        ]


def _kernel_path(compiled: Any) -> str:
    # "GPU.0" is the first of several GPUs.
    devices = (name.partition(".")[0] for name in compiled.get_property("EXECUTION_DEVICES"))
    return "+".join(dict.fromkeys(devices)).lower()


def _place(node: Any, unit: str) -> OperatorPlace:
    facts = node.get_rt_info()
    kind, primitive = str(facts["layerType"].value), str(facts["primitiveType"].value)
    return OperatorPlace(kind, str(node.get_friendly_name()), unit, primitive)


def _words(error: Exception) -> str:
    """What it says, on one line, without the places in OpenVINO's sources."""
    return " ".join(_SOURCE_PLACE.sub("", str(error)).split())


def _settings(device: str, threads: int) -> Dict[str, Any]:
    settings: Dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if device == "CPU":
        settings["INFERENCE_NUM_THREADS"] = threads
        # By default float layers run in half precision or bfloat16 on the CPUs that are fast at it,
        # and the same model gives other numbers on the device than on the workstation.
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    return settings


def _close_open_shapes(model: Any) -> None:
    """An input's open dimensions are 1, as with every other runtime."""
    if any(port.get_partial_shape().is_dynamic for port in model.inputs):
        model.reshape(
            {
                port: [
                    size.get_length() if size.is_static else 1 for size in port.get_partial_shape()
                ]
                for port in model.inputs
            }
        )


def _port(port: Any) -> Port:
    if port.get_partial_shape().is_dynamic:
        raise RuntimeFailed(
            f"{port.get_any_name()} has shape {port.get_partial_shape()}, expected one that is "
            "known beforehand"
        )
    shape = tuple(int(size) for size in port.get_shape())
    return Port(port.get_any_name(), shape, dtype_name(port.get_element_type().to_dtype()))
