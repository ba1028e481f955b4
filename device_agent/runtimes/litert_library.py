"""Times of a LiteRT model's operators, through the profiler of the package's own library.

LiteRT's Python API times no operators, but the library that ai-edge-litert brings has a profiler in
its C API: litert/c/litert_profiler.h. So the model is compiled a second time, by that library, and
run on the very inputs that the other adapters profile with. XNNPACK tells its operators by its own
names; those that LiteRT computes itself are found again in the model file.

Only releases whose C API is as it is written here are asked: what is called differently would not
fail, but crash.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from device_agent.environment_messages import RuntimeVersion
from device_agent.manifest import is_at_least
from device_agent.profile_messages import OperatorPlace, Profiled
from device_agent.runtimes.base import LoadedModel, NotProfiled
from device_agent.runtimes.litert_placement import XNNPACK
from device_agent.runtimes.profiling import ProfileOrder, profiled, timed_runs, times_of

LIBRARY = "libLiteRt.so"
SINCE, BEFORE = "2.3", "2.4"
"""Releases of ai-edge-litert that were seen to have this C API: of 2.3.0, which is the newest."""

# litert/c/litert_profiler_event.h, LiteRtProfilerEventType.
_OPERATOR = 1 << 1
_INNER = (1 << 2, 1 << 3)
"""Operators that a delegate tells of itself: as a part of its node, or in its place."""
# litert/c/litert_common.h: LiteRtStatus, LiteRtHwAccelerators, LiteRtTensorBufferLockMode.
_OK, _CPU, _WRITE = 0, 1, 1
# litert/c/options/litert_runtime_options.cc and litert_cpu_options.cc: what options are told by.
_RUNTIME_OPTIONS, _CPU_OPTIONS = b"runtime_options_string", b"xnnpack"
_TENSOR_TYPE_BYTES = 256
"""More than LiteRtRankedTensorType has, which is passed on unread."""
_EVENTS_MAX = 1_000_000
_US_TO_NS = 1_000

_Handle = ctypes.c_void_p
_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_NOTHING_TO_DELETE = _Deleter(lambda _: None)


class _Memory(ctypes.Structure):
    """LiteRtMemoryUsage."""

    _fields_ = [("total", ctypes.c_size_t), ("used", ctypes.c_size_t), ("own", ctypes.c_size_t)]


class _Event(ctypes.Structure):
    """ProfiledEventData. The numbers are of the node and of the subgraph that it is in."""

    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory_before", _Memory),
        ("memory_after", _Memory),
        ("node", ctypes.c_uint64),
        ("subgraph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


class Timed(NamedTuple):
    """One operator in one run, as the library tells it.

    Args:
        type: of the event: the numbers of LiteRtProfilerEventType.
        tag: the operator's kind.
        node: its number, within what tells it.
        subgraph: that it is in; 0 is the model's own.
    """

    type: int
    tag: str
    node: int
    subgraph: int
    elapsed_us: int


def has_profiler(version: RuntimeVersion) -> bool:
    """Whether that release's library is known to have this profiler."""
    known = version.package.startswith("ai-edge-litert")
    return (
        known and is_at_least(version.version, SINCE) and not is_at_least(version.version, BEFORE)
    )


def profile_with_library(
    folder: str, order: ProfileOrder, model: LoadedModel, file_places: Sequence[OperatorPlace]
) -> Profiled:
    """Time the operators of a model as the package's library runs it.

    Args:
        folder: of the imported package.
        model: the same file, loaded through Python: its ports, and the kernels that it runs on.
        file_places: the file's operators, in its order.

    Raises:
        NotProfiled: the library is not there, refuses something, or runs it on other kernels.
    """
    if not has_profiler(model.runtime):
        raise NotProfiled(
            f"{model.runtime.package} {model.runtime.version} times no operators itself"
        )
    try:
        library = ctypes.CDLL(os.path.join(folder, LIBRARY))
    except OSError as error:
        raise NotProfiled(f"{LIBRARY} of LiteRT cannot be loaded: {error}") from error
    runs: List[Tuple[Timed, ...]] = []
    with contextlib.ExitStack() as owned:
        compiled = _Compiled(library, owned, order, model)
        samples = timed_runs(
            compiled, order, len(file_places), lambda: runs.append(compiled.told())
        )
    series = operators_of(runs, file_places)
    delegates = {place.delegate for place, _ in series}
    if not series or (XNNPACK in delegates) != (model.kernel_path == "xnnpack"):
        raise NotProfiled(
            f"LiteRT's own library runs the model on other kernels than {model.kernel_path}"
        )
    source = f"the profiler of {LIBRARY}, {model.runtime.package} {model.runtime.version}"
    return profiled(times_of(series, len(samples)), samples, source, _US_TO_NS)


