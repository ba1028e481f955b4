"""ONNX to QDQ ONNX for Qualcomm's HTP: quantized here, compiled in `compiling`.

The HTP executes the QDQ graph as it is written, not what ONNX Runtime's CPU provider makes of it,
so precisions are read from the pairs and from what the compiler said. Golden outputs are the HTP's,
from Qualcomm's emulator, and the CPU provider's. The emulator computes in integers as the HTP does,
slowly; of its latency, and of how it rounds operators that stay in float, it says nothing.
"""

from __future__ import annotations

from edgesdk.convert.backends.qualcomm.comparing import compare
from edgesdk.convert.backends.qualcomm.describing import describe
from edgesdk.convert.backends.qualcomm.quantizing import convert, prepare
from edgesdk.convert.backends.qualcomm.running import kernels, run

__all__ = ["compare", "convert", "describe", "kernels", "prepare", "run"]
