"""Building a TensorRT engine, in a process of its own.

The builder takes minutes and far more memory than the engine it makes, and may crash: in its own
process it can be ended at a deadline, can be waited for with word that it is still at work, and
leaves no trace in the memory that is measured of the model.

What the Python module offers differs between releases:

    8.5 to 9    networks are made with EXPLICIT_BATCH, and Q/DQ nodes need BuilderFlag.INT8
    10          STRONGLY_TYPED networks take every type from the file, INT8 where Q/DQ nodes say so
    11          every network is strongly typed, and BuilderFlag.INT8 is gone

Names and signatures follow NVIDIA's sources of 8.6.1, 10.3.0 and 11.1. TF32 stays as TensorRT has
it by default: a float model is as fast, and as exact, as it is without edgesdk.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, Any, FrozenSet, List, Tuple

import device_agent
from device_agent.codec import encode_message, from_dict
from device_agent.durable import storage_errors
from device_agent.failures import AgentFailure
from device_agent.manifest import is_at_least
from device_agent.protocol import ErrorCode
from device_agent.records import record
from device_agent.runtimes.base import RuntimeFailed, Tell
from device_agent.runtimes.engines import EngineKey, write_engine

DEADLINE_S = 3600
"""Longest build: a detection network takes half an hour on the smallest Jetsons."""

OLDEST = "8.5"
"""The first release with named tensors and execute_async_v3; JetPack 5.1 has it."""

BUILDING = "building the engine, minutes on a small board"

FAILURES = (RuntimeError, TypeError)
"""What TensorRT's module raises where it does not give None; TypeError is "no object was made"."""

_POLL_S = 0.1
_TELL_S = 1.0
_REFUSED, _DISK = 3, 4
_PR_SET_PDEATHSIG = 1
_WORDS_MAX = 500
_PROGRAM = (
    "import sys; sys.path[:] = [sys.argv[1], *filter(None, sys.path)]; "
    "from device_agent.runtimes.engine_builder import main; sys.exit(main(sys.argv[2]))"
)


@record(frozen=True)
class BuildOrder:
    """What the builder's process is told.

    Args:
        model: path of the ONNX file.
        output: path of the engine file to write.
    """

    model: str
    output: str
    key: EngineKey


class BuildRefused(Exception):
    """TensorRT does not build this model, in its own words."""


def builder_options(release: str, operators: FrozenSet[str]) -> Tuple[str, ...]:
    """What a release of TensorRT is told, so that it computes as the file says.

    Args:
        operators: operator types of the model.
    """
    if is_at_least(release, "10"):
        return ("STRONGLY_TYPED",)
    return ("EXPLICIT_BATCH", *(("INT8",) if "QuantizeLinear" in operators else ()))


def build_in_child(order: BuildOrder, tell: Tell, deadline_s: float = DEADLINE_S) -> None:
    """Build an engine and write it to `order.output`.

    Raises:
        RuntimeFailed: TensorRT refuses the model, crashes, or does not end in time.
        AgentFailure: "storage": the engine cannot be written.
    """
    root = os.path.dirname(os.path.dirname(os.path.abspath(device_agent.__file__)))
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, root, _encode(order)],
            stdin=subprocess.DEVNULL,
            stdout=said,
        )
        try:
            _await(process, tell, deadline_s)
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        _judge(process.returncode, said)


def main(order: str) -> int:
    """What the builder's process does; its exit status, and its last words on stdout."""
    _die_with_parent()
    said = os.dup(1)
    os.dup2(2, 1)  # What TensorRT prints is not our answer.
    try:
        _build(importlib.import_module("tensorrt"), _decode(order))
    except BuildRefused as error:
        os.write(said, str(error).encode("utf-8", "replace"))
        return _REFUSED
    except AgentFailure as error:
        os.write(said, error.message.encode("utf-8", "replace"))
        return _DISK
    return 0


def recording_logger(trt: Any) -> Any:
    """A logger for TensorRT that keeps its errors, in `errors`."""

    class Recorder(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: List[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(msg.strip())

    return Recorder()


def first_words(errors: List[str]) -> str:
    """The first error, which the others follow from, on one line."""
    return " ".join(errors[0].split())[:_WORDS_MAX] if errors else "it does not say why"


def _build(trt: Any, order: BuildOrder) -> None:
    logger = recording_logger(trt)
    try:
        engine = _make_engine(trt, order, logger)
    except FAILURES as error:
        raise BuildRefused(first_words([*logger.errors, str(error)])) from error
    if engine is None:
        raise BuildRefused(first_words(logger.errors))
    with storage_errors(os.path.dirname(order.output)):
        write_engine(order.output, order.key, engine)


def _make_engine(trt: Any, order: BuildOrder, logger: Any) -> Any:
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt, order.key))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(order.model):
        raise BuildRefused(
            first_words([str(parser.get_error(index)) for index in range(parser.num_errors)])
        )
    _close_open_shapes(network)
    config = builder.create_builder_config()
    if "INT8" in order.key.options:
        config.set_flag(trt.BuilderFlag.INT8)
    return builder.build_serialized_network(network, config)


def _network_flags(trt: Any, key: EngineKey) -> int:
    if is_at_least(key.tensorrt, "11"):
        return 0  # Its one flag is there to be ignored.
    flags = trt.NetworkDefinitionCreationFlag
    if "STRONGLY_TYPED" in key.options:
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH)


def _close_open_shapes(network: Any) -> None:
    """An input's open dimensions are 1, as with every other runtime."""
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if any(size < 0 for size in shape):
            tensor.shape = tuple(size if size >= 0 else 1 for size in shape)


def _await(process: subprocess.Popen[bytes], tell: Tell, deadline_s: float) -> None:
    start = told = time.monotonic()
    tell(0, BUILDING)
    while process.poll() is None:
        now = time.monotonic()
        if now - start > deadline_s:
            raise RuntimeFailed(
                f"TensorRT was still building the engine after {deadline_s:.0f} s, expected less: "
                "try a smaller model"
            )
        if now - told >= _TELL_S:
            told = now
            tell(int(now - start), BUILDING)
        time.sleep(_POLL_S)


def _judge(status: int, said: IO[bytes]) -> None:
    words = said.read().decode("utf-8", "replace").strip()
    if status == _REFUSED:
        raise RuntimeFailed(f"TensorRT refuses the model: {words}")
    if status == _DISK:
        raise AgentFailure(ErrorCode.STORAGE, words, "free some space on the device")
    if status == -signal.SIGKILL:
        raise RuntimeFailed(
            "the process building the engine was ended by SIGKILL, most often because the device "
            "ran out of memory: close what else runs there, add swap, or try a smaller model"
        )
    if status != 0:
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        raise RuntimeFailed(f"the process building the engine ended with {how}")


def _die_with_parent() -> None:
    """End with the worker, be it in the middle of TensorRT's code; Linux only."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # It ended before we asked.


def _encode(order: BuildOrder) -> str:
    return encode_message(order).decode("ascii")


def _decode(text: str) -> BuildOrder:
    return from_dict(BuildOrder, json.loads(text)["body"])
