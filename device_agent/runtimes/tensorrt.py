"""TensorRT: the engine is built on the device, from the ONNX file, and kept beside the store.

INT8 is what the file's Q/DQ nodes say, a file without them is a float model; there is no implicit
calibration. Neither DLA nor CUDA graphs are used. `invoke` covers the computation alone: inputs are
copied to the device before it and outputs from it after, also where CPU and GPU share one memory.

It follows NVIDIA's documentation and sources and has been run against a fake of them only: no
Jetson, and no other NVIDIA GPU, was at hand. Without the Python module nothing can be run, though
trtexec may be there: it times engines in a way of its own.
"""

from __future__ import annotations

import importlib
import json
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from device_agent.environment_messages import RuntimeVersion
from device_agent.manifest import Port, is_at_least
from device_agent.profile_messages import ModelPlacement, OperatorPlace, Profiled
from device_agent.runtimes.base import (
    LoadedModel,
    NoRuntime,
    NotProfiled,
    Runtime,
    RuntimeFailed,
    Tell,
)
from device_agent.runtimes.cuda import CudaFailed, Device
from device_agent.runtimes.engine_builder import (
    FAILURES,
    OLDEST,
    BuildOrder,
    build_in_child,
    builder_options,
    first_words,
    recording_logger,
)
from device_agent.runtimes.engines import (
    EngineKey,
    find_engine,
    keep_engine,
    read_engine,
    room_for_building,
    sha256_of,
)
from device_agent.runtimes.onnx_operators import operator_types
from device_agent.runtimes.profiling import ProfileOrder, profiled, timed_runs, times_of

# By name: members come and go between releases, and `tensorrt.nptype` fails with newer numpy.
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


def prepare(module: str, version: RuntimeVersion) -> Runtime:
    """Import `module`, "tensorrt", and find the GPU.

    Raises:
        ImportError: it cannot be imported.
        NoRuntime: it is too old, or there is no GPU to use.
    """
    imported = importlib.import_module(module)
    release = str(imported.__version__)
    if not is_at_least(release, OLDEST):
        raise NoRuntime(f"found TensorRT {release}, expected {OLDEST} (JetPack 5.1) or newer")
    try:
        return TensorRT(version, imported, Device())
    except CudaFailed as error:
        raise NoRuntime(f"found TensorRT {release} and no GPU to use: {error}") from error


class TensorRT(Runtime):
    """The imported tensorrt module and the GPU."""

    def __init__(self, version: RuntimeVersion, module: Any, device: Device) -> None:
        super().__init__(version)
        self._module = module
        self._device = device

    def build(self, path: str, folder: str, tell: Tell) -> str:
        if not folder:
            raise RuntimeFailed("TensorRT builds an engine first, and has no folder to keep it in")
        key = self._key(path)
        kept = find_engine(folder, key)
        if kept:
            return kept
        output = room_for_building(folder, key)
        build_in_child(BuildOrder(path, output, key), tell)
        return keep_engine(output, folder, key)

    def load(self, path: str, threads: int, kernel: str = "") -> LoadedModel:
        return self._load(path, kernel)

    def profile(self, order: ProfileOrder) -> Profiled:
        model = self._load(order.path, "")
        times = model.profile_layers()
        samples = timed_runs(model, order, len(model.placement().operators))
        if not times:
            raise NotProfiled("TensorRT's profiler reported no layer")
        series = [(OperatorPlace("", name, "gpu"), each) for name, each in times.items()]
        # Reported in milliseconds, as 32-bit floats of CUDA events, which are that fine.
        return profiled(times_of(series, len(samples)), samples, "TensorRT's profiler", 500)

    def _load(self, path: str, kernel: str) -> EngineModel:
        if kernel:
            raise RuntimeFailed(f"found kernel {kernel!r}, expected '' for TensorRT")
        content = read_engine(path)
        if content is None:
            raise RuntimeFailed(f"{path} is not an engine that was built here, or is damaged")
        logger = recording_logger(self._module)
        try:
            runtime = self._module.Runtime(logger)
            engine = runtime.deserialize_cuda_engine(content)
            if engine is None:
                raise RuntimeFailed(f"TensorRT refuses its engine: {first_words(logger.errors)}")
            return EngineModel(self.version, self._device, engine, self._module, runtime, logger)
        except (CudaFailed, *FAILURES) as error:
            said = first_words([*logger.errors, str(error)])
            raise RuntimeFailed(f"TensorRT cannot load the engine: {said}") from error

    def _key(self, path: str) -> EngineKey:
        release = str(self._module.__version__)
        try:
            architecture, name = self._device.compute_capability, self._device.name
        except CudaFailed as error:
            raise RuntimeFailed(f"the GPU does not say what it is: {error}") from error
        return EngineKey(
            tensorrt=release,
            architecture=architecture,
            device=name,
            model_sha256=sha256_of(path),
            options=builder_options(release, operator_types(path)),
        )


