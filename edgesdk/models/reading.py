"""Read a model's graph, operators and tensors, float or quantized; only broken files are refused.

Only the table is here; each format's reader is a module of its own in `formats/`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

from edgesdk.errors import ModelError, ToolchainMissing
from edgesdk.models.graph import Graph

InputShapes = Mapping[str, tuple[int, ...]]


class GraphReader(Protocol):
    """What a graph module in `formats/` provides."""

    def read_graph(self, path: Path, input_shapes: InputShapes) -> Graph:
        """Read the graph; `input_shapes` fixes dynamic inputs by name.

        Raises:
            ModelError: broken.
        """


READERS = {
    ".onnx": ("edgesdk.models.formats.onnx_graph", "edgesdk[onnx]"),
    ".tflite": ("edgesdk.models.formats.tflite_graph", "edgesdk[litert]"),
}
"""Suffix to module and extra."""


def read_graph(path: Path | str, input_shapes: InputShapes | None = None) -> Graph:
    """The operators and tensors of an `.onnx` or `.tflite` file.

    Raises:
        ModelError: missing, broken or of another format.
        ToolchainMissing: the toolkit that reads this format is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"found nothing at {path}, expected a model file")
    if path.suffix not in READERS:
        raise ModelError(f"found {path.name}, expected one of {', '.join(READERS)}")
    module, requirement = READERS[path.suffix]
    try:
        reader = cast(GraphReader, importlib.import_module(module))
    except ModuleNotFoundError as error:
        raise ToolchainMissing(
            f"reading this model needs {error.name}, which is not installed",
            hint=f'install it with: pip install "{requirement}"',
        ) from error
    return reader.read_graph(path, input_shapes or {})