def operators_of(
    runs: Sequence[Sequence[Timed]], file_places: Sequence[OperatorPlace]
) -> List[Tuple[OperatorPlace, List[int]]]:
    """The operators and the nanoseconds of each, of what every run told.

    What a loop computes is part of the loop. A delegate's node is left out where the delegate tells
    its operators.

    Raises:
        NotProfiled: one run told other operators than another.
    """
    loops = any(each.subgraph for run in runs for each in run if each.type == _OPERATOR)
    told = [_own(run, loops) for run in runs]
    places = [[_place(each, at, file_places) for at, each in enumerate(run)] for run in told]
    if any(each != places[0] for each in places):
        raise NotProfiled("LiteRT's profiler told other operators in one run than in another")
    return [
        (place, [run[at].elapsed_us * _US_TO_NS for run in told])
        for at, place in enumerate(places[0] if places else [])
    ]


def _own(run: Sequence[Timed], loops: bool) -> List[Timed]:
    """The operators of the model itself, none of which is a part of another."""
    # Of a delegate's operators, nothing tells whether they are within a loop.
    told = [each for each in run if not (each.subgraph or (loops and each.type in _INNER))]
    inner = any(each.type in _INNER for each in told)
    return [each for each in told if each.type in _INNER or not (inner and _is_node(each))]


def _is_node(timed: Timed) -> bool:
    return "DELEGATE" in timed.tag.upper()


def _place(timed: Timed, at: int, file_places: Sequence[OperatorPlace]) -> OperatorPlace:
    """Of the model file, where it is one of its operators; the delegates' have a number only."""
    in_file = timed.type == _OPERATOR and timed.node < len(file_places)
    if in_file and file_places[timed.node].type == timed.tag:
        return dataclasses.replace(file_places[timed.node], delegate="")
    is_taken = timed.type in _INNER or _is_node(timed)
    return OperatorPlace(timed.tag, f"#{at}", "cpu", XNNPACK if is_taken else "")


