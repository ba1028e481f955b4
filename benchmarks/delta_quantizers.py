"""The quantizers whose files `delta.py --trained` compares: ours and the toolkits' own.

Each takes a folder of float networks, the name of one and the calibration set to use, and gives the
INT8 file's bytes; None where a toolkit is missing or the network is not there in its format.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesdk import api

Floats = npt.NDArray[np.float32]
Quantize = Callable[[Path, str, str], bytes | None]

TARGETS = {
    "edgesdk, ONNX": ("onnx", "generic-x86-64"),
    "edgesdk, LiteRT": ("tflite", "raspberry-pi-4"),
    "edgesdk, TensorRT": ("onnx", "jetson-orin-nano@jp6.2"),
}


def _samples(folder: Path, calibration: str) -> Floats:
    with np.load(folder / f"{calibration}.npz") as arrays:
        images: Floats = arrays["first/image"].astype(np.float32)
    return images


def _ours(kind: str, target: str) -> Quantize:
    def quantize(folder: Path, name: str, calibration: str) -> bytes | None:
        model = folder / f"{name}.{kind}"
        if not model.exists():
            return None
        with tempfile.TemporaryDirectory() as scratch:
            data = Path(scratch, "data.npz")
            image = _input_of(model)
            np.savez(data, **{f"first/{image}": _samples(folder, calibration)[:, None]})
            with contextlib.redirect_stdout(io.StringIO()):
                done = api.convert(str(model), target, f"{data}#first", Path(scratch, "out"))
            compiled = done.artifact.has("quantized")
            role = "quantized" if compiled else "model"
            return (done.directory / done.artifact.file(role).path).read_bytes()  # type: ignore[arg-type]

    return quantize


def _input_of(model: Path) -> str:
    return api.open_model(str(model)).inputs[0].name


def _onnxruntime(operators: bool, per_channel: bool) -> Quantize:
    def quantize(folder: Path, name: str, calibration: str) -> bytes | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return None
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        images: Iterator[Floats] = iter(_samples(folder, calibration))

        class Reader:
            def get_next(self) -> dict[str, Floats] | None:
                image = next(images, None)
                return None if image is None else {"image": image[None]}

        with tempfile.TemporaryDirectory() as scratch:
            prepared, out = Path(scratch, "prepared.onnx"), Path(scratch, "out.onnx")
            logging.disable(logging.WARNING)
            quant_pre_process(str(folder / f"{name}.onnx"), str(prepared))
            quantize_static(
                str(prepared),
                str(out),
                Reader(),
                quant_format=QuantFormat.QOperator if operators else QuantFormat.QDQ,
                per_channel=per_channel,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return out.read_bytes()

    return quantize


def _ai_edge(recipe: str) -> Quantize:
    def quantize(folder: Path, name: str, calibration: str) -> bytes | None:
        model = folder / f"{name}.tflite"
        if importlib.util.find_spec("ai_edge_quantizer") is None or not model.exists():
            return None
        from ai_edge_quantizer import quantizer
        from ai_edge_quantizer import recipe as recipes

        image = api.open_model(str(model)).inputs[0].names[0]
        samples = [{image: each[None]} for each in _samples(folder, calibration)]
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch, "out.tflite")
            with contextlib.redirect_stdout(io.StringIO()):
                work = quantizer.Quantizer(str(model), getattr(recipes, recipe)())
                statistics = work.calibrate({"serving_default": samples})
                work.quantize(statistics).export_model(out)
            return out.read_bytes()

    return quantize


def _tflite_converter(folder: Path, name: str, calibration: str) -> bytes | None:
    if importlib.util.find_spec("tensorflow") is None:
        return None
    from onnx_in_tensorflow import to_tflite

    images = [each[None] for each in _samples(folder, calibration)]
    return to_tflite(folder / f"{name}.onnx", images)


QUANTIZERS: dict[str, Quantize] = {
    **{name: _ours(*where) for name, where in TARGETS.items()},
    "ORT QDQ, a scale a channel": _onnxruntime(operators=False, per_channel=True),
    "ORT QDQ, a scale a tensor": _onnxruntime(operators=False, per_channel=False),
    "ORT QOperator": _onnxruntime(operators=True, per_channel=True),
    "ai-edge-quantizer w8a8": _ai_edge("static_wi8_ai8"),
    "ai-edge-quantizer w8a16": _ai_edge("static_wi8_ai16"),
    "TFLiteConverter": _tflite_converter,
}
