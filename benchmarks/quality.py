"""INT8 output error of our conversions beside what each toolkit makes of the same data by default.

For each network: the signal to quantization noise ratio of the outputs (dB, higher is better) on
samples that were not calibrated on, against the float model in its own runtime, after
`edgesdk.api.convert` for one target of every toolchain, and after the toolkits' own quantizers as
they come. Calibration data are the same for all. Inputs and outputs are float, but for
ai-edge-quantizer, whose default they are not.

Networks: examples/digits (trained), a MobileNetV2 with seeded random weights, and the model files
that are given, with data as `edgesdk convert` takes them:

    python benchmarks/quality.py
    python benchmarks/quality.py model.onnx --calibration data.npz#a --held-out data.npz#b

A toolkit that is not installed, or cannot read a network, is a line that says "not measured".
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from calibration import Network as MobileNetV2
from calibration import images

from device_agent import runtimes
from device_agent.manifest import Port
from device_agent.runtimes.tensors import quantize
from edgesdk import api
from edgesdk.convert.toolchains import toolchains
from edgesdk.data.samples import open_samples
from edgesdk.errors import EdgeSDKError

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
CALIBRATED, HELD_OUT = 32, 16
"""Samples of the seeded network; digits have 160 to calibrate on."""
MOST_HELD_OUT = 64
"""Of any network: what emulates an accelerator takes a second for each."""
DEADLINE_S = 1800

OURS = {
    "edgesdk, onnxruntime": ("onnx", "generic-x86-64"),
    "edgesdk, openvino": ("onnx", "intel-n100"),
    "edgesdk, tensorrt": ("onnx", "jetson-orin-nano@jp6.2"),
    "edgesdk, qualcomm": ("onnx", "qcs6490"),
    "edgesdk, litert": ("tflite", "raspberry-pi-5"),
    "edgesdk, edgetpu": ("tflite", "coral-usb"),
}
"""Name to the format it takes and a target that chooses that toolchain."""

Array = Any
Samples = Sequence[Mapping[str, Array]]
Runner = Callable[[Samples], Iterable[Sequence[Array]]]
"""Outputs for each of the samples."""


class NotMeasured(Exception):
    """Why there is no number."""


@dataclass(frozen=True)
class Network:
    """One network in the formats it is there in; data are sources as `edgesdk convert` takes them.

    Args:
        files: format to path, source of calibration data, source of held-out data.
    """

    name: str
    files: Mapping[str, tuple[str, str, str]]


@dataclass(frozen=True)
class Result:
    """One quantizer on one network; without a number, the reason."""

    network: str
    quantizer: str
    sqnr_db: float | None
    reason: str = ""


def ours(name: str, model: str, calibration: str, scratch: Path) -> Runner:
    """By the flow that users call; what runs is what the toolchain makes golden outputs with."""
    target = OURS[name][1]
    recipe = api.Recipe(io="float32")
    done = api.convert(model, target, calibration, scratch / "artifact", recipe=recipe)
    toolchain = next(each for each in toolchains() if each.name == done.artifact.plan.backend)
    if name != f"edgesdk, {toolchain.name}":
        raise NotMeasured(f"{target} chose the {toolchain.name} toolchain")
    backend = toolchain.load_backend()
    compiled = done.artifact.has("quantized")
    path = done.directory / done.artifact.file("quantized" if compiled else "model").path
    plan, ports = done.artifact.plan, done.artifact.inputs

    def run(samples: Samples) -> Iterable[Sequence[Array]]:
        inputs = [
            [quantize(sample[s.name], p) for s, p in zip(plan.inputs, ports, strict=True)]
            for sample in samples
        ]
        return backend.run(path, backend.kernels()[0], inputs)

    return run


def loaded(runtime: str, path: Path) -> Runner:
    """A model in the runtime that a device would have, one thread; integers at the edge scaled."""
    model = runtimes.load(runtime, str(path), threads=1)

    def run(samples: Samples) -> Iterator[Sequence[Array]]:
        for sample in samples:
            found = model.run([quantize(sample[port.name], port) for port in model.inputs])
            yield [real(each, port) for each, port in zip(found, model.outputs, strict=True)]

    return run


def real(values: Array, port: Port) -> Array:
    """What stored values stand for."""
    if port.scale is None or port.zero_point is None:
        return values
    return (values.astype(np.float64) - port.zero_point) * port.scale


def quantize_static(model: str, samples: Samples, scratch: Path) -> Runner:
    """ONNX Runtime's, after the preparation that its documentation asks for."""
    from onnxruntime.quantization import quantize_static as quantize_it
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, output = scratch / "prepared.onnx", scratch / "int8.onnx"
    stream = iter(samples)

    class Reader:
        def get_next(self) -> Mapping[str, Array] | None:
            return next(stream, None)

    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantize_it(prepared, output, Reader())
    return loaded("onnxruntime", output)


def nncf_default(model: str, samples: Samples, scratch: Path) -> Runner:
    """NNCF's on the OpenVINO model; all samples, where its default is 300 at most."""
    runtimes.prepare("openvino")
    import nncf
    import openvino

    converted = openvino.convert_model(model)
    quantized = nncf.quantize(converted, nncf.Dataset(samples), subset_size=len(samples))
    openvino.save_model(quantized, scratch / "int8.xml", compress_to_fp16=False)
    return loaded("openvino", scratch / "int8.xml")


def ai_edge_default(model: str, samples: Samples, scratch: Path) -> Runner:
    """ai-edge-quantizer's static INT8 recipe as it comes."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    signatures = list(Interpreter(model).get_signature_list())
    if len(signatures) != 1:
        raise NotMeasured(f"it wants one signature, the file has {len(signatures)}")
    inputs = api.open_model(model).inputs
    named = [{spec.names[0]: sample[spec.name] for spec in inputs} for sample in samples]
    quantizing = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    statistics = quantizing.calibrate({signatures[0]: named})
    quantizing.quantize(statistics).export_model(scratch / "int8.tflite")
    return loaded("litert", scratch / "int8.tflite")


def tflite_converter(model: str, samples: Samples, scratch: Path) -> Runner:
    """TensorFlow's, from the ONNX network built again in TensorFlow."""
    from onnx_in_tensorflow import to_nhwc, to_tflite

    (name,) = samples[0]
    (scratch / "int8.tflite").write_bytes(to_tflite(Path(model), [each[name] for each in samples]))
    quantized = runtimes.load("litert", str(scratch / "int8.tflite"), threads=1)
    return lambda held_out: (quantized.run([to_nhwc(each[name])]) for each in held_out)


PEERS: Mapping[str, tuple[str, str, Callable[[str, Samples, Path], Runner]]] = {
    "ONNX Runtime quantize_static": ("onnx", "onnxruntime", quantize_static),
    "NNCF": ("onnx", "nncf", nncf_default),
    "ai-edge-quantizer": ("tflite", "ai_edge_quantizer", ai_edge_default),
    "TFLiteConverter": ("onnx", "tensorflow", tflite_converter),
}
"""Name to the format it takes, the module it needs, and how it is run."""

BUILDS_ON = {
    "edgesdk, onnxruntime": "ONNX Runtime quantize_static",
    "edgesdk, openvino": "NNCF",
    "edgesdk, litert": "ai-edge-quantizer",
    "edgesdk, edgetpu": "ai-edge-quantizer",
    "edgesdk, tensorrt": "ONNX Runtime quantize_static",
    "edgesdk, qualcomm": "ONNX Runtime quantize_static",
}
"""Our conversion and the toolkit under it."""


def formats(quantizer: str) -> str:
    """The format that a quantizer takes."""
    return OURS[quantizer][0] if quantizer in OURS else PEERS[quantizer][0]


def measure(quantizer: str, model: str, calibration: str, held_out: str) -> float:
    """Quantize and compare, in this process, which does nothing else."""
    inputs = api.open_model(model).inputs
    kind = formats(quantizer)
    if quantizer in PEERS and importlib.util.find_spec(PEERS[quantizer][1]) is None:
        raise NotMeasured(f"{PEERS[quantizer][1]} is not installed")
    reference = loaded("onnxruntime" if kind == "onnx" else "litert", Path(model))
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        run: Runner
        if quantizer in OURS:
            run = ours(quantizer, model, calibration, Path(scratch))
        else:
            samples = list(open_samples(calibration, inputs).stream())
            run = PEERS[quantizer][2](model, samples, Path(scratch))
        return sqnr_db(reference, run, open_samples(held_out, inputs).head(MOST_HELD_OUT))


def sqnr_db(reference: Runner, quantized: Runner, samples: Samples) -> float:
    """10 log10(sum x^2 / sum (x - q)^2) over all outputs and samples."""
    signal = noise = 0.0
    for outputs in zip(reference(samples), quantized(samples), strict=True):
        for wanted, found in zip(*outputs, strict=True):
            exact = np.asarray(wanted, np.float64).ravel()
            signal += float(exact @ exact)
            noise += float(np.square(exact - np.asarray(found, np.float64).ravel()).sum())
    return float(10 * np.log10(signal / noise)) if noise else 200.0


