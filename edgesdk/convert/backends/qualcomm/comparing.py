"""INT8 against float, activation by activation, save those that are cut off on purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnx

from edgesdk.convert.backends import onnxruntime as cpu
from edgesdk.convert.toolchains import Sample
from edgesdk.values.artifact import TensorError

_CUT_OFF = ("Relu", "Clip")


def compare(
    float_path: Path, int8_path: Path, samples: Sequence[Sample]
) -> tuple[TensorError, ...]:
    """See `edgesdk.convert.toolchains.Backend`.

    What Relu or Clip alone reads may be stored in the range that it leaves; the difference to the
    float model is then none of the quantization's, so such activations are not compared.
    """
    nodes = onnx.load(str(float_path)).graph.node
    readers = Counter(name for node in nodes for name in node.input)
    read = {node.input[0] for node in nodes if node.op_type in _CUT_OFF}
    errors = cpu.compare(float_path, int8_path, samples)
    return tuple(each for each in errors if each.name not in read or readers[each.name] > 1)
