"""What measuring through the agent costs: its p50 against the runtime's own benchmark tool's.

The agent's side is what `edgesdk bench` has of a device: its worker, started from its zipapp,
warmed up until steady and timed in turns while the device's conditions are read, and the median of
all its samples, which is the p50 that the report shows. The session's process and SSH, which are
silent meanwhile, are left out.

The peers are OpenVINO's `benchmark_app`, LiteRT's `litert-benchmark` and, as ONNX Runtime's wheel
has no such tool (onnxruntime_perf_test is not in it), the shortest loop over its Python API with
the same settings. They warm up in their own ways, and get the same
model file, one thread and about as much time. `litert-benchmark` runs LiteRT's compiled model, the
agent its interpreter, which is what applications have: their difference is in the figure. The
shortest loop over the interpreter is a second peer, which leaves it out.

Each pair is run one after the other, the order changing; the goal is a difference within 2 % or
20 us, whichever is larger, in the median pair. For models below a millisecond that is the 20 us, so
each runtime has one of ten milliseconds, too.

    python benchmarks/agent_cost.py [--rounds 9] [--seconds 2]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from device_agent import runtimes
from device_agent.manifest import Port
from device_agent.model_messages import Bench
from device_agent.runtimes.tensors import quantize
from device_agent.sensors import Sensors
from device_agent.turns import take_turns
from device_agent.worker_messages import Load, Loaded
from device_agent.workers import Worker, worker_command
from edgesdk.devices.bootstrap import build_agent
from edgesdk.values.timing import Timing

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
GOAL_SHARE, GOAL_US = 0.02, 20.0
SIDE, CHANNELS = 56, 32
_KEY, _TIMING = "model", Timing()
_LOOP = """\
import sys, time, statistics, os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.add_session_config_entry("session.x64quantprecision", "1")
options.add_session_config_entry("session.force_spinning_stop", "1")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
(port,) = session.get_inputs()
shape = [size if isinstance(size, int) else 1 for size in port.shape]
binding = session.io_binding()
binding.bind_cpu_input(port.name, np.random.default_rng(0).normal(size=shape).astype(np.float32))
binding.bind_output(session.get_outputs()[0].name, "cpu")
end, samples = time.perf_counter() + float(sys.argv[2]), []
while time.perf_counter() < end:
    start = time.perf_counter_ns()
    session.run_with_iobinding(binding)
    samples.append(time.perf_counter_ns() - start)
