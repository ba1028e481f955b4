"""LiteRT with the Edge TPU's delegate, libedgetpu.

A compiled model holds one custom operator in place of what runs on the Edge TPU. It cannot be run
without the delegate, and here nothing pretends to: such a file either runs on an Edge TPU or fails.
A file without that operator (the float reference, an INT8 model not compiled yet) runs on LiteRT's
CPU kernels, and its kernel path says so.

The vendor's pycoral is not needed: its `make_interpreter` loads the same delegate into the same
tflite_runtime. What PyPI calls pycoral is another program altogether.
"""

from __future__ import annotations

import importlib
import importlib.util
import mmap
from typing import Any

from device_agent.environment_messages import RuntimeVersion
from device_agent.profile_messages import Profiled
from device_agent.runtimes.base import LoadedModel, NotProfiled, Runtime, RuntimeFailed
from device_agent.runtimes.litert import FAILURES, LiteRT, LiteRTModel
from device_agent.runtimes.litert_placement import EDGE_TPU_OPERATOR, places
from device_agent.runtimes.profiling import ProfileOrder

LIBRARY = "libedgetpu.so.1"

_COMPILED = EDGE_TPU_OPERATOR.encode()
_CURES = (
    "plug the Edge TPU in, let this user open it (group plugdev for USB, apex for PCIe), and "
    "install a libedgetpu that was built for this runtime (from tflite-runtime 2.12 on the two "
    "must match)"
)


def prepare(module: str, version: RuntimeVersion) -> Runtime:
    """Import `module`, "ai_edge_litert" or "tflite_runtime".

    Raises:
        ImportError: it cannot be imported.
    """
    return EdgeTpu(version, importlib.import_module(module + ".interpreter"))


class EdgeTpu(LiteRT):
    """The imported interpreter module; the delegate is loaded for the models that need it."""

    def load(self, path: str, threads: int, kernel: str = "") -> LoadedModel:
        if not _is_compiled(path):
            return super().load(path, threads, kernel)
        if kernel:
            raise RuntimeFailed(
                f"found kernel {kernel!r}, expected '' for a model compiled for the Edge TPU"
            )
        delegate = self._delegate()
        try:
            interpreter = self._module.Interpreter(
                model_path=path, num_threads=threads, experimental_delegates=[delegate]
            )
            interpreter.allocate_tensors()
        except FAILURES as error:
            raise RuntimeFailed(f"LiteRT with {LIBRARY} refuses the model: {error}") from error
        _require_delegated(interpreter)
        return LiteRTModel(self.version, interpreter, "edgetpu")

    def profile(self, order: ProfileOrder) -> Profiled:
        if not _is_compiled(order.path):
            return super().profile(order)
        raise NotProfiled("what the Edge TPU runs is one operator: nothing times its parts")

    def _delegate(self) -> Any:
        try:
            return self._module.load_delegate(LIBRARY)
        except FAILURES as error:
            said = str(error).strip() or "it does not say why"
            raise RuntimeFailed(f"{LIBRARY} cannot be used: {said}; {_CURES}") from error


def _is_compiled(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(_COMPILED) >= 0
    except (OSError, ValueError) as error:
        raise RuntimeFailed(f"LiteRT refuses the model: {path}: {error}") from error


def _require_delegated(interpreter: Any) -> None:
    left = [place for place in places(interpreter) if place.unit == "cpu"]
    if any(place.type == EDGE_TPU_OPERATOR for place in left):
        raise RuntimeFailed(f"{LIBRARY} left the operator for the Edge TPU to the CPU")