def in_a_process(network: Network, quantizer: str) -> Result:
    """`measure` in a process of its own: what one toolkit sets up cannot change another's."""
    if formats(quantizer) not in network.files:
        reason = f"the network is not there as .{formats(quantizer)}"
        return Result(network.name, quantizer, None, reason)
    command = [sys.executable, __file__, "--run", quantizer, *network.files[formats(quantizer)]]
    environment = {**os.environ, "EDGESDK_HOME": tempfile.gettempdir()}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_S, env=environment, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return Result(network.name, quantizer, None, f"failed: {last}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return Result(network.name, quantizer, found["sqnr_db"], found["reason"])


def run_one(quantizer: str, model: str, calibration: str, held_out: str) -> None:
    """The child's part."""
    found: dict[str, Any] = {"sqnr_db": None, "reason": ""}
    try:
        found["sqnr_db"] = measure(quantizer, model, calibration, held_out)
    except NotMeasured as reason:
        found["reason"] = str(reason)
    except EdgeSDKError as error:
        found["reason"] = error.message
    except Exception as error:
        if type(error).__name__ != "Untranslated":
            raise
        found["reason"] = f"{error} has no TensorFlow form here"
    print(json.dumps(found))


def bundled(scratch: Path) -> Iterator[Network]:
    """The networks that need no files of the user's."""
    data = DIGITS / "digits.npz"
    yield Network(
        "digits",
        {
            kind: (str(DIGITS / f"digits.{kind}"), f"{data}#calibration", f"{data}#test")
            for kind in ("onnx", "tflite")
        },
    )
    yield Network("MobileNetV2, random weights", dict(seeded(scratch)))


def seeded(scratch: Path) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """The seeded network; its TFLite form is TensorFlow's, where that is installed."""
    source = scratch / "mobilenet.onnx"
    onnx.save(MobileNetV2().model(), str(source))
    splits = {
        "calibration": [each["image"][0] for each in images(CALIBRATED, seed=1)],
        "test": [each["image"][0] for each in images(HELD_OUT, seed=2)],
    }
    yield "onnx", stored(source, "image", splits)
    if importlib.util.find_spec("tensorflow") is None:
        return
    from onnx_in_tensorflow import to_tflite

    lite = source.with_suffix(".tflite")
    lite.write_bytes(to_tflite(source, None))
    moved = {
        name: [np.moveaxis(image, 0, -1) for image in pictures] for name, pictures in splits.items()
    }
    yield "tflite", stored(lite, api.open_model(lite).inputs[0].names[0], moved)


def stored(model: Path, name: str, splits: Mapping[str, Sequence[Array]]) -> tuple[str, str, str]:
    """A model's file and its data's sources."""
    data = model.with_name(f"{model.suffix[1:]}.npz")
    arrays: dict[str, Any] = {f"{split}/{name}": np.stack(each) for split, each in splits.items()}
    np.savez(data, **arrays)
    return str(model), f"{data}#calibration", f"{data}#test"


def table(results: Sequence[Result]) -> str:
    """Every number, and ours against the best peer and the toolkit under it."""
    lines = []
    for network in dict.fromkeys(result.network for result in results):
        mine = [result for result in results if result.network == network]
        numbers = {each.quantizer: each.sqnr_db for each in mine if each.sqnr_db is not None}
        peers = {name: number for name, number in numbers.items() if name in PEERS}
        lines += [
            "",
            network,
            f"  {'quantizer':30} {'SQNR':>8}  {'to its toolkit':>14}  {'to the best peer':>16}",
        ]
        for each in mine:
            if each.sqnr_db is None:
                lines.append(f"  {each.quantizer:30} not measured: {each.reason}")
                continue
            toolkit = peers.get(BUILDS_ON.get(each.quantizer, ""))
            against = (toolkit, max(peers.values(), default=None)) if each.quantizer in OURS else ()
            shown = "".join(
                f"  {'' if other is None else f'{each.sqnr_db - other:+.1f} dB':>{width}}"
                for other, width in zip(against, (14, 16), strict=False)
            )
            lines.append(f"  {each.quantizer:30} {each.sqnr_db:5.1f} dB{shown}")
    return "\n".join(lines[1:])


def main() -> None:
    """Measure everything, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", help=".onnx or .tflite files, instead of the bundled")
    parser.add_argument("--calibration", help="data to calibrate on, e.g. data.npz#calibration")
    parser.add_argument("--held-out", help="data to compare on, e.g. data.npz#test")
    parser.add_argument("--json", action="store_true", help="the raw numbers instead of the table")
    asked = parser.parse_args()
    if asked.models and not (asked.calibration and asked.held_out):
        parser.error("models need --calibration and --held-out")
    with tempfile.TemporaryDirectory() as scratch:
        networks = [
            Network(
                Path(model).name,
                {Path(model).suffix[1:]: (model, asked.calibration, asked.held_out)},
            )
            for model in asked.models
        ] or bundled(Path(scratch))
        results = []
        for network in networks:
            for quantizer in (*PEERS, *OURS):
                print(f"{network.name}: {quantizer}", file=sys.stderr, flush=True)
                results.append(in_a_process(network, quantizer))
    print(
        json.dumps([asdict(each) for each in results], indent=1) if asked.json else table(results)
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_one(*sys.argv[2:])
    else:
        main()
