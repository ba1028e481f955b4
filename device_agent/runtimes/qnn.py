"""ONNX Runtime with Qualcomm's QNN provider: context binaries on the Hexagon NPU (HTP).

The provider comes in two ways: as the plug-in `onnxruntime_qnn` beside onnxruntime, or built into
an older wheel, onnxruntime-qnn, that is onnxruntime itself.

A model whose graph holds an EPContext node was compiled for the NPU: it runs there or not at all.
Any other file (the float reference) runs on the CPU, unless the kernel "htp" is asked for, which
compiles it here and now. On x86-64 the plug-in emulates the NPU: same numbers, not its speed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import re
import sys
import tempfile
from typing import IO, Any, Dict, Iterator, List

from device_agent.environment_messages import RuntimeVersion
from device_agent.profile_messages import Profiled
from device_agent.runtimes import onnxruntime  # Turns the telemetry off, before the import.
from device_agent.runtimes.base import LoadedModel, NoRuntime, NotProfiled, Runtime, RuntimeFailed
from device_agent.runtimes.onnx_operators import operator_types
from device_agent.runtimes.profiling import ProfileOrder

PROVIDER = "QNNExecutionProvider"
PLUG_IN = "onnxruntime_qnn"

_COMPILED = "EPContext"
_OPTIONS = {
    # Full clock while it runs; the provider's default leaves it to the power governor.
    "htp_performance_mode": "burst",
    # By default the model's first and last quantization stay on the CPU, which is refused below.
    "offload_graph_io_quantization": "0",
}
_LOGGED_ERROR = re.compile(r"\[E:onnxruntime:[^\]]*\] ([^\x1b\n]*)")


def prepare(module: str, version: RuntimeVersion) -> Runtime:
    """Import `module`, "onnxruntime", and its QNN provider.

    Raises:
        ImportError: one of them cannot be imported.
        NoRuntime: it is imported, and has no such provider.
    """
    imported = importlib.import_module(module)
    if PROVIDER not in imported.get_available_providers():
        _plug_in(imported)
    return Qnn(version, imported)


class Qnn(onnxruntime.OnnxRuntime):
    """The imported onnxruntime module, which has the QNN provider."""

    def load(self, path: str, threads: int, kernel: str = "") -> LoadedModel:
        if kernel not in ("", "htp", "cpu"):
            raise RuntimeFailed(f"found kernel {kernel!r}, expected '', 'htp' or 'cpu'")
        if kernel == "cpu" or (not kernel and _COMPILED not in operator_types(path)):
            return super().load(path, threads)
        return self._on_htp(path, self._options(threads))

    def profile(self, order: ProfileOrder) -> Profiled:
        if _COMPILED not in operator_types(order.path):
            return super().profile(order)
        if platform.machine() not in ("aarch64", "arm64"):
            raise NotProfiled("the NPU is emulated here, which says nothing about its times")
        return self._profiled(order, self._on_htp)

    def _on_htp(self, path: str, options: Any) -> onnxruntime.OnnxModel:
        with _stderr_kept() as said:
            try:
                session = self._session(path, options)
            except self._failures as error:
                reason = _first_error(said) or str(error)
                raise RuntimeFailed(
                    f"ONNX Runtime with the QNN provider refuses the model: {reason}"
                ) from error
        providers = session.get_providers()
        if PROVIDER not in providers:
            raise RuntimeFailed(f"found a session of {providers}, expected {PROVIDER}")
        return onnxruntime.OnnxModel(self.version, session, "htp", self._failures, path)

    def _session(self, path: str, options: Any) -> Any:
        # Otherwise a provider that fails to start means the CPU, and only the log says so.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        chosen: Dict[str, Any] = {}
        devices = _devices(self._module)
        if devices:
            options.add_provider_for_devices(devices[:1], {"backend_type": "htp", **_OPTIONS})
        else:
            chosen["providers"] = [(PROVIDER, {"backend_path": "libQnnHtp.so", **_OPTIONS})]
        # The Python side has a fallback to the CPU of its own.
        return self._module.InferenceSession(
            path, sess_options=options, enable_fallback=0, **chosen
        )


def _plug_in(module: Any) -> None:
    library = importlib.import_module(PLUG_IN).get_library_path()
    failures = onnxruntime.failures(module)
    try:
        module.register_execution_provider_library(PROVIDER, library)
    except AttributeError as error:
        raise NoRuntime(
            f"found onnxruntime {module.__version__}, which takes no plug-ins: update it"
        ) from error
    except failures as error:
        raise NoRuntime(f"{PLUG_IN} cannot be plugged into onnxruntime: {error}") from error
    if not _devices(module):
        raise NoRuntime(f"{PLUG_IN} is plugged into onnxruntime and offers no device")


def _devices(module: Any) -> List[Any]:
    """The plug-in's devices; none where the provider is built in."""
    list_devices = getattr(module, "get_ep_devices", None)
    if list_devices is None:
        return []
    return [device for device in list_devices() if device.ep_name == PROVIDER]


@contextlib.contextmanager
def _stderr_kept() -> Iterator[IO[bytes]]:
    """Keeps a copy of what native code writes to stderr.

    The provider says there why it refuses; the exception only says that it did.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield kept
        finally:
            os.dup2(original, 2)
            os.close(original)
            kept.seek(0)
            os.write(2, kept.read())


def _first_error(kept: IO[bytes]) -> str:
    kept.seek(0)
    match = _LOGGED_ERROR.search(kept.read().decode("utf-8", "replace"))
    return match.group(1).strip() if match else ""
