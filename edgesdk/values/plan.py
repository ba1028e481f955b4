"""What a conversion will do, decided before anything heavy runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesdk.models.types import TensorSpec
from edgesdk.serial import digest
from edgesdk.targets.types import Runtime, Scheme
from edgesdk.values.recipe import PortDType


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """Every choice that the artifact's bytes depend on; its digest is the cache key.

    What is not chosen is this machine's CPU: the account of ONNX operators and the golden outputs
    are made with the kernels it has.
    """

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
