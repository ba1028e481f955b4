"""What a conversion made: files on disk, and a plain account of what is in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from device_agent.manifest import Port
from edgesdk.values.plan import ConversionPlan

Role = Literal["model", "float", "golden"]


@dataclass(frozen=True, slots=True)
class OperatorPrecision:
    """How one operator of the converted model really computes.

    Args:
        index: position in the graph.
        type: operator type as the format spells it.
        name: its name, or its first output's.
        precision: "int8", "float32", or "-" for operators that compute nothing (reshapes, casts).
        reason: why it is not INT8; empty when it is.
    """

    index: int
    type: str
    name: str
    precision: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TensorError:
    """One activation of the converted model against the float model's, over the golden inputs.

    Args:
        sqnr_db: signal to quantization noise, 10 log10(sum x^2 / sum (x - q)^2); None when both
            are zero throughout, 200 when the noise is.
        max_abs_error: in the tensor's real units.
    """

    name: str
    sqnr_db: float | None
    max_abs_error: float

    def badness(self) -> float:
        """Sort key: the worst tensor first, the one that is always zero last."""
        return math.inf if self.sqnr_db is None else self.sqnr_db


@dataclass(frozen=True, slots=True)
class TensorSize:
    """Bytes that one tensor costs in the model file (constant) or in memory (activation)."""

    name: str
    kind: Literal["constant", "activation"]
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class GoldenVectors:
    """Inputs and the outputs expected for them, in `golden.npz`.

    The file holds `input/<name>` and, for each kernel path, `expected/<kernel>/<name>`, every array
    with a leading axis of `count`, in the dtypes of the stored model.
    """

    count: int
    kernels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A file of the artifact's directory, named by its role."""

    role: Role
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A converted model: `artifact.json` beside its files.

    Args:
        operators: every operator's real precision, in graph order.
        tensor_errors: activation by activation, worst first.
        tensor_sizes: constants and activations, largest first.
        working_set_bytes: constants plus the largest sum of activations alive at once; a lower
            bound of memory, without the runtime's own.
    """

    schema: Literal[1]
    plan: ConversionPlan
    plan_digest: str
    files: tuple[ArtifactFile, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: tuple[OperatorPrecision, ...]
    tensor_errors: tuple[TensorError, ...]
    tensor_sizes: tuple[TensorSize, ...]
    working_set_bytes: int
    golden: GoldenVectors

    def file(self, role: Role) -> ArtifactFile:
        """The file with that role."""
        return next(file for file in self.files if file.role == role)
