"""ONNX and ONNX Runtime without their talk, and their failures in one sentence."""

from __future__ import annotations

import device_agent.runtimes.onnxruntime  # noqa: F401 - turns the telemetry of onnxruntime off

# isort: split
import logging
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgesdk.convert.backends.toolkits import failures_of

_WARNINGS, _FATAL_ONLY = 2, 4
"""Log severities of ONNX Runtime; the first is its default."""
_PACKAGES = ("onnx", "onnxruntime")
_SENTENCE = "ONNX Runtime does not quantize this model"


def failures(writes: Path | None = None) -> AbstractContextManager[None]:
    """What ONNX and ONNX Runtime raise becomes `ConversionError`, in any thread; see `failures_of`.

    Args:
        writes: the folder in which they write, if they do.
    """
    return failures_of(_PACKAGES, _SENTENCE, writes=writes)


@contextmanager
def their_failures(writes: Path | None = None) -> Iterator[None]:
    """As `failures`, and their own talk is kept back: in one thread at a time.

    What they advise has been done, and what goes wrong is in the error.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    onnxruntime.set_default_logger_severity(_FATAL_ONLY)
    try:
        with failures(writes):
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNINGS)
        logging.disable(before)


def preprocessed(source: Path) -> onnx.ModelProto:
    """The model of a file as ONNX Runtime's quantizer wants it: folded and with shapes."""
    with tempfile.TemporaryDirectory() as scratch:
        clean = Path(scratch) / "clean.onnx"
        with their_failures(Path(scratch)):
            quant_pre_process(source, clean, skip_symbolic_shape=True)
        return onnx.load(str(clean))


def inferred(model: onnx.ModelProto, values: bool = False) -> onnx.ModelProto:
    """A copy with the types and shapes that ONNX infers.

    Args:
        values: computes shapes that are computed in the model, too.
    """
    with failures():
        return onnx.shape_inference.infer_shapes(model, data_prop=values)


def at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """A copy at another operator set."""
    with failures():
        return onnx.version_converter.convert_version(model, opset)
