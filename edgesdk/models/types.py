"""What the user brought: a model file, identified by its hash, with static shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Format = Literal["onnx", "tflite"]


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

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Model:
    """A float model on disk.

    Args:
        path: where it lies.
        format: how it is stored.
        sha256: of the file's bytes; with external data, of the files' digests in order.
        size_bytes: likewise.
        inputs: in the model's own order, shapes fixed.
        outputs: in the model's own order, shapes fixed.
    """

    path: Path
    format: Format
    sha256: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem
