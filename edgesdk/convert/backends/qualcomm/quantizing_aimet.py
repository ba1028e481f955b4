"""The QDQ form that the HTP takes, by aimet-onnx, in a process of its own.

AIMET knows which tensors each version of the HTP quantizes, and how. Its models of one precision
run whole on the HTP; those of several do not (per-channel weights stand apart from their operators
there), so such plans need ONNX Runtime's quantizer. Cross-layer equalization is left out: weights
with one scale a channel do not gain by it, and it puts ReLU for ReLU6, which is another function.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx

from edgesdk.choices import Method
from edgesdk.convert.toolchains import ENCODINGS_FILE, Sample
from edgesdk.errors import ConversionError
from edgesdk.files import write_durable
from edgesdk.processes import run_to_end
from edgesdk.targets.types import Htp
from edgesdk.values.plan import ConversionPlan

DEADLINE_S = 3600.0
"""A MobileNetV2 with 100 samples takes seconds, and importing PyTorch some more."""

SCHEMES: Mapping[Method, str] = {
    "minmax": "min_max",
    "mse": "tf_enhanced",
}
"""Our range methods to AIMET's names; its "tf enhanced" minimizes the squared error. It has no
entropy method, and its percentile cannot be set from aimet-onnx."""

_FLOAT, _SAMPLES, _REQUEST = "float.onnx", "samples.npys", "request.json"
_QUANTIZED = "quantized.onnx"
_JOB = [sys.executable, "-m", "edgesdk.convert.backends.qualcomm.aimet_job"]
_WHO = "aimet-onnx"


def require_possible(plan: ConversionPlan) -> None:
    """Refuse what AIMET does not make for the HTP.

    Raises:
        ConversionError: the plan mixes precisions, or wants ranges or scales AIMET does not have.
    """
    problem = _problem(plan)
    if problem is not None:
        raise ConversionError(problem, hint='set quantizer = "onnxruntime" in the recipe')


def _problem(plan: ConversionPlan) -> str | None:
    if plan.overrides or plan.keep_float:
        return "aimet-onnx makes models of one precision for the HTP, found overrides or keep_float"
    if plan.range_method not in SCHEMES:
        return (
            f"aimet-onnx makes ranges by {', '.join(SCHEMES)}, found the method {plan.range_method}"
        )
    if plan.scheme.weights.granularity != "per-channel" or not plan.scheme.weights.symmetric:
        return "aimet-onnx makes symmetric weights with a scale a channel, found another scheme"
    return None


def convert(
    model: onnx.ModelProto,
    plan: ConversionPlan,
    htp: Htp,
    samples: Callable[[], Iterator[Sample]],
    output: Path,
    advance: Callable[[int], None],
) -> None:
    """Quantize; see `edgesdk.convert.toolchains.Backend`. Samples count when they are handed over.

    Args:
        model: float, as `quantizing.ready` makes it.

    Raises:
        ConversionError: AIMET failed, crashed or did not end.
    """
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        onnx.save(model, str(work / _FLOAT))
        inputs = [value.name for value in model.graph.input]
        _spool(samples(), inputs, work / _SAMPLES, advance)
        (work / _REQUEST).write_text(json.dumps(_request(plan, htp, inputs)), encoding="utf-8")
        command = [*_JOB, _FLOAT, _SAMPLES, _REQUEST, _QUANTIZED]
        ended = run_to_end(command, DEADLINE_S, directory=work)
        if not ended.succeeded or not (work / _QUANTIZED).is_file():
            raise ConversionError(ended.sentence(_WHO, DEADLINE_S), details=ended.last_lines())
        write_durable(output, (work / _QUANTIZED).read_bytes())
        if plan.encodings:
            write_durable(output.with_name(ENCODINGS_FILE), (work / ENCODINGS_FILE).read_bytes())


def _spool(
    samples: Iterator[Sample], inputs: list[str], path: Path, advance: Callable[[int], None]
) -> None:
    """All inputs of all samples one after the other; memory does not grow with their number."""
    with path.open("wb") as stream:
        for sample in samples:
            for name in inputs:
                np.save(stream, sample[name], allow_pickle=False)
            advance(1)


def _request(plan: ConversionPlan, htp: Htp, inputs: list[str]) -> dict[str, object]:
    return {
        "inputs": inputs,
        "quant_scheme": SCHEMES[plan.range_method],
        "activation_type": f"int{plan.scheme.activations.bits}",
        "config_file": f"htp_v{htp.arch.value}",
    }
