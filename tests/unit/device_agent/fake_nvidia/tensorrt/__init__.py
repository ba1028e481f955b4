"""A recording stand-in for NVIDIA's tensorrt module, in the shape of several of its releases.

Names, signatures, what gives None and what raises follow NVIDIA's sources: python/src/infer of
8.6.1, 10.3.0 and 11.1. Nothing else is here, so that a name that TensorRT does not have fails.

    FAKE_TENSORRT           the release to be, such as "10.3.0"
    FAKE_TENSORRT_LOG       file to append calls to, also from other processes

The one network it knows takes "image", four floats, and gives their sum and their largest as
"logits". What is done with a file is asked for by the operators in it: see `ODDITIES`.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import signal
import time

__version__ = os.environ["FAKE_TENSORRT"]

LAYERS = {"sum": 0.004, "largest": 0.012}
"""Layers of the network, and the milliseconds that each takes."""

_MAJOR = int(__version__.split(".")[0])

ODDITIES = ("Unparsable", "Unbuildable", "Raising", "Deadly", "Endless", "Open", "Odd")
"""Operators that make the parser or builder fail, or the network have open shapes or odd types."""


def _record(*call: object) -> None:
    with open(os.environ["FAKE_TENSORRT_LOG"], "a") as stream:
        stream.write(json.dumps(call) + "\n")


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    FP8 = 6


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class BuilderFlag(enum.Enum):
    if _MAJOR < 11:
        FP16 = 0
        INT8 = 1
    TF32 = 7


class NetworkDefinitionCreationFlag(enum.IntEnum):
    if _MAJOR < 11:
        EXPLICIT_BATCH = 0
    if _MAJOR >= 10:
        STRONGLY_TYPED = 1


class LayerInformationFormat(enum.Enum):
    ONELINE = 0
    JSON = 1


class IProfiler:
    """As in NVIDIA's: made without arguments, and every run tells it each layer's milliseconds."""

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


class EngineInspector:
    def get_engine_information(self, format: LayerInformationFormat) -> str:
        assert format is LayerInformationFormat.JSON
        # The names alone, as of an engine that was not built to say more.
        return json.dumps({"Layers": list(LAYERS), "Bindings": ["image", "logits"]})


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity: int, msg: str) -> None:
        raise NotImplementedError


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return (
            f"In node 0 with name: n and operator: op (parseNode): UNSUPPORTED_NODE: {self._text}"
        )


class ITensor:
    def __init__(self, name: str, shape: tuple[int, ...], dtype: DataType) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype


class INetworkDefinition:
    def __init__(self) -> None:
        self._content = b""
        self._inputs: list[ITensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        _record("parse_from_file", model)
        with open(model, "rb") as stream:
            self._network._content = stream.read()
        if b"Unparsable" in self._network._content:
            self._errors.append(ParserError("No importer registered for op: Unparsable"))
            return False
        shape = (-1, 4) if b"Open" in self._network._content else (1, 4)
        self._network._inputs.append(ITensor("image", shape, DataType.FLOAT))
        return True


class IBuilderConfig:
    def set_flag(self, flag: BuilderFlag) -> None:
        _record("set_flag", flag.name)


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        _record("create_network", flags)
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> bytes | None:
        content = network._content
        print("TensorRT prints what it likes")
        if b"Unbuildable" in content:
            self._logger.log(ILogger.WARNING, "only a warning")
            self._logger.log(
                ILogger.ERROR, "Could not find any implementation for node Unbuildable\n"
            )
            return None
        if b"Raising" in content:
            raise RuntimeError("CUDA initialization failure with error: 999")
        if b"Deadly" in content:
            os.kill(os.getpid(), signal.SIGKILL)
        if b"Endless" in content:
            time.sleep(60)
        (tensor,) = network._inputs
        _record("build_serialized_network", list(tensor.shape))
        kind = "FP8" if b"Odd" in content else "FLOAT"
        return json.dumps({"release": __version__, "shape": tensor.shape, "type": kind}).encode()


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        _record("deserialize_cuda_engine")
        plan = json.loads(bytes(serialized_engine))
        if plan["release"] != __version__:
            self._logger.log(ILogger.ERROR, "Serialization assertion stdVersionRead failed")
            return None
        return ICudaEngine(self._logger, plan)


class ICudaEngine:
    def __init__(self, logger: ILogger, plan: dict[str, object]) -> None:
        self._logger = logger
        self._tensors = {
            "image": (TensorIOMode.INPUT, plan["shape"], DataType[str(plan["type"])]),
            "logits": (TensorIOMode.OUTPUT, [1, 2], DataType.FLOAT),
        }

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self._tensors[name][0]

    def get_tensor_shape(self, name: str) -> object:
        return self._tensors[name][1]

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._tensors[name][2]

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector()

    def create_execution_context(self) -> IExecutionContext:
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._logger = engine._logger
        self._addresses: dict[str, int] = {}
        self.profiler: IProfiler | None = None

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        _record("execute_async_v3", stream_handle)
        image = (ctypes.c_float * 4).from_address(self._addresses["image"])
        logits = (ctypes.c_float * 2).from_address(self._addresses["logits"])
        if image[0] < 0:
            self._logger.log(ILogger.ERROR, "Error Code 1: Cuda Runtime (an illegal memory access)")
            return False
        logits[0], logits[1] = sum(image), max(image)
        # With a profiler, and `enqueue_emits_profile` as it is by default.
        for name, ms in LAYERS.items() if self.profiler else ():
            self.profiler.report_layer_time(name, ms)
        return True
