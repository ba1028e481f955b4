"""OpenVINO and NNCF without their telemetry and their talk, and their failures in one sentence."""

from __future__ import annotations

import edgesdk.convert.backends.openvino.telemetry as telemetry

# isort: split
import contextlib
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nncf
import openvino

from edgesdk.convert.backends.toolkits import failures_of

logging.setLoggerClass(telemetry.LOGGER_CLASS)
nncf.set_log_level(logging.CRITICAL)

_SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",
    # Those of the device's adapter. Where a CPU is fast at bfloat16, float operators would be
    # computed in it, and what is read here would not hold on another CPU.
    "INFERENCE_PRECISION_HINT": "f32",
    # How many share the sums of one value must not depend on the machine.
    "INFERENCE_NUM_THREADS": 1,
}
_PACKAGES = ("nncf", "openvino")
_PLACES = re.compile(
    r"Exception from \S+:\d+:|Check '.*' failed at \S+:\d+:|FrontEnd API failed with \w+:"
)


def read(path: Path) -> Any:
    """An OpenVINO model, from its own format or from ONNX, whatever the file's suffix."""
    with _log_kept(), their_failures():
        if path.suffix == ".xml":
            return openvino.Core().read_model(path)
        # Unlike `read_model`, this folds what is constant, without which NNCF finds no biases.
        return openvino.convert_model(path)


def compiled(model: Any) -> Any:
    """The model as this workstation's CPU executes it, one thread, float operators in float32."""
    with their_failures():
        return openvino.Core().compile_model(model, "CPU", _SETTINGS)


def save(model: Any, path: Path, compress_to_fp16: bool) -> None:
    """Write the model to `path` and its weights beside it.

    Raises:
        OSError: the disk is full.
    """
    with their_failures(path.parent):
        openvino.save_model(model, path, compress_to_fp16=compress_to_fp16)


@contextlib.contextmanager
def their_failures(writes: Path | None = None) -> Iterator[None]:
    """What OpenVINO and NNCF raise becomes `ConversionError`; their progress bars are kept back.

    Args:
        writes: the folder in which they write, if they do.
    """
    with (
        failures_of(_PACKAGES, "OpenVINO does not convert this model", words, writes),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        yield


@contextlib.contextmanager
def _log_kept() -> Iterator[None]:
    """Where its conversion fails, OpenVINO leaves the program's log at errors only."""
    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:] = filters
        root.handlers[:] = handlers


def words(error: Exception) -> str:
    """What an error says, on one line, without the places in their sources."""
    return " ".join(_PLACES.sub("", str(error)).split())
