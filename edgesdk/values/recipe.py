"""What the user may choose about a conversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesdk.choices import Method, PortDType, Precision, Quantizer

MOST_GOLDEN_VECTORS = 8


@dataclass(frozen=True, slots=True)
class Override:
    """Another precision for some operators.

    Args:
        precision: theirs; "float32" keeps them out of quantization.
        name: regular expression that matches an operator's name in full; None for any name.
        type: operator type as the format spells it, e.g. "Conv" or "CONV_2D"; None for any type.
    """

    precision: Literal["w8a8", "w8a16", "fp16", "float32"]
    name: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """The user's choices.

    Args:
        io: dtype of the converted model's inputs and outputs; None leaves it to the format
            (int8 for TFLite, float32 for QDQ ONNX).
        keep_float: regular expressions; operators whose name matches one in full stay in float.
        precision: of the whole; None takes the target's usual one.
        range_method: how ranges are made from the calibration samples.
        quantizer: for targets that have a choice; None takes the best that is installed.
        overrides: a later one wins.
        encodings: write the quantizer's encodings beside the model, in AIMET's JSON.
        golden_vectors: at most so many travel with the model, 1 to 8; fewer where they would take
            more than a tenth of it.
    """

    io: PortDType | None = None
    keep_float: tuple[str, ...] = ()
    precision: Precision | None = None
    range_method: Method = "minmax"
    quantizer: Quantizer | None = None
    overrides: tuple[Override, ...] = ()
    encodings: bool = False
    golden_vectors: int = MOST_GOLDEN_VECTORS
