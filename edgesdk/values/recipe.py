"""What the user may choose about a conversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PortDType = Literal["int8", "float32"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The user's choices.

    Args:
        io: dtype of the converted model's inputs and outputs; None leaves it to the format
            (int8 for TFLite, float32 for QDQ ONNX).
        keep_float: regular expressions; operators whose name matches one in full stay in float.
    """

    io: PortDType | None = None
    keep_float: tuple[str, ...] = ()
