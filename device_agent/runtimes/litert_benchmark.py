"""Times of a LiteRT model's operators, through LiteRT's own benchmark tool.

Where the package's own library does not (`litert_library`), its makers' tool `benchmark_model`
does, if the device has it on PATH: with inputs of its own making and kernels of its own build,
which need not be those of the package. It writes them as Protocol Buffers: tflite/profiling/proto/
profiling_info.proto, BenchmarkProfilingData. What litert-benchmark of the Python package times is
the whole model.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import Dict, Iterator, List, Tuple, Union

from device_agent import children
from device_agent.profile_messages import OperatorPlace, OperatorTime, Profiled
from device_agent.runtimes.base import NotProfiled, RuntimeFailed
from device_agent.runtimes.litert_placement import XNNPACK
from device_agent.runtimes.profiling import WARM_UP_RUNS, ProfileOrder

TOOL = "benchmark_model"

# Field numbers: BenchmarkProfilingData.runtime_profile, ModelProfilingData.subgraph_profiles and
# .delegate_profiles, SubGraphProfilingData.per_op_profiles (DelegateProfilingData's is 2),
# OpProfileData.node_type, .inference_microseconds and .name, OpProfilingStat.avg and .count.
_RUNTIME, _SUBGRAPHS, _DELEGATES = 3, 1, 2
_SUBGRAPH_OPERATORS, _DELEGATE_OPERATORS = 3, 2
_TYPE, _TIMES, _NAME = 1, 2, 5
_MEAN, _COUNT = 3, 9
_US_TO_NS = 1_000
_SLACK_S = 120.0
_PROFILE_BYTES_MAX = 16 * 1024 * 1024
_WORDS_MAX = 300

_Fields = Dict[int, List[Union[int, bytes]]]


def profile_with_tool(order: ProfileOrder, kernel: str, because: str) -> Profiled:
    """Run the tool on a model.

    Args:
        kernel: "xnnpack" or "builtin", as the model runs by itself.
        because: why the runtime itself times no operators.

    Raises:
        NotProfiled: the device has no such tool, or it does not time operators.
        RuntimeFailed: what it wrote makes no sense.
    """
    tool = shutil.which(TOOL)
    if tool is None:
        raise NotProfiled(f"{because}, and {TOOL} is not on PATH there")
    with tempfile.TemporaryDirectory(prefix="edgesdk-profile-") as folder:
        path = os.path.join(folder, "operators.pb")
        _run(_command(tool, path, order, kernel), order.max_seconds + _SLACK_S)
        try:
            with open(path, "rb") as stream:
                content = stream.read(_PROFILE_BYTES_MAX)
        except FileNotFoundError as error:
            raise NotProfiled(
                f"{tool} ran and wrote no profile: it is older than --op_profiling_output_mode"
            ) from error
    operators, runs = read_profile(content)
    return Profiled("", operators, (), runs, _US_TO_NS, f"{TOOL}, on inputs and kernels of its own")


def _command(tool: str, path: str, order: ProfileOrder, kernel: str) -> List[str]:
    return [
        tool,
        f"--graph={order.path}",
        f"--num_threads={order.threads}",
        f"--use_xnnpack={'true' if kernel == 'xnnpack' else 'false'}",
        f"--warmup_runs={WARM_UP_RUNS}",
        "--warmup_min_secs=0",
        f"--num_runs={order.runs}",
        "--min_secs=0",
        f"--max_secs={order.max_seconds:g}",
        "--enable_op_profiling=true",
        "--allow_dynamic_profiling_buffer_increase=true",
        "--op_profiling_output_mode=proto",
        f"--op_profiling_output_file={path}",
    ]


def _run(command: List[str], deadline_s: float) -> None:
    with tempfile.TemporaryFile() as said:
        try:
            with children.running(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
            ) as process:
                status = process.wait(deadline_s)
        except OSError as error:
            raise NotProfiled(f"{command[0]} cannot be started: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise NotProfiled(f"{command[0]} was not done after {deadline_s:.0f} s") from error
        if status != 0:
            said.seek(0)
            words = said.read().decode("utf-8", "replace").strip()[-_WORDS_MAX:]
            raise NotProfiled(f"{command[0]} ended with {status}: {' '.join(words.split())}")


def read_profile(content: bytes) -> Tuple[Tuple[OperatorTime, ...], int]:
    """The operators of BenchmarkProfilingData, and of how many runs their means are.

    Operators inside of a delegate take the place of its node, where it tells them.

    Raises:
        RuntimeFailed: it is not such data.
    """
    try:
        models = [_fields(each) for each in _messages(_fields(content), _RUNTIME)]
        found = list(_operators(models, _SUBGRAPHS, _SUBGRAPH_OPERATORS, ""))
        inner = list(_operators(models, _DELEGATES, _DELEGATE_OPERATORS, XNNPACK))
    except (ValueError, IndexError) as error:
        raise RuntimeFailed(f"{TOOL} wrote a profile that cannot be read: {error}") from error
    if inner:
        outer = [(time, runs) for time, runs in found if not _is_delegate(time.place.type)]
        found = [*outer, *inner]
    runs = max((runs for _, runs in found), default=0)
    return tuple(time for time, _ in found), runs


def _is_delegate(kind: str) -> bool:
    return "DELEGATE" in kind.upper()


def _operators(
    models: List[_Fields], part: int, operators: int, delegate: str
) -> Iterator[Tuple[OperatorTime, int]]:
    for model in models:
        for each in _messages(model, part):
            for content in _messages(_fields(each), operators):
                yield _operator(_fields(content), delegate)


def _operator(fields: _Fields, delegate: str) -> Tuple[OperatorTime, int]:
    times = _fields(_messages(fields, _TIMES)[0])
    mean, count = _number(times, _MEAN), _number(times, _COUNT)
    kind = _text(fields, _TYPE)
    taker = delegate or (XNNPACK if _is_delegate(kind) else "")
    return OperatorTime(
        OperatorPlace(kind, _text(fields, _NAME), "cpu", taker), (), mean * _US_TO_NS
    ), count


def _text(fields: _Fields, number: int) -> str:
    found = _messages(fields, number)
    return found[0].decode("utf-8", "replace") if found else ""


def _number(fields: _Fields, number: int) -> int:
    # Zero is left out of the file.
    return next((value for value in fields.get(number, []) if isinstance(value, int)), 0)


def _messages(fields: _Fields, number: int) -> List[bytes]:
    return [value for value in fields.get(number, []) if isinstance(value, bytes)]


def _fields(content: bytes) -> _Fields:
    """The varints and the length-delimited fields of a message, by number.

    Raises:
        ValueError, IndexError: the bytes are none.
    """
    fields: _Fields = {}
    position = 0
    while position < len(content):
        key, position = _varint(content, position)
        if key & 7 == 0:
            value, position = _varint(content, position)
            fields.setdefault(key >> 3, []).append(value)
        elif key & 7 == 2:
            size, position = _varint(content, position)
            if position + size > len(content):
                raise ValueError("it ends early")
            fields.setdefault(key >> 3, []).append(content[position : position + size])
            position += size
        else:
            raise ValueError(f"found a field of kind {key & 7}, expected 0 or 2")
    return fields


def _varint(content: bytes, position: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
        if shift > 63:
            raise ValueError("found a number of more than 64 bits")
