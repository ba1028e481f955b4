"""Open a model: find its format, read its inputs and outputs, refuse what cannot be used.

Only the light part is here; each format's reader is a module of its own in `formats/`, imported
when a file of that format is opened. What only its own framework reads is opened by `describing`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from edgesdk.errors import ModelError, ToolchainMissing
from edgesdk.models.describing import is_factory, open_described, open_factory
from edgesdk.models.types import Format, Model

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
_DESCRIBED: Mapping[str, Format] = {
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".pt2": "torch",
}
_KNOWN: Mapping[str, Format] = {".onnx": "onnx", ".tflite": "tflite", **_DESCRIBED}
_SAVED_MODEL = "saved_model.pb"
_PICKLES = (".pt", ".pth", ".pkl", ".ckpt")


def open_model(path: Path | str, input_shapes: InputShapes | None = None) -> Model:
    """Open a float model.

    Args:
        path: an `.onnx`, `.tflite`, `.keras`, `.h5` or `.pt2` file, the folder of a SavedModel, or
            "module:function" or "file.py:function", which returns a PyTorch module and its example
            inputs.
        input_shapes: fixed shapes for inputs whose own shape is dynamic.

    Raises:
        ModelError: missing, broken, of an unknown format, dynamic, or already quantized.
        ToolchainMissing: the toolkit that reads this format is not installed.
        ConversionError: the framework that reads it crashed or hung.
    """
    path = Path(path)
    shapes = input_shapes or {}
    model_format = format_of(path)
    if is_factory(path):
        return open_factory(str(path), shapes)
    if path.is_file() and path.stat().st_size == 0:
        raise ModelError(f"{path} is empty, expected a {path.suffix} model")
    if path.suffix in _FORMATS:
        return _reader(_FORMATS[path.suffix]).open_model(path, shapes)
    return open_described(path, model_format, shapes)


def format_of(path: Path | str) -> Format:
    """The format of a model, by its name; nothing is opened.

    Raises:
        ModelError: missing, or of an unknown format.
    """
    path = Path(path)
    if is_factory(path):
        return "torch"
    if (path / _SAVED_MODEL).is_file():
        return "savedmodel"
    if not path.is_file():
        raise _nothing_usable(path)
    if path.suffix not in _KNOWN:
        raise _unknown_format(path)
    return _KNOWN[path.suffix]


def _nothing_usable(path: Path) -> ModelError:
    if path.is_dir():
        return ModelError(
            f"found a directory at {path}, expected a model file or a SavedModel",
            hint=f"a SavedModel's folder holds {_SAVED_MODEL}",
        )
    found = "something that is no regular file" if path.exists() else "nothing"
    return ModelError(f"found {found} at {path}, expected a model file")


def _unknown_format(path: Path) -> ModelError:
    if path.name == _SAVED_MODEL:
        return ModelError(
            f"found the file {path}, expected the SavedModel's folder", hint=f"give {path.parent}"
        )
    if path.suffix in _PICKLES:
        return ModelError(
            f"{path.name} is a pickle or a TorchScript file, and loading one can run any code",
            hint="save the program instead: torch.export.save("
            "torch.export.export(model.eval(), example_inputs), 'model.pt2')",
        )
    return ModelError(
        f"{path.name} has the suffix {path.suffix or '(none)'!r}, "
        f"expected one of {', '.join(_KNOWN)}",
        hint="export the model to one of these, or give the folder of a SavedModel",
    )


def _reader(model_format: _Format) -> FormatReader:
    try:
        return cast(FormatReader, importlib.import_module(model_format.module))
    except ModuleNotFoundError as error:
        raise ToolchainMissing(
            f"opening this model needs {error.name}, which is not installed",
            hint=f'install it with: pip install "{model_format.requirement}"',
        ) from error
