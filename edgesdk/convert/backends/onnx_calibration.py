"""Ranges of a float ONNX model's activations, from one pass over the samples.

The model runs with the activations as outputs, on as many samples at a time as there are cores, one
thread each: that is faster than many threads on one sample. Where bounds are all that is wanted, a
sample's activations are reduced to them at once; else they are counted, in the samples' order. How
many samples are in memory does not depend on how many there are.
"""

from __future__ import annotations

import device_agent.runtimes.onnxruntime  # noqa: F401 - turns the telemetry of onnxruntime off

# isort: split
import hashlib
import itertools
import math
import os
import platform
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import onnx

from edgesdk.calibration import cache
from edgesdk.calibration.accumulator import Summary
from edgesdk.calibration.estimators import needs_histogram
from edgesdk.calibration.state import Seen
from edgesdk.calibration.types import Range
from edgesdk.convert.backends.onnx_exposing import Exposed, expose
from edgesdk.convert.backends.onnx_qdq import FLOATS, Style
from edgesdk.convert.backends.onnx_shapes import activation_shapes
from edgesdk.convert.toolchains import Array, Sample
from edgesdk.errors import ConversionError
from edgesdk.models.formats.onnx import graph_inputs
from edgesdk.values.plan import ConversionPlan

CHECKPOINT_S = 10.0
"""At most so much of the work, and what saving takes twenty times over, is lost when killed."""
_SAVING_SHARE = 20
_CPU_KEYS = ("model name", "CPU part", "flags", "Features")
"""In /proc/cpuinfo, on x86 and on Arm."""
_IN_FLIGHT_BYTES = 2**29
"""Of activations in memory at a time, unless two samples have more."""


def calibrated_ranges(
    model: onnx.ModelProto,
    plan: ConversionPlan,
    samples: Callable[[], Iterator[Sample]],
    advance: Callable[[int], None],
    style: Style,
    kept: Collection[str],
) -> dict[str, Range]:
    """The range of every activation that `onnx_qdq.quantize` asks for.

    A calibration of the same model on the same samples by the same kind of CPU is taken from the
    cache, whatever the method it was made for; one that has collected bounds only does not do for
    methods that need more.

    Args:
        model: float, with fixed shapes, every operator named.
        plan: gives the method, the samples' digest and the toolkits' versions.
        samples: starts one pass over the calibration samples.
        advance: called with the number of samples that are done, as they are.
        style: gives width and symmetry of the quantized form.
        kept: names of the operators that stay in float.

    Raises:
        ConversionError: there are no samples, or an activation is not a number.
    """
    every = activations(model)
    others = superseded(model, style, kept, every)
    names = tuple(name for name in every if name not in others)
    versions = {**plan.toolchain, "cpu": _cpu()}
    key = cache.key(_sha256(model), plan.calibration_sha256, names, versions)
    histograms = needs_histogram(plan.range_method)
    seen = calibrate(model, samples, advance, names, histograms, cache.folder(), key)
    types = dict.fromkeys(names, style.activation_type) | dict(style.overrides)
    bits = {name: 16 if kind.endswith("16") else 8 for name, kind in types.items()}
    ranges = seen.ranges(plan.range_method, bits, style.activation_symmetric)
    return ranges | {name: ranges[result] for name, result in others.items()}


def calibrate(
    model: onnx.ModelProto,
    samples: Callable[[], Iterator[Sample]],
    advance: Callable[[int], None],
    names: Sequence[str],
    histograms: bool,
    directory: Path | None,
    key: str,
) -> Seen:
    """What is seen of the named activations, taken up where an earlier run under `key` ended.

    Args:
        names: of float activations; see `activations`.
        histograms: collect them, too.
        directory: of the cache; None for none.
        key: of everything that the result depends on.

    Raises:
        ConversionError: there are no samples, or an activation is not a number.
    """
    seen = cache.load(directory, key, histograms) or Seen.nothing(names, histograms)
    advance(seen.samples)
    if seen.complete:
        return seen
    rest = itertools.islice(samples(), seen.samples, None)
    workers = _workers(_cores(), _activation_bytes(model, names))
    exposed = expose(model, names, max(1, _cores() // workers))
    due = time.monotonic() + CHECKPOINT_S
    with closing(_stream(exposed, rest, seen.summaries, workers)) as stream:
        for summaries in stream:
            seen.add(summaries)
            advance(1)
            if (now := time.monotonic()) >= due:
                cache.save(directory, key, seen)
                saved = time.monotonic()
                due = saved + max(CHECKPOINT_S, _SAVING_SHARE * (saved - now))
    if seen.samples == 0:
        raise ConversionError("found no calibration samples, expected at least one")
    seen.complete = True
    cache.save(directory, key, seen)
    return seen


def activations(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of all float activations, in the graph's order."""
    typed = activation_shapes(model)
    values = (*graph_inputs(typed), *typed.graph.value_info, *typed.graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type in FLOATS}
    floats -= {tensor.name for tensor in model.graph.initializer}
    touched = dict.fromkeys(
        name for node in model.graph.node for name in (*node.input, *node.output)
    )
    return tuple(name for name in touched if name in floats)


def superseded(
    model: onnx.ModelProto, style: Style, kept: Collection[str], names: Collection[str]
) -> dict[str, str]:
    """Activation to the activation whose range it takes: what only Relu or Clip reads.

    That is what ONNX Runtime's quantizer makes of them (`adjust_tensor_ranges` in
    quantization/base_quantizer.py), so there is no need to look at them. Not in a row: the result
    of the first of two takes the second one's range, what it reads its own.
    """
    types = {"Relu", "Clip"} & {*(style.op_types or ("Relu", "Clip"))}
    results = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type in types and node.name not in kept and node.output[0] in names
    }
    reads = Counter(name for node in model.graph.node for name in node.input)
    return {
        read: result
        for result, read in results.items()
        if reads[read] == 1 and read in names and read not in results
    }


def _cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What ONNX Runtime's kernels are chosen by: the last digits of what they compute differ.

    The processor's model and its instruction sets, as far as the system tells them.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    found = {key.strip(): value for key, _, value in (line.partition(":") for line in lines)}
    told = repr([found.get(key) for key in _CPU_KEYS])
    return f"{platform.machine()} {hashlib.sha256(told.encode()).hexdigest()}"


def _sha256(model: onnx.ModelProto) -> str:
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def _workers(cores: int, sample_bytes: int) -> int:
    """How many samples to run on at a time; one more is being counted."""
    fitting = _IN_FLIGHT_BYTES // max(1, sample_bytes) - 1
    return max(1, min(cores, fitting))


def _cores() -> int:
    """That this process may use; macOS does not say."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _activation_bytes(model: onnx.ModelProto, names: Collection[str]) -> int:
    """Of the named activations on one sample, as far as their shapes are known."""
    typed = activation_shapes(model)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*typed.graph.value_info, *typed.graph.output)
    }
    return sum(4 * int(math.prod(shapes[name])) for name in names if name in shapes)


def _stream(
    exposed: Exposed,
    samples: Iterable[Sample],
    summaries: Callable[[Mapping[str, Array]], Mapping[str, Summary]],
    workers: int,
) -> Generator[Mapping[str, Summary], None, None]:
    """What is wanted of each sample, in order, while the next ones are being run on.

    Args:
        summaries: of all activations; called in the threads that the model runs in.
    """
    running: deque[Future[Mapping[str, Summary]]] = deque()
    with ThreadPoolExecutor(workers) as runner:
        for sample in samples:
            running.append(runner.submit(lambda sample: summaries(exposed.run(sample)), sample))
            if len(running) > workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
