"""ONNX Runtime on the CPU, its telemetry off. Import this module before onnxruntime itself."""

from __future__ import annotations

import importlib
import os
import tempfile
from typing import Any, Callable, List, Sequence, Tuple

import numpy as np

from device_agent.environment_messages import RuntimeVersion
from device_agent.manifest import Port
from device_agent.profile_messages import ModelPlacement, OperatorPlace, Profiled
from device_agent.runtimes.base import LoadedModel, NotProfiled, Runtime, RuntimeFailed
from device_agent.runtimes.onnx_operators import operators
from device_agent.runtimes.onnx_profile import read_profile, unit_of
from device_agent.runtimes.profiling import ProfileOrder, profiled, timed_runs, times_of

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(uint32)": "uint32",
    "tensor(int64)": "int64",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}
_ERRORS_ONLY = 3
_MICROSECOND_NS = 1_000
_RECORD_PLACES = "session.record_ep_graph_assignment_info"
"""Asks for `get_provider_graph_assignment_info`; releases that do not know it pass over it."""

# Read while onnxruntime is imported, once for the life of the process. Without it, that import
# alone leaves a device id and a queue of events for its maker in ~/.cache/Microsoft.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def prepare(module: str, version: RuntimeVersion) -> Runtime:
    """Import `module`, "onnxruntime".

    Raises:
        ImportError: it cannot be imported.
    """
    return OnnxRuntime(version, importlib.import_module(module))


class OnnxRuntime(Runtime):
    """The imported onnxruntime module."""

    def __init__(self, version: RuntimeVersion, module: Any) -> None:
        super().__init__(version)
        self._module = module
        self._failures = failures(module)

    def load(self, path: str, threads: int, kernel: str = "") -> LoadedModel:
        if kernel:
            raise RuntimeFailed(f"found kernel {kernel!r}, expected '' for ONNX Runtime")
        return self._on_cpu(path, self._options(threads))

    def profile(self, order: ProfileOrder) -> Profiled:
        return self._profiled(order, self._on_cpu)

    def _profiled(self, order: ProfileOrder, load: Callable[[str, Any], OnnxModel]) -> Profiled:
        with tempfile.TemporaryDirectory(prefix="edgesdk-profile-") as folder:
            options = self._options(order.threads)
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(folder, "run")
            model = load(order.path, options)
            samples = timed_runs(model, order, len(operators(order.path)))
            series = read_profile(model.end_profiling())
        if not series:
            raise NotProfiled("ONNX Runtime's profile names no operator")
        times = times_of(series, len(samples))
        return profiled(times, samples, "ONNX Runtime's profile", _MICROSECOND_NS)

    def _on_cpu(self, path: str, options: Any) -> OnnxModel:
        try:
            session = self._module.InferenceSession(
                path, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except self._failures as error:
            raise RuntimeFailed(f"ONNX Runtime refuses the model: {error}") from error
        return OnnxModel(self.version, session, "cpu", self._failures, path)

    def _options(self, threads: int) -> Any:
        options = self._module.SessionOptions()
        options.add_session_config_entry(_RECORD_PLACES, "1")
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Without VNNI, x86 kernels add products of int8 in 16 bits and saturate: wrong results.
        options.add_session_config_entry("session.x64quantprecision", "1")
        # Threads that spin after a run would steal time from the model whose turn is next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return options


class OnnxModel(LoadedModel):
    """A session with its inputs and outputs bound to memory of its own."""

    def __init__(
        self,
        runtime: RuntimeVersion,
        session: Any,
        kernel_path: str,
        failures: Tuple[type[Exception], ...],
        path: str,
    ) -> None:
        super().__init__(
            runtime,
            kernel_path,
            tuple(_port(node) for node in session.get_inputs()),
            tuple(_port(node) for node in session.get_outputs()),
        )
        self._session = session
        self._failures = failures
        self._path = path
        self._feed: List[np.ndarray] = []
        self._binding = session.io_binding()
        for port in self.outputs:
            self._binding.bind_output(port.name, "cpu")

    def set_inputs(self, arrays: Sequence[np.ndarray]) -> None:
        # The binding borrows the arrays' memory, so this object keeps copies alive.
        self._feed = [np.array(array, order="C") for array in arrays]
        try:
            for port, array in zip(self.inputs, self._feed):
                self._binding.bind_cpu_input(port.name, array)
        except self._failures as error:
            raise RuntimeFailed(f"ONNX Runtime refuses an input: {error}") from error

    def invoke(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except self._failures as error:
            raise RuntimeFailed(f"ONNX Runtime failed: {error}") from error

    def get_outputs(self) -> List[np.ndarray]:
        return [np.array(output) for output in self._binding.copy_outputs_to_cpu()]

    def placement(self) -> ModelPlacement:
        # Since ONNX Runtime 1.24. Before it, one provider for all is still beyond doubt.
        assigned = getattr(self._session, "get_provider_graph_assignment_info", None)
        if assigned is not None:
            places = [
                OperatorPlace(node.op_type, node.name, unit_of(part.ep_name), part.ep_name)
                for part in assigned()
                for node in part.get_nodes()
            ]
            return ModelPlacement(tuple(places), "ONNX Runtime's assignment to providers")
        return self._all_on_one()

    def _all_on_one(self) -> ModelPlacement:
        # The CPU's provider stands last in every session, also where it is kept from computing.
        if self.kernel_path == "cpu" and len(self._session.get_providers()) > 1:
            return ModelPlacement((), "this ONNX Runtime does not tell which provider took what")
        provider = self._session.get_providers()[0]
        places = [
            OperatorPlace(kind, name, unit_of(provider), provider)
            for kind, name in operators(self._path)
        ]
        return ModelPlacement(tuple(places), "the session's only provider")

    def end_profiling(self) -> str:
        """Path of the profile of a session that was made to write one."""
        return str(self._session.end_profiling())


def failures(module: Any) -> Tuple[type[Exception], ...]:
    """What the imported onnxruntime raises."""
    # Its exceptions share no base but Exception.
    native = importlib.import_module(module.__name__ + ".capi.onnxruntime_pybind11_state")
    own = (value for value in vars(native).values() if isinstance(value, type))
    return (
        RuntimeError,
        ValueError,
        TypeError,
        *(value for value in own if issubclass(value, Exception)),
    )


def _port(node: Any) -> Port:
    if node.type not in _DTYPES:
        raise RuntimeFailed(f"{node.name} is a {node.type}, expected a tensor of numbers")
    shape = tuple(size if isinstance(size, int) else 1 for size in node.shape)
    return Port(node.name, shape, _DTYPES[node.type])
