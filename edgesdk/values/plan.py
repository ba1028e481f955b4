"""What a conversion will do, decided before anything heavy runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_agent.preprocessing import Preprocessing
from edgesdk.choices import Method, PortDType, Precision, Quantizer
from edgesdk.models.types import TensorSpec
from edgesdk.serial import digest
from edgesdk.targets.types import Accelerator, Runtime, Scheme
from edgesdk.values.recipe import MOST_GOLDEN_VECTORS, Override


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """Every choice that the artifact's bytes depend on; its digest is the cache key.

    What is not chosen is this machine's CPU: the account of ONNX operators and the golden outputs
    are made with the kernels it has.

    Args:
        working_format: what the model is brought to before it is quantized; its own format, where
            nothing has to be done.
        bridge: what brings it there; empty where nothing has to be done.
        backend: name of the toolchain.
        quantizer: which of the toolchain's; None where it has but one.
        scheme: how tensors are stored, its bits those of `precision`.
        accelerator: what the vendor's compiler is told of the device.
        cpu_features: instruction sets of its CPUs that matter to INT8; empty where nobody has read
            them.
        golden_vectors: most that are computed.
        rules_sha256: of the target's units and operator rules, which the artifact's forecast rests
            on.
        toolchain: distribution to version, of all that the result depends on.
        preprocessing: what is declared to make the model's inputs of pictures, for calibration and
            on the device; None where nothing is.
    """

    model_name: str
    model_format: str
    model_sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    target_id: str
    target_architecture: str
    working_format: str
    bridge: str
    backend: str
    quantizer: Quantizer | None
    runtime: Runtime
    accelerator: Accelerator
    cpu_features: tuple[str, ...]
    precision: Precision
    scheme: Scheme
    io: PortDType
    keep_float: tuple[str, ...]
    overrides: tuple[Override, ...]
    range_method: Method
    encodings: bool
    rules_sha256: str
    calibration_sha256: str
    calibration_samples: int
    toolchain: Mapping[str, str]
    golden_vectors: int = MOST_GOLDEN_VECTORS
    preprocessing: Preprocessing | None = None

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over every field."""
        return digest(self)
