"""What the user brought: a model, identified by its hash, with static shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Format = Literal["onnx", "tflite", "keras", "savedmodel", "torch"]
"""How a model is stored; "torch" is a `torch.export` program or a function that makes a module."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor at the model's edge: every dimension known, layout as in the file.

    Args:
        alias: another name the file has for it (TFLite: the signature's, where `name` is the
            tensor's); data may use either. Empty without one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    alias: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that data may use for it, the preferred one first."""
        return (self.alias, self.name) if self.alias else (self.name,)

    @property
    def scores(self) -> int:
        """How many scores it holds, if it is a single row of them, as [1, 10] or [1, 10, 1, 1]."""
        size = math.prod(self.shape)
        return size if self.shape and size == max(self.shape) else 0

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Model:
    """A float model on disk.

    Args:
        path: where it lies; a directory for a SavedModel, the source file for a factory.
        format: how it is stored.
        sha256: of the file's bytes; of several files (external data, a SavedModel), of their
            digests in order; of a factory's source file and its weights' digest.
        size_bytes: likewise.
        inputs: in the model's own order, shapes fixed.
        outputs: in the model's own order, shapes fixed.
        factory: "module:function" or "file.py:function", which makes a PyTorch module and its
            example inputs; empty for all that is stored in a file.
    """

    path: Path
    format: Format
    sha256: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    factory: str = ""

    @property
    def name(self) -> str:
        """The file's name without its suffix; the function's for a factory."""
        return self.factory.rpartition(":")[2] or self.path.stem
