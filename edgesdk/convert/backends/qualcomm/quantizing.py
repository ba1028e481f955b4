"""The QDQ form that the HTP takes, by ONNX Runtime's quantizer or by AIMET's.

Both get the same float model: folded, at opset 13 or above, with the sequences fused that the HTP
has an operator for (GELU, LayerNormalization, L2 normalization, SpaceToDepth), and QNN's rules for
quantization are kept by both.
"""

from __future__ import annotations

import device_agent.runtimes.onnxruntime  # noqa: F401 - turns the telemetry of onnxruntime off

# isort: split
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
from onnxruntime.quantization.execution_providers.qnn import qnn_preprocess_model

from edgesdk.convert.backends import onnxruntime as cpu
from edgesdk.convert.backends.onnx_calibration import activations, calibrated_ranges
from edgesdk.convert.backends.onnx_precisions import assigned
from edgesdk.convert.backends.onnx_qdq import HTP, quantize
from edgesdk.convert.backends.onnx_rewrites import opset, rewritten
from edgesdk.convert.backends.onnx_toolkit import at_opset, preprocessed, their_failures
from edgesdk.convert.backends.qualcomm import quantizing_aimet
from edgesdk.convert.backends.qualcomm.compiling import require_htp
from edgesdk.convert.backends.qualcomm.encodings import encodings, write_encodings
from edgesdk.convert.backends.qualcomm.unsigned import unsigned_weights
from edgesdk.convert.keeping import KEPT
from edgesdk.convert.toolchains import ENCODINGS_FILE, Sample
from edgesdk.values.plan import ConversionPlan

_OPSET_OF_16_BITS = 21


def prepare(source: Path, plan: ConversionPlan, output: Path) -> None:
    """Write the float model as one file whose input shapes are the plan's, for any runtime.

    Raises:
        IncompatibleTarget: the target's HTP is not one that we know.
    """
    require_htp(plan)
    cpu.prepare(source, plan, output)


def convert(
    source: Path,
    plan: ConversionPlan,
    samples: Callable[[], Iterator[Sample]],
    output: Path,
    advance: Callable[[int], None],
) -> None:
    """Quantize; see `edgesdk.convert.toolchains.Backend`.

    Writes `encodings.json` beside the output where the plan asks for it.
    """
    if plan.quantizer == "aimet-onnx":
        quantizing_aimet.require_possible(plan)
        model = _for_width(ready(source), plan)
        quantizing_aimet.convert(model, plan, require_htp(plan), samples, output, advance)
        return
    model = _for_width(ready(source), plan)
    settled = assigned(model, plan, HTP, activations(model))
    ranges = calibrated_ranges(model, plan, samples, advance, settled.style, settled.kept)
    quantized = unsigned_weights(quantize(model, ranges, settled.style, settled.kept))
    for node in quantized.graph.node:
        if node.name in settled.kept:
            node.doc_string = KEPT
    onnx.save(quantized, str(output))
    if plan.encodings:
        write_encodings(
            encodings(quantized), plan.toolchain["onnxruntime"], output.with_name(ENCODINGS_FILE)
        )


def ready(source: Path) -> onnx.ModelProto:
    """The float model with the operators that the HTP has, every one of them named."""
    model = rewritten(preprocessed(source))
    # The toolkit fails on a model with metadata (it makes a dict of them, wrongly).
    del model.metadata_props[:]
    with tempfile.TemporaryDirectory() as scratch:
        clean, fused = Path(scratch) / "clean.onnx", Path(scratch) / "fused.onnx"
        onnx.save(model, str(clean))
        with their_failures(Path(scratch)):
            changed = qnn_preprocess_model(clean, fused, fuse_layernorm=True)
        return rewritten(onnx.load(str(fused))) if changed else model


def _for_width(model: onnx.ModelProto, plan: ConversionPlan) -> onnx.ModelProto:
    """At an operator set with 16-bit QuantizeLinear, where the plan has any.

    Below, it stands in another domain, which ONNX's inference of types and shapes does not know.
    """
    precisions = (plan.precision, *(override.precision for override in plan.overrides))
    if "w8a16" not in precisions or opset(model) >= _OPSET_OF_16_BITS:
        return model
    return at_opset(model, _OPSET_OF_16_BITS)