class EngineModel(LoadedModel):
    """An engine with memory on the device for each of its inputs and outputs.

    Args:
        module: the imported tensorrt.
        runtime: that made the engine; like the logger, it must live as long.
    """

    def __init__(
        self,
        version: RuntimeVersion,
        device: Device,
        engine: Any,
        module: Any,
        runtime: Any,
        logger: Any,
    ) -> None:
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        modes = [engine.get_tensor_mode(name).name for name in names]
        ports = [_port(engine, name) for name in names]
        super().__init__(
            version, "gpu", _of_mode("INPUT", modes, ports), _of_mode("OUTPUT", modes, ports)
        )
        self._device = device
        self._engine = engine
        self._module = module
        self._keep_alive: Tuple[Any, ...] = (runtime,)
        self._logger = logger
        self._context = engine.create_execution_context()
        if self._context is None:
            raise RuntimeFailed(f"TensorRT cannot run the engine: {first_words(logger.errors)}")
        self._stream = device.make_stream()
        self._addresses = {port.name: self._place(port) for port in ports}

    def set_inputs(self, arrays: Sequence[np.ndarray]) -> None:
        for port, array in zip(self.inputs, arrays):
            if (array.shape, array.dtype.name) != (port.shape, port.dtype):
                raise RuntimeFailed(
                    f"{port.name}: found {array.dtype.name} {array.shape}, "
                    f"expected {port.dtype} {port.shape}"
                )
            flat = np.ascontiguousarray(array)
            try:
                self._device.copy_in(self._addresses[port.name], flat.ctypes.data, flat.nbytes)
            except CudaFailed as error:
                raise RuntimeFailed(f"the GPU refuses an input: {error}") from error

    def invoke(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise RuntimeFailed(f"TensorRT failed: {first_words(self._logger.errors)}")
        try:
            self._device.wait_for(self._stream)
        except CudaFailed as error:
            raise RuntimeFailed(f"TensorRT failed on the GPU: {error}") from error

    def get_outputs(self) -> List[np.ndarray]:
        outputs = [np.empty(port.shape, port.dtype) for port in self.outputs]
        for port, array in zip(self.outputs, outputs):
            try:
                self._device.copy_out(array.ctypes.data, self._addresses[port.name], array.nbytes)
            except CudaFailed as error:
                raise RuntimeFailed(f"the GPU does not give an output: {error}") from error
        return outputs

    def placement(self) -> ModelPlacement:
        inspector = self._engine.create_engine_inspector()
        form = self._module.LayerInformationFormat.JSON
        try:
            layers = json.loads(inspector.get_engine_information(form))["Layers"]
        except (ValueError, KeyError, TypeError) as error:
            return ModelPlacement((), f"TensorRT's inspector cannot be understood: {error}")
        return ModelPlacement(tuple(_layer(each) for each in layers), "TensorRT's engine inspector")

    def profile_layers(self) -> Dict[str, List[int]]:
        """Have every run from now on timed, layer by layer; nanoseconds, filled in as they run."""
        times: Dict[str, List[int]] = {}

        class Recorder(self._module.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self, profiler: Any) -> None:
                profiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times.setdefault(layer_name, []).append(round(ms * 1e6))

        recorder = Recorder(self._module.IProfiler)
        self._keep_alive += (recorder,)
        self._context.profiler = recorder
        return times

    def _place(self, port: Port) -> int:
        address = self._device.allocate(np.empty(port.shape, port.dtype).nbytes)
        if not self._context.set_tensor_address(port.name, address):
            raise RuntimeFailed(f"TensorRT refuses the memory for {port.name}")
        return address


def _layer(layer: Any) -> OperatorPlace:
    # A name alone, unless the engine was built to say more.
    if isinstance(layer, str):
        return OperatorPlace("", layer, "gpu")
    return OperatorPlace(str(layer.get("LayerType", "")), str(layer["Name"]), "gpu")


def _of_mode(mode: str, modes: Sequence[str], ports: Sequence[Port]) -> Tuple[Port, ...]:
    return tuple(port for port, found in zip(ports, modes) if found == mode)


def _port(engine: Any, name: str) -> Port:
    shape = tuple(int(size) for size in engine.get_tensor_shape(name))
    dtype = engine.get_tensor_dtype(name).name
    if dtype not in _DTYPES:
        raise RuntimeFailed(f"{name} holds {dtype} values, expected one of {sorted(_DTYPES)}")
    if any(size < 0 for size in shape):
        raise RuntimeFailed(f"{name} has shape {shape}, expected one that is known beforehand")
    return Port(name, shape, _DTYPES[dtype])
