"""Where the tensors of a model file lie: byte ranges, types and scales, read without any toolkit.

For what treats a file as bytes but wants to know what they mean. A file that cannot be followed has
no ranges: nothing is refused here, and nothing relies on the ranges being all there are.
"""

from __future__ import annotations

from edgesdk.models.ranges import onnx, openvino, tflite
from edgesdk.models.ranges.types import Layout

__all__ = ["read_layout"]


def read_layout(content: bytes, described_by: bytes = b"") -> Layout:
    """The tensors of a model file of any format; none where it is of an unknown one, or broken.

    Args:
        described_by: the model's own file, where `content` is the weights that lie beside it.
    """
    if content[4:8] == tflite.IDENTIFIER:
        return tflite.read_layout(content)
    if described_by.lstrip()[:1] == b"<":
        return openvino.read_layout(content, described_by)
    return onnx.read_layout(content, described_by)
