"""What users choose among, by the words they type.

A module of its own and without any class, since the command line needs no more of it to start.
"""

from __future__ import annotations

from typing import Literal

Precision = Literal["w8a8", "w8a16", "fp16", "w4a8", "w4a16"]
"""Bits of weights and activations, as the field spells them."""
Method = Literal["minmax", "percentile", "entropy", "mse"]
"""How a tensor's range is chosen from what was seen: see `edgesdk.calibration.estimators`."""
PortDType = Literal["int8", "uint8", "float32"]
"""Type of a converted model's inputs and outputs."""
Quantizer = Literal["aimet-onnx", "onnxruntime"]
"""Whose quantizer makes an ONNX model's Q/DQ form."""
EmulatedKind = Literal["python", "sshd", "arm64"]
"""What stands in for a board: an SSH server in Python, OpenSSH's, or an emulated aarch64 Debian."""
DeviceKind = Literal["board", "python", "sshd", "arm64"]
"""A board, or what stands in for one."""


def stand_in(kind: str) -> str:
    """What to call what stands in for a board; "" of a board, whose figures are a device's."""
    return {"board": "", "arm64": "emulated device"}.get(kind, "virtual device")
