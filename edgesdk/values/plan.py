"""What a conversion will do, decided before anything heavy runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgesdk.models.types import TensorSpec
from edgesdk.serial import digest
from edgesdk.targets.types import Runtime, Scheme

PortDType = Literal["int8", "float32"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the user may choose about a conversion.

    Args:
        io: dtype of the converted model's inputs and outputs; None leaves it to the format
            (int8 for TFLite, float32 for QDQ ONNX).
        keep_float: regular expressions; operators whose name matches one in full stay in float.
    """

    io: PortDType | None = None
    keep_float: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """Everything that determines the artifact's bytes; its digest is the cache key."""

    model_name: str
    model_format: str
    model_sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    target_id: str
    target_architecture: str
    backend: str
    runtime: Runtime
    scheme: Scheme
    io: PortDType
    keep_float: tuple[str, ...]
    calibration_sha256: str
    calibration_samples: int
    toolchain: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over every field."""
        return digest(self)