class _Compiled(LoadedModel):
    """A model compiled by the library, with its profiler running. `owned` has what is to be freed.

    Raises:
        NotProfiled: by this and all that is called: the library refuses something.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        owned: contextlib.ExitStack,
        order: ProfileOrder,
        model: LoadedModel,
    ) -> None:
        super().__init__(model.runtime, model.kernel_path, model.inputs, model.outputs)
        self._library, self._owned = library, owned
        self._kept: List[Any] = []
        self._environment = self._made("LiteRtCreateEnvironment", "Environment", 0, None)
        file = self._made(
            "LiteRtCreateModelFromFile", "Model", self._environment, order.path.encode()
        )
        options = self._options(order.threads, model.kernel_path)
        self._model = self._made(
            "LiteRtCreateCompiledModel", "CompiledModel", self._environment, file, options
        )
        signature = self._got("LiteRtGetModelSignature", file, ctypes.c_size_t(0))
        self._inputs = dict(self._buffers(signature, "Input"))
        self._outputs = dict(self._buffers(signature, "Output"))
        self._profiler = self._got("LiteRtCompiledModelGetProfiler", self._model)
        self._call("LiteRtStartProfiler", self._profiler)

    def set_inputs(self, arrays: Sequence[np.ndarray]) -> None:
        for port, array in zip(self.inputs, arrays):
            buffer, content = self._inputs.get(port.name), np.ascontiguousarray(array).tobytes()
            if buffer is None:
                raise NotProfiled(
                    f"LiteRT's library has no input {port.name!r}, only: {', '.join(self._inputs)}"
                )
            size = ctypes.c_size_t()
            self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
            if size.value != len(content):
                raise NotProfiled(
                    f"found {len(content)} bytes for input {port.name!r}, expected {size.value}"
                )
            address = self._got("LiteRtLockTensorBuffer", buffer, last=_WRITE)
            ctypes.memmove(address, content, len(content))
            self._call("LiteRtUnlockTensorBuffer", buffer)

    def invoke(self) -> None:
        inputs, outputs = self._array(self._inputs), self._array(self._outputs)
        self._call(
            "LiteRtRunCompiledModel",
            *(self._model, ctypes.c_size_t(0)),
            *(ctypes.c_size_t(len(inputs)), inputs),
            *(ctypes.c_size_t(len(outputs)), outputs),
        )

    def told(self) -> Tuple[Timed, ...]:
        """The operators of what ran since this was last asked."""
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        if not 0 <= count.value <= _EVENTS_MAX:
            raise NotProfiled(f"LiteRT's profiler told {count.value} events of one run")
        events = (_Event * count.value)()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        found = tuple(
            Timed(
                each.type,
                (each.tag or b"").decode("utf-8", "replace"),
                each.node,
                each.subgraph,
                each.elapsed_us,
            )
            for each in events
            if each.type in (_OPERATOR, *_INNER)
        )
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        return found

    # ---- what it is made of ---------------------------------------------------------------------

    def _options(self, threads: int, kernel_path: str) -> _Handle:
        options = self._made("LiteRtCreateOptions", "Options")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        cpu = f"num_threads = {threads}\n"
        if kernel_path == "builtin":
            cpu += 'kernel_mode = "builtin"\n'
        for name, text in ((_RUNTIME_OPTIONS, "enable_profiling = true\n"), (_CPU_OPTIONS, cpu)):
            content = ctypes.create_string_buffer(text.encode("ascii"))
            self._kept.append(content)
            told = self._got(
                "LiteRtCreateOpaqueOptions",
                *(name, ctypes.cast(content, ctypes.c_void_p), _NOTHING_TO_DELETE),
            )
            self._call("LiteRtAddOpaqueOptions", options, told)
        return options

    def _buffers(self, signature: _Handle, kind: str) -> Iterator[Tuple[str, _Handle]]:
        """The tensors of the first signature, by their names in the file, in its order."""
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{kind}s", signature, ctypes.byref(count))
        for index in map(ctypes.c_size_t, range(count.value)):
            tensor = self._got(f"LiteRtGetSignature{kind}TensorByIndex", signature, index)
            name = ctypes.c_char_p()
            self._call("LiteRtGetTensorName", tensor, ctypes.byref(name))
            described = ctypes.create_string_buffer(_TENSOR_TYPE_BYTES)
            self._call("LiteRtGetRankedTensorType", tensor, described)
            needs = self._got(
                f"LiteRtGetCompiledModel{kind}BufferRequirements",
                *(self._model, ctypes.c_size_t(0), index),
            )
            made = self._made(
                "LiteRtCreateManagedTensorBufferFromRequirements",
                *("TensorBuffer", self._environment, described, needs),
            )
            yield (name.value or b"").decode("utf-8", "replace"), made

    @staticmethod
    def _array(buffers: Dict[str, _Handle]) -> Any:
        return (_Handle * len(buffers))(*(each.value for each in buffers.values()))

    def _made(self, function: str, kind: str, *arguments: Any) -> _Handle:
        """What a function makes and we have to free."""
        made = self._got(function, *arguments)
        self._owned.callback(self._function("LiteRtDestroy" + kind), made)
        return made

    def _got(self, function: str, *arguments: Any, last: Optional[int] = None) -> _Handle:
        """What a function gives through its last argument but for `last`."""
        found = _Handle()
        after = () if last is None else (last,)
        self._call(function, *arguments, ctypes.byref(found), *after)
        return found

    def _call(self, function: str, *arguments: Any) -> None:
        status = self._function(function)(*arguments)
        if status != _OK:
            raise NotProfiled(f"LiteRT's library failed: {function} gave status {status}")

    def _function(self, name: str) -> Any:
        try:
            return getattr(self._library, name)
        except AttributeError as error:
            raise NotProfiled(f"LiteRT's library has no {name}") from error