print(statistics.median(samples[len(samples) // 5:]) / 1000)
"""

_LITERT_LOOP = """\
import sys, time, statistics
import numpy as np
from ai_edge_litert.interpreter import Interpreter
model = Interpreter(sys.argv[1], num_threads=1)
model.allocate_tensors()
(port,) = model.get_input_details()
sample = np.random.default_rng(0).normal(size=port["shape"])
if scale := port["quantization"][0]:
    sample = np.clip(np.rint(sample / scale) + port["quantization"][1], -128, 127)
model.set_tensor(port["index"], sample.astype(port["dtype"]))
end, samples = time.perf_counter() + float(sys.argv[2]), []
while time.perf_counter() < end:
    start = time.perf_counter_ns()
    model.invoke()
    samples.append(time.perf_counter_ns() - start)
print(statistics.median(samples[len(samples) // 5:]) / 1000)
"""


@dataclass(frozen=True)
class Case:
    """One model on one runtime; `peer` gives the tool's p50 in microseconds."""

    name: str
    runtime: str
    model: Path
    peer: Callable[[Path, float], float]


def ours(case: Case, program: Path, seconds: float) -> float:
    """The agent's p50 in microseconds, as a report has it."""
    wanted = Bench((_KEY,), _TIMING.blocks, _TIMING.min_runs, seconds, 2 * seconds, 5.0)
    with tempfile.TemporaryDirectory() as folder:
        golden, inputs = _golden(case, Path(folder) / "golden.npz")
        load = Load(str(case.model), case.runtime, "", 1, str(golden), inputs)
        with contextlib.closing(Worker(_KEY, worker_command(str(program)))) as worker:
            worker.ask(load, Loaded)

            def ask(_: str, request: Any, reply: Any, silence_s: float) -> tuple[Any, bytes]:
                return worker.ask(request, reply, silence_s=silence_s)

            read = Sensors(lambda: (worker.pid,)).read
            (latency,) = take_turns(wanted, ask, read, lambda _: None).latencies
    return statistics.median(latency.samples_ns) / 1000


def _golden(case: Case, path: Path) -> tuple[Path, tuple[Port, ...]]:
    model = runtimes.load(case.runtime, str(case.model), 1)
    (port,) = model.inputs
    sample = np.random.default_rng(0).normal(size=port.shape).astype(np.float32)
    (output, *_) = model.run([quantize(sample, port)])
    arrays = {
        f"input/{port.name}": sample[None],
        f"expected/{model.kernel_path}/{model.outputs[0].name}": output[None],
    }
    np.savez(path, allow_pickle=False, **arrays)
    return path, model.inputs


def benchmark_app(model: Path, seconds: float) -> float:
    """OpenVINO's tool; it rounds its JSON to 10 us, so its words are read."""
    flags = ["-api", "sync", "-hint", "none", "-nstreams", "1", "-nthreads", "1"]
    flags += ["-infer_precision", "f32"]
    said = _run(_tool("benchmark_app"), "-m", model, *flags, "-t", str(max(1, round(seconds))))
    match = re.search(r"Median:\s+([\d.]+) (us|ms)", said)
    assert match is not None, said
    return float(match[1]) * (1000 if match[2] == "ms" else 1)


def litert_benchmark(model: Path, seconds: float) -> float:
    """LiteRT's tool; it rounds to 10 us, and is told how often to run, so it runs twice."""
    once = max(_litert_median_us(model, 20), 10.0)
    return _litert_median_us(model, max(20, round(seconds * 1e6 / once)))


def _litert_median_us(model: Path, runs: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        flags = ["--num_threads", "1", "--warmup_runs", str(min(runs, 500))]
        flags += ["--num_runs", str(runs), "--result_json", str(result)]
        _run(_tool("litert-benchmark"), "--model", model, *flags)
        return 1000 * float(json.loads(result.read_text())["latency"]["median_ms"])


def shortest_loop(model: Path, seconds: float) -> float:
    """ONNX Runtime's Python API, in a process of its own."""
    return float(_run(Path(sys.executable), "-c", _LOOP, model, str(seconds)).split()[-1])


def interpreter_loop(model: Path, seconds: float) -> float:
    """LiteRT's interpreter, likewise."""
    return float(_run(Path(sys.executable), "-c", _LITERT_LOOP, model, str(seconds)).split()[-1])


def _tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def _run(program: Path, *arguments: str | Path) -> str:
    argv = [str(program), *map(str, arguments)]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=300).stdout


def convolutions(path: Path) -> Path:
    """Six convolutions of 32 channels on 56 x 56, some milliseconds of work."""
    nodes, last = [], "image"
    weights = [
        onnx.numpy_helper.from_array(values.transpose(0, 3, 1, 2), f"w{index}")
        for index, values in enumerate(_weights())
    ]
    for index in range(len(weights)):
        name = f"w{index}"
        nodes.append(onnx.helper.make_node("Conv", [last, name], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(onnx.helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        last = f"r{index}"
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "convolutions",
        [value("image", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [value(last, onnx.TensorProto.FLOAT, [1, CHANNELS, SIDE, SIDE])],
        weights,
    )
    opsets = [onnx.helper.make_opsetid("", 13)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def tflite_convolutions(path: Path) -> Path:
    """The same network, as LiteRT has it: channels last, ReLU within the convolution."""
    model = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(schema.BuiltinOperator.CONV_2D, version=1)],
        subgraphs=[schema.SubGraphT(tensors=[], inputs=[0], outputs=[], operators=[])],
        buffers=[schema.BufferT()],
    )
    graph = model.subgraphs[0]

    def tensor(name: str, shape: Sequence[int], values: np.ndarray | None = None) -> int:
        if values is not None:
            model.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
        buffer = 0 if values is None else len(model.buffers) - 1
        graph.tensors.append(
            schema.TensorT(
                list(shape), schema.TensorType.FLOAT32, buffer=buffer, name=name.encode()
            )
        )
        return len(graph.tensors) - 1

    last = tensor("image", (1, SIDE, SIDE, 3))
    for index, values in enumerate(_weights()):
        bias = np.zeros(CHANNELS, np.float32)
        inputs = [last, tensor(f"w{index}", values.shape, values)]
        inputs.append(tensor(f"b{index}", bias.shape, bias))
        last = tensor(f"r{index}", (1, SIDE, SIDE, CHANNELS))
        options = schema.Conv2DOptionsT(
            padding=schema.Padding.SAME,
            strideW=1,
            strideH=1,
            fusedActivationFunction=schema.ActivationFunctionType.RELU,
        )
        kind = schema.BuiltinOptions.Conv2DOptions
        graph.operators.append(
            schema.OperatorT(0, inputs, [last], builtinOptionsType=kind, builtinOptions=options)
        )
    graph.outputs = [last]
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return path


def _weights() -> Iterator[np.ndarray]:
    """Of each convolution: out, height, width, in."""
    random, depth = np.random.default_rng(0), 3
    for _ in range(6):
        yield random.normal(0, 0.1, (CHANNELS, 3, 3, depth)).astype(np.float32)
        depth = CHANNELS


def main() -> None:
    """Print one line a case: both medians, the median difference of the pairs, the verdict."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "agent.pyz"
        program.write_bytes(build_agent().zipapp)
        network = convolutions(Path(folder) / "convolutions.onnx")
        tflite = tflite_convolutions(Path(folder) / "convolutions.tflite")
        cases = (
            Case("LiteRT, digits", "litert", DIGITS / "digits.tflite", litert_benchmark),
            Case("LiteRT, convolutions", "litert", tflite, litert_benchmark),
            Case(
                "LiteRT's interpreter, digits", "litert", DIGITS / "digits.tflite", interpreter_loop
            ),
            Case("LiteRT's interpreter, convolutions", "litert", tflite, interpreter_loop),
            Case("OpenVINO, digits", "openvino", DIGITS / "digits.onnx", benchmark_app),
            Case("OpenVINO, convolutions", "openvino", network, benchmark_app),
            Case("ONNX Runtime, digits", "onnxruntime", DIGITS / "digits.onnx", shortest_loop),
            Case("ONNX Runtime, convolutions", "onnxruntime", network, shortest_loop),
        )
        for case in cases:
            print(_compare(case, program, wanted.rounds, wanted.seconds), flush=True)


def _compare(case: Case, program: Path, rounds: int, seconds: float) -> str:
    pairs = []
    for index in range(rounds):
        if index % 2:
            theirs = case.peer(case.model, seconds)
            pairs.append((ours(case, program, seconds), theirs))
        else:
            pairs.append((ours(case, program, seconds), case.peer(case.model, seconds)))
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    differences = sorted(a - b for a, b in pairs)
    middle = statistics.median(differences)
    limit = max(GOAL_US, GOAL_SHARE * theirs)
    word = "within" if abs(middle) <= limit else "BEYOND"
    return (
        f"{case.name}: agent {mine:.1f} us, tool {theirs:.1f} us, difference {middle:+.1f} us"
        f" ({differences[0]:+.1f} to {differences[-1]:+.1f}), {word} {limit:.0f} us, n = {rounds}"
    )


if __name__ == "__main__":
    main()
