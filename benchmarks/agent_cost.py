"""What measuring through the agent costs: its p50 against the runtime's own benchmark tool's.

The agent's side is its real worker, started from its real zipapp, while the agent's thread reads
the device's conditions as it does on a device. The peers are OpenVINO's `benchmark_app`, LiteRT's
`litert-benchmark` and, as ONNX Runtime's wheel has no such tool for single runs, the shortest loop
over its Python API with the same settings. Each pair is run one after the other, the order
changing; the goal is a difference within 2 % or 20 us, whichever is larger, in the median pair.

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
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from device_agent import runtimes
from device_agent.manifest import Port
from device_agent.runtimes.tensors import quantize
from device_agent.sensors import Sensors
from device_agent.watching import watching
from device_agent.worker_messages import Load, Loaded, TimeBlock, Timed, Warm, WarmUp
from device_agent.workers import Worker, worker_command
from edgesdk.devices.bootstrap import build_agent

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
GOAL_SHARE, GOAL_US = 0.02, 20.0
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


@dataclass(frozen=True)
class Case:
    """One model on one runtime; `peer` gives the tool's p50 in microseconds."""

    name: str
    runtime: str
    model: Path
    peer: Callable[[Path, float], float]


def ours(case: Case, program: Path, seconds: float) -> float:
    """The agent's p50 in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        golden, inputs = _golden(case, Path(folder) / "golden.npz")
        load = Load(str(case.model), case.runtime, "", 1, str(golden), inputs)
        with contextlib.closing(Worker("model", worker_command(str(program)))) as worker:
            worker.ask(load, Loaded)
            worker.ask(WarmUp(5.0), Warm)
            with watching(Sensors(lambda: (worker.pid,)).read):
                _, payload = worker.ask(TimeBlock(10, seconds, 2 * seconds), Timed)
    samples = array("q")
    samples.frombytes(payload)
    return statistics.median(samples) / 1000


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
    """LiteRT's tool; it rounds to 10 us."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        flags = ["--num_threads", "1", "--warmup_runs", "500", "--result_json", str(result)]
        runs = str(int(seconds * 10_000))
        _run(_tool("litert-benchmark"), "--model", model, "--num_runs", runs, *flags)
        return 1000 * float(json.loads(result.read_text())["latency"]["median_ms"])


def shortest_loop(model: Path, seconds: float) -> float:
    """ONNX Runtime's Python API, in a process of its own."""
    return float(_run(Path(sys.executable), "-c", _LOOP, model, str(seconds)).split()[-1])


def _tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def _run(program: Path, *arguments: str | Path) -> str:
    argv = [str(program), *map(str, arguments)]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=300).stdout


def convolutions(path: Path) -> Path:
    """Six convolutions of 32 channels on 56 x 56, some milliseconds of work."""
    random = np.random.default_rng(0)
    weights, nodes, last = [], [], "image"
    for index in range(6):
        name, depth = f"w{index}", 3 if index == 0 else 32
        values = random.normal(0, 0.1, (32, depth, 3, 3)).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(values, name))
        nodes.append(onnx.helper.make_node("Conv", [last, name], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(onnx.helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        last = f"r{index}"
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "convolutions",
        [value("image", onnx.TensorProto.FLOAT, [1, 3, 56, 56])],
        [value(last, onnx.TensorProto.FLOAT, [1, 32, 56, 56])],
        weights,
    )
    opsets = [onnx.helper.make_opsetid("", 13)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


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
        cases = (
            Case("LiteRT, digits", "litert", DIGITS / "digits.tflite", litert_benchmark),
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
