"""Quantization by aimet-onnx, run as a process of its own: `python -m ...aimet_job`.

Arguments: float model, spooled samples, request (JSON), QDQ model to write. `encodings.json` is
written beside it. This is the only module that imports AIMET, and with it PyTorch.
"""

from __future__ import annotations

import device_agent.runtimes.onnxruntime  # noqa: F401 - turns the telemetry of onnxruntime off

# isort: split
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from aimet_onnx.quantsim import QuantizationSimModel

from edgesdk.convert.toolchains import ENCODINGS_FILE, Array

_STEM = "aimet"


def main(source: Path, samples: Path, request: Path, output: Path) -> None:
    """Quantize."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    simulation = QuantizationSimModel(
        onnx.load(str(source)),
        param_type="int8",
        activation_type=asked["activation_type"],
        quant_scheme=asked["quant_scheme"],
        config_file=asked["config_file"],
        providers=["CPUExecutionProvider"],
    )
    simulation.compute_encodings(_samples(samples, asked["inputs"]))
    simulation.export(".", _STEM, export_model=False, encoding_version="2.0.0")
    os.replace(f"{_STEM}.encodings", output.with_name(ENCODINGS_FILE))
    # Weights and biases as integers: a float bias has no place on the HTP.
    quantized = simulation.to_onnx_qdq(export_int32_bias=True, prequantize_constants=True)
    onnx.save(quantized, str(output))


def _samples(path: Path, inputs: Sequence[str]) -> Iterator[dict[str, Array]]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        while stream.tell() < size:
            yield {name: np.load(stream, allow_pickle=False) for name in inputs}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
