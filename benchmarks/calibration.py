"""Static quantization with our calibration, as a ratio to ONNX Runtime's `quantize_static`.

The model has MobileNetV2's layers (224 x 224, 52 convolutions, inverted residuals) with seeded
random weights; images are made up as they are read. Every run is a process of its own, ours and
theirs in turn: wall time, CPU time and peak memory of the quantization, then the quality of its
result on images that it has not seen. Of ours nothing is taken from the cache.

ONNX Runtime holds all activations of all samples for percentile and entropy, about 65 MB a sample:
these are compared on fewer samples, unless --full is given.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgesdk.calibration.estimators import needs_histogram
from edgesdk.convert.backends.onnx_calibration import activations, calibrate, superseded
from edgesdk.convert.backends.onnx_qdq import CPU, quantize

Floats = npt.NDArray[np.float32]

STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
"""Expansion, channels, blocks, stride of the first; table 2 of arXiv:1801.04381."""
SHAPE = (1, 3, 224, 224)
SAMPLES, FEW, HELD_OUT = 128, 16, 16
METHODS = ("minmax", "percentile", "entropy", "mse")


@dataclass(frozen=True)
class Result:
    """One quantization."""

    who: str
    method: str
    samples: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    sqnr_db: float


class Network:
    """MobileNetV2, put together layer by layer."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants = [numpy_helper.from_array(np.float32(v), n) for n, v in LIMITS]
        self.count = 0

    def constant(self, name: str, scale: float, *shape: int) -> str:
        values = self.random.normal(size=shape) * scale
        self.constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def conv(
        self, source: str, channels: tuple[int, int], kernel: int, stride: int = 1, group: int = 1,
        linear: bool = False,
    ) -> str:  # fmt: skip
        """Weights keep the variance (He et al., arXiv:1502.01852)."""
        name = f"conv{self.count}"
        self.count += 1
        fan_in = channels[0] // group * kernel * kernel
        shape = (channels[1], channels[0] // group, kernel, kernel)
        w = self.constant(f"{name}_w", ((1 if linear else 2) / fan_in) ** 0.5, *shape)
        b = self.constant(f"{name}_b", 0.1, channels[1])
        pads = [kernel // 2] * 4
        self.node("Conv", [source, w, b], name, pads=pads, strides=[stride] * 2, group=group)
        return name if linear else self.node("Clip", [name, "zero", "six"], f"{name}_relu6")

    def block(self, source: str, channels: tuple[int, int], expansion: int, stride: int) -> str:
        inner = channels[0] * expansion
        x = self.conv(source, (channels[0], inner), 1) if expansion > 1 else source
        x = self.conv(x, (inner, inner), 3, stride, group=inner)
        x = self.conv(x, (inner, channels[1]), 1, linear=True)
        same = stride == 1 and channels[0] == channels[1]
        return self.node("Add", [source, x], f"{x}_sum") if same else x

    def model(self) -> onnx.ModelProto:
        x, channels = self.conv("image", (3, 32), 3, stride=2), 32
        for expansion, wanted, blocks, stride in STAGES:
            for index in range(blocks):
                x = self.block(x, (channels, wanted), expansion, 1 if index else stride)
                channels = wanted
        x = self.node("GlobalAveragePool", [self.conv(x, (channels, 1280), 1)], "pooled")
        x = self.node("Flatten", [x], "features")
        weights = self.constant("fc_w", 1280**-0.5, 1000, 1280)
        self.node("Gemm", [x, weights, self.constant("fc_b", 0.1, 1000)], "scores", transB=1)
        edge = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name, shape in (("image", SHAPE), ("scores", (1, 1000)))
        ]
        graph = helper.make_graph(self.nodes, "mobilenet-v2", edge[:1], edge[1:], self.constants)
        opset = helper.make_opsetid("", 17)
        return helper.make_model(graph, opset_imports=[opset], ir_version=10)


LIMITS = (("zero", 0.0), ("six", 6.0))


def images(count: int, seed: int) -> Iterator[dict[str, Floats]]:
    """Noise of random contrast and brightness."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        noise = random.random(SHAPE, np.float32) - np.float32(0.5)
        yield {"image": noise * np.float32(random.uniform(1, 4)) + np.float32(random.normal())}


def theirs(source: Path, output: Path, method: str, samples: int) -> None:
    """What people do today; settings as ours."""
    names = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
    stream = images(samples, seed=1)

    class Reader:
        def get_next(self) -> dict[str, Floats] | None:
            return next(stream, None)

    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(
            source,
            output,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[names[method]],
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )


def ours(source: Path, output: Path, method: str, samples: int) -> None:
    """The same steps as in `edgesdk.convert.backends.onnxruntime.convert`, without its cache."""
    model = onnx.load(str(source))
    every = activations(model)
    others = superseded(model, CPU, (), every)
    names = [name for name in every if name not in others]
    seen = calibrate(
        model,
        lambda: images(samples, seed=1),
        lambda _: None,
        names,
        needs_histogram(method),
        directory=None,
        key="",
    )
    ranges = seen.ranges(method, dict.fromkeys(names, 8), symmetric=False)
    ranges |= {name: ranges[result] for name, result in others.items()}
    onnx.save(quantize(model, ranges, CPU, ()), str(output))


def sqnr_db(float_path: Path, int8_path: Path) -> float:
    """Of the scores, over images that were not calibrated on."""
    signal = noise = 0.0
    sessions = [
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (float_path, int8_path)
    ]
    for image in images(HELD_OUT, seed=2):
        wanted, found = (session.run(None, image)[0].astype(np.float64) for session in sessions)
        signal += float(np.square(wanted).sum())
        noise += float(np.square(wanted - found).sum())
    return float(10 * np.log10(signal / noise))


def measure(who: str, method: str, samples: int, source: Path) -> Result:
    """Quantize in this process, which does nothing else."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "int8.onnx"
        start, cpu_start = time.perf_counter(), time.process_time()
        {"ours": ours, "theirs": theirs}[who](source, output, method, samples)
        seconds = time.perf_counter() - start
        cpu_seconds = time.process_time() - cpu_start
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Result(
            who, method, samples, seconds, cpu_seconds, peak_bytes, sqnr_db(source, output)
        )


def in_a_process(who: str, method: str, samples: int, source: Path) -> Result:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--run", who, method, str(samples), str(source)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def prepare(source: Path) -> None:
    """What both start from: the toolkit's own advice is followed before the clock starts."""
    onnx.save(Network().model(), str(source))
    quant_pre_process(source, source, skip_symbolic_shape=True)


def main(full: bool) -> None:
    """Print every run and, for each method, the ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "float.onnx"
        prepare(source)
        for method in METHODS:
            counts = {SAMPLES} if full or method in ("minmax", "mse") else {FEW, SAMPLES}
            for samples in sorted(counts):
                peer = full or samples == FEW or method == "minmax"
                compare(method, samples, source, peer=peer and method != "mse")


def compare(method: str, samples: int, source: Path, peer: bool) -> None:
    """Print both runs of one method and their ratio, or ours alone."""
    runs = [in_a_process("theirs", method, samples, source)] if peer else []
    runs.append(in_a_process("ours", method, samples, source))
    for run in runs:
        print(
            f"{run.method:10} {run.samples:4} samples  {run.who:6} {run.seconds:7.1f} s "
            f"{run.cpu_seconds:7.1f} s CPU "
            f"{run.peak_bytes / 2**20:7.0f} MiB  {run.sqnr_db:5.1f} dB",
            flush=True,
        )
    if peer:
        first, second = runs
        print(
            f"{'':26} ratio  {first.seconds / second.seconds:7.1f} x "
            f"{first.cpu_seconds / second.cpu_seconds:7.1f} x     "
            f"{first.peak_bytes / second.peak_bytes:7.1f} x    "
            f"{second.sqnr_db - first.sqnr_db:+5.1f} dB",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        who, method, samples, path = sys.argv[2:]
        print(json.dumps(asdict(measure(who, method, int(samples), Path(path)))))
    else:
        main(full="--full" in sys.argv)
