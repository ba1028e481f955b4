"""Open a model file: find its format, read its inputs and outputs, refuse what cannot be used.

Only the light part is here; each format's reader is a module of its own in `formats/`, imported
when a file of that format is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from edgesdk.errors import ModelError, ToolchainMissing
from edgesdk.models.types import Model

InputShapes = Mapping[str, tuple[int, ...]]


class FormatReader(Protocol):
    """What a module in `formats/` provides."""

    def open_model(self, path: Path, input_shapes: InputShapes) -> Model:
        """Read the model's edge; `input_shapes` fixes dynamic inputs by name.

        Raises:
            ModelError: broken, already quantized, dynamic, or otherwise not usable.
        """


@dataclass(frozen=True, slots=True)
class _Format:
    module: str
    requirement: str


_FORMATS = {
    ".onnx": _Format("edgesdk.models.formats.onnx", "edgesdk[onnx]"),
    ".tflite": _Format("edgesdk.models.formats.tflite", "edgesdk[litert]"),
}


def open_model(path: Path | str, input_shapes: InputShapes | None = None) -> Model:
    """Open a float model file.

    Args:
        path: an `.onnx` or `.tflite` file.
        input_shapes: fixed shapes for inputs whose own shape is dynamic.

    Raises:
        ModelError: missing, broken, of an unknown format, dynamic, or already quantized.
        ToolchainMissing: the toolkit that reads this format is not installed.
    """
    path = Path(path)
    if not path.is_file():
        found = _what_is_at(path)
        raise ModelError(f"found {found} at {path}, expected a model file")
    if path.suffix not in _FORMATS:
        raise ModelError(
            f"{path.name} has the suffix {path.suffix or '(none)'!r}, "
            f"expected one of {', '.join(_FORMATS)}",
            hint="export the model to ONNX or TFLite first",
        )
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty, expected a {path.suffix} model")
    return _reader(_FORMATS[path.suffix]).open_model(path, input_shapes or {})


def _what_is_at(path: Path) -> str:
    if path.is_dir():
        return "a directory"
    return "something that is no regular file" if path.exists() else "nothing"


def _reader(model_format: _Format) -> FormatReader:
    try:
        return cast(FormatReader, importlib.import_module(model_format.module))
    except ModuleNotFoundError as error:
        raise ToolchainMissing(
            f"opening this model needs {error.name}, which is not installed",
            hint=f'install it with: pip install "{model_format.requirement}"',
        ) from error
