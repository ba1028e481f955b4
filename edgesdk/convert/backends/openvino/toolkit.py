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

from edgesdk.errors import ConversionError, EdgeSDKError

logging.setLoggerClass(telemetry.LOGGER_CLASS)
nncf.set_log_level(logging.CRITICAL)

_SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",
    # Those of the device's adapter. Where a CPU is fast at bfloat16, float operators would be
    # computed in it, and what is read here would not hold on another CPU.
    "INFERENCE_PRECISION_HINT": "f32",
}
_PLACES = re.compile(
    r"Exception from \S+:\d+:|Check '.*' failed at \S+:\d+:|FrontEnd API failed with \w+:"
)


def read(path: Path) -> Any:
    """An OpenVINO model, from its own format or from ONNX, whatever the file's suffix."""
    if path.suffix == ".xml":
        return openvino.Core().read_model(path)
    # Unlike `read_model`, this folds what is constant, without which NNCF finds no biases.
    return openvino.convert_model(path)


def compiled(model: Any, threads: int = 0) -> Any:
    """The model as this workstation's CPU executes it, float operators in float32.

    Args:
        threads: 0 for as many as OpenVINO sees fit.
    """
    return openvino.Core().compile_model(
        model, "CPU", {**_SETTINGS, "INFERENCE_NUM_THREADS": threads}
    )


@contextlib.contextmanager
def their_failures() -> Iterator[None]:
    """What OpenVINO and NNCF raise becomes `ConversionError`; their progress bars are kept back."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except EdgeSDKError:
        raise
    except Exception as error:  # their exceptions share no base
        raise ConversionError(f"OpenVINO does not convert this model: {words(error)}") from error


def words(error: Exception) -> str:
    """What an error says, on one line, without the places in their sources."""
    return " ".join(_PLACES.sub("", str(error)).split())
