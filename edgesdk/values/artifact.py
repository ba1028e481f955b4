"""What a conversion made: files on disk, and a plain account of what is in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from device_agent.manifest import InputStatistics, Port
from edgesdk.values.forecast import CacheUse, Placement
from edgesdk.values.plan import ConversionPlan

Role = Literal["model", "companion", "float", "golden", "quantized", "encodings"]
"""What a file is for.

"model" is what the device loads, "companion" a second file that the model file names; "quantized"
is the INT8 model that a vendor's compiler made "model" from, where it did; "float" is the
reference. Golden vectors and encodings go by their names.
"""


@dataclass(frozen=True, slots=True)
class OperatorPrecision:
    """How one operator of the converted model really computes.

    Args:
        index: position in the graph.
        type: operator type as the format spells it.
        name: its name, or its first output's.
        precision: "int8", "int16", "float16", "float32", or "-" for operators that compute nothing
            (reshapes, casts); of int16, weights have 8 bits.
        reason: why it is in float; empty when it is not.
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
class Reader:
    """An operator that reads a constant, Q/DQ operators and casts in between passed over.

    Args:
        type: as the format spells it.
        name: its name, or its first output's.
        use: "table": it looks rows of the constant up by their index. "dense": it multiplies by it,
            as a fully connected layer does. Empty: something else.
        axis: of the constant, that its rows, or the layer's output units, are counted along; None
            of other uses.
    """

    type: str
    name: str
    use: Literal["table", "dense", ""] = ""
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class TensorSize:
    """Bytes that one tensor costs in the model file (constant) or in memory (activation).

    Args:
        readers: of a constant, as far as they are known.
        at_peak: it is an activation that is alive when the model needs the most memory.
    """

    name: str
    kind: Literal["constant", "activation"]
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    readers: tuple[Reader, ...] = ()
    at_peak: bool = False


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
class Compilation:
    """What the vendor's compiler said of the INT8 model, or why it was not asked.

    Args:
        status: "compiled": the model that ships is its result. "accepted": it took the model and
            compiled it, and the device compiles again for itself. "not compiled": it is not here.
            "not needed": the runtime takes the INT8 model as it is.
        compiler: which; empty where none is needed.
        version: of it; empty where it did not run.
        reason: why the model is not compiled, and what to do; empty when it is.
        placements: where it put each operator of the INT8 model; empty where it does not say.
        cache: what it keeps on chip; None where it does not say.
        min_runtime_version: of the vendor's runtime, such as libedgetpu's, that the compiled model
            asks for; None where it names none.
    """

    status: Literal["compiled", "accepted", "not compiled", "not needed"]
    compiler: str = ""
    version: str = ""
    reason: str = ""
    placements: tuple[Placement, ...] = ()
    cache: CacheUse | None = None
    min_runtime_version: int | None = None


@dataclass(frozen=True, slots=True)
class Lowering:
    """How the user's model was brought to the format that is quantized.

    Args:
        bridge: what did it, e.g. "onnx2tf".
        max_abs_error: largest difference of an output from the source model's, run in its own
            toolkit, over the probes; in the output's units.
        max_relative_error: the same over the largest absolute output.
        probes: how many samples that was read on.
    """

    bridge: str
    max_abs_error: float
    max_relative_error: float
    probes: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A converted model: `artifact.json` beside its files.

    Args:
        operators: every operator's real precision, in graph order.
        tensor_errors: activation by activation, worst first.
        tensor_sizes: constants and activations, largest first.
        working_set_bytes: constants plus the largest sum of activations alive at once, those
            marked `at_peak`; a lower bound of memory, without the runtime's own.
        input_statistics: what the calibration samples looked like, one an input of the model.
        lowering: None where the model came in the format that is quantized.
        forecast: where the operators of the INT8 model go by the target's rules; empty where it has
            no accelerator.
        compilation: where they really go, as far as a compiler says.
        kernel_path: the kernels that the runtime took by itself on this workstation; empty where it
            has but one kind.
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
    input_statistics: tuple[InputStatistics, ...]
    compilation: Compilation
    lowering: Lowering | None = None
    forecast: tuple[Placement, ...] = ()
    kernel_path: str = ""

    def file(self, role: Role) -> ArtifactFile:
        """The file with that role."""
        return next(file for file in self.files if file.role == role)

    @property
    def loaded_bytes(self) -> int:
        """Of the files that the device loads."""
        return sum(file.size_bytes for file in self.files if file.role in ("model", "companion"))

    @property
    def expected_placements(self) -> tuple[Placement, ...]:
        """Where the operators of the model that ships must be: by the compiler, else the forecast.

        Empty where there is no accelerator, or no compiler has made the model for it yet.
        """
        if self.compilation.status == "not compiled":
            return ()
        return self.compilation.placements or self.forecast

    def has(self, role: Role) -> bool:
        """There is a file with that role."""
        return any(file.role == role for file in self.files)
