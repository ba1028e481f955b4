"""Which toolchain converts what: a light table, filled through entry points, ours included.

A third party adds one with an entry point in the group `edgesdk.toolchains` that names a
`Toolchain`. Nothing heavy is imported until `load_backend` is called.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy.typing as npt

from device_agent.manifest import Port
from edgesdk.choices import PortDType, Precision, Quantizer
from edgesdk.distributions import is_installed
from edgesdk.errors import ToolchainMissing
from edgesdk.files import sha256_file
from edgesdk.processes import CannotStart, run_to_end
from edgesdk.targets.types import Accelerator, RuntimeName
from edgesdk.values.artifact import Compilation, OperatorPrecision, TensorError, TensorSize
from edgesdk.values.forecast import CacheUse
from edgesdk.values.plan import ConversionPlan

_VERSION_DEADLINE_S = 10.0
_VERSION_CHARS = 200

ENCODINGS_FILE = "encodings.json"
"""What a backend leaves beside the model where the plan asks for encodings."""

Array = npt.NDArray[Any]
Sample = Mapping[str, Array]
"""Input name to array of exactly the model's input shape and dtype."""


@dataclass(frozen=True, slots=True)
class Description:
    """What is in a converted model file.

    Args:
        kernel_path: as in `values.artifact.Artifact`.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: tuple[OperatorPrecision, ...]
    tensor_sizes: tuple[TensorSize, ...]
    kernel_path: str = ""

    @property
    def working_set_bytes(self) -> int:
        """Constants plus the largest sum of activations alive at once."""
        counted = (size for size in self.tensor_sizes if size.kind == "constant" or size.at_peak)
        return sum(size.size_bytes for size in counted)


class Backend(Protocol):
    """What a backend module provides. All functions are deterministic."""

    def prepare(self, source: Path, plan: ConversionPlan, output: Path) -> None:
        """Write the float model as one file whose input shapes are the plan's."""

    def convert(
        self,
        source: Path,
        plan: ConversionPlan,
        samples: Callable[[], Iterator[Sample]],
        output: Path,
        advance: Callable[[int], None],
    ) -> None:
        """Write the INT8 form of the prepared float model `source` to `output`.

        Args:
            samples: starts one pass over the calibration samples; may be called again.
            advance: call with 1 after each calibration sample.

        Raises:
            ConversionError: the toolchain refused.
        """

    def describe(self, path: Path) -> Description:
        """Read a converted model: ports, real precision of each operator, tensor sizes."""

    def kernels(self) -> tuple[str, ...]:
        """Kernel paths this workstation can compute golden outputs with, preferred first."""

    def run(
        self, path: Path, kernel: str, inputs: Iterable[Sequence[Array]]
    ) -> Iterator[Sequence[Array]]:
        """Outputs of a model for each tuple of inputs, in the model's order and stored dtypes."""

    def compare(
        self, float_path: Path, int8_path: Path, samples: Sequence[Sample]
    ) -> tuple[TensorError, ...]:
        """Every activation both models share, INT8 against float, worst first."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a vendor's compiler left in the artifact's directory.

    Args:
        account: what it said.
        model: the file that the device loads; None where that is the INT8 model itself.
        companion: a second file that `model` names; it must lie beside it.
    """

    account: Compilation
    model: Path | None = None
    companion: Path | None = None


class Compiler(Protocol):
    """What a toolchain's compiler module provides, for devices that do not take INT8 files as such.

    It runs what may crash or hang in a process of its own, under a deadline.
    """

    def compile(self, quantized: Path, plan: ConversionPlan, directory: Path) -> Compiled:
        """Compile the INT8 model for the plan's accelerator; files in `directory` begin "model".

        A compiler that is not installed is no error: the account says "not compiled", and why.

        Raises:
            ConversionError: the compiler refused the model, crashed, hung or wrote no result; its
                own words are the details.
        """


class CompiledReader(Protocol):
    """What a module provides that reads files which the vendor's compiler wrote."""

    def cache_of(self, model: Path, accelerator: Accelerator) -> CacheUse | None:
        """What a compiled model keeps on chip, as it says itself; None where it is not compiled.

        Raises:
            ModelError: broken.
        """


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A way to convert.

    Args:
        name: of the backend.
        reads: the model format it takes.
        runtime: the device runtime it converts for.
        ios: dtypes that the converted model's inputs and outputs can have; the first is usual.
        module: where its backend lies.
        requirement: what to `pip install` for it.
        distributions: whose versions determine its output.
        precisions: that it can make; a target may offer fewer.
        compiler: module of the vendor's compiler; empty where the runtime takes INT8 files as such.
        quantizers: distribution to use for quantizing, the best first, where there is a choice.
        optional: distributions whose versions determine the output where they are installed.
        suffix: of the INT8 model's file; that of the format it reads where empty.
        size_doubt: how far a forecast of the converted file's size may be off, as a share of it.
        reader: module that reads compiled models (`CompiledReader`); empty where none does.
        programs: that the compiler calls where they are on PATH; with one the result is another.
    """

    name: str
    reads: Literal["onnx", "tflite"]
    runtime: RuntimeName
    ios: tuple[PortDType, ...]
    module: str
    requirement: str
    distributions: tuple[str, ...]
    precisions: tuple[Precision, ...] = ("w8a8",)
    compiler: str = ""
    quantizers: tuple[Quantizer, ...] = ()
    optional: tuple[str, ...] = ()
    suffix: str = ""
    size_doubt: float = 0.25
    reader: str = ""
    programs: tuple[str, ...] = ()

    def versions(self) -> dict[str, str]:
        """Installed versions of its distributions.

        Raises:
            ToolchainMissing: one of them is not installed.
        """
        try:
            found = {name: version(name) for name in self.distributions}
        except PackageNotFoundError as error:
            raise self._missing(str(error.name)) from error
        found |= {name: version(name) for name in self.optional if is_installed(name)}
        return found | dict(self._programs())

    def _programs(self) -> Iterator[tuple[str, str]]:
        for name in self.programs:
            path = shutil.which(name)
            if path is not None:
                yield name, f"sha256:{sha256_file(Path(path))[:16]} {_version_of(path)}".strip()

    def load_backend(self) -> Backend:
        """Import the backend.

        Raises:
            ToolchainMissing: its toolkits are not installed.
        """
        return cast(Backend, self._import(self.module))

    def load_compiler(self) -> Compiler | None:
        """Import the compiler; None where the toolchain has none.

        Raises:
            ToolchainMissing: its toolkits are not installed.
        """
        return cast(Compiler, self._import(self.compiler)) if self.compiler else None

    def load_reader(self) -> CompiledReader | None:
        """Import the reader of compiled models; None where the toolchain has none.

        Raises:
            ToolchainMissing: its toolkits are not installed.
        """
        return cast(CompiledReader, self._import(self.reader)) if self.reader else None

    def _import(self, module: str) -> object:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise self._missing(str(error.name)) from error

    def _missing(self, what: str) -> ToolchainMissing:
        return ToolchainMissing(
            f"the {self.name} toolchain needs {what}, which is not installed",
            hint=f'install it with: pip install "{self.requirement}"',
        )


def _version_of(program: str) -> str:
    """First line that a program says of its version; empty where it says none.

    The file on PATH may be a shell wrapper, which stays as it is when the program changes.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            ended = run_to_end([program, "--version"], _VERSION_DEADLINE_S, directory=Path(folder))
        except CannotStart:
            return ""
    lines = [line.strip() for line in ended.said.splitlines() if line.strip()]
    return lines[0][:_VERSION_CHARS] if ended.succeeded and lines else ""


ONNXRUNTIME = Toolchain(
    name="onnxruntime",
    reads="onnx",
    runtime="onnxruntime",
    ios=("float32",),
    module="edgesdk.convert.backends.onnxruntime",
    requirement="edgesdk[onnx]",
    distributions=("edgesdk", "onnx", "onnxruntime", "numpy"),
)

LITERT = Toolchain(
    name="litert",
    reads="tflite",
    runtime="litert",
    ios=("int8", "uint8", "float32"),
    module="edgesdk.convert.backends.litert",
    requirement="edgesdk[litert]",
    distributions=("edgesdk", "ai-edge-litert", "ai-edge-quantizer", "numpy"),
    precisions=("w8a8", "w8a16", "fp16"),
    size_doubt=0.1,
)

EDGETPU = Toolchain(
    name="edgetpu",
    reads="tflite",
    runtime="edgetpu",
    ios=("int8", "uint8", "float32"),
    module="edgesdk.convert.backends.edgetpu",
    requirement="edgesdk[litert]",
    distributions=("edgesdk", "ai-edge-litert", "ai-edge-quantizer", "numpy"),
    compiler="edgesdk.convert.backends.edgetpu.compiling",
    reader="edgesdk.convert.backends.edgetpu.reading",
    programs=("edgetpu_compiler",),
)

QUALCOMM = Toolchain(
    name="qualcomm",
    reads="onnx",
    runtime="qnn",
    ios=("float32",),
    module="edgesdk.convert.backends.qualcomm",
    requirement="edgesdk[qualcomm]",
    distributions=("edgesdk", "onnx", "onnxruntime", "onnxruntime-qnn", "numpy"),
    precisions=("w8a8", "w8a16"),
    compiler="edgesdk.convert.backends.qualcomm.compiling",
    quantizers=("aimet-onnx", "onnxruntime"),
    optional=("aimet-onnx",),
)

TENSORRT = Toolchain(
    name="tensorrt",
    reads="onnx",
    runtime="tensorrt",
    ios=("float32",),
    module="edgesdk.convert.backends.tensorrt",
    requirement="edgesdk[onnx]",
    distributions=("edgesdk", "onnx", "onnxruntime", "numpy"),
    precisions=("w8a8", "fp16"),
    compiler="edgesdk.convert.backends.tensorrt.compiling",
    optional=("tensorrt-rtx-cu12",),
)

OPENVINO = Toolchain(
    name="openvino",
    reads="onnx",
    runtime="openvino",
    ios=("float32",),
    module="edgesdk.convert.backends.openvino",
    requirement="edgesdk[openvino]",
    distributions=("edgesdk", "onnx", "openvino", "nncf", "numpy"),
    precisions=("w8a8", "fp16"),
    suffix="xml",
    size_doubt=0.5,
)


def toolchains() -> tuple[Toolchain, ...]:
    """Every registered toolchain, by name.

    Raises:
        RuntimeError: two entry points claim one name.
    """
    found: dict[str, Toolchain] = {}
    for entry in sorted(entry_points(group="edgesdk.toolchains"), key=lambda entry: entry.name):
        if entry.name in found:
            raise RuntimeError(f"two toolchains are registered as {entry.name!r}")
        found[entry.name] = cast(Toolchain, entry.load())
    return tuple(found.values())
