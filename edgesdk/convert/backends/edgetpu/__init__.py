"""Float TFLite to the full-integer TFLite that the Edge TPU's compiler takes.

It is LiteRT's conversion, and LiteRT's CPU kernels compute the golden outputs. What an Edge TPU
computes is "edgetpu", a kernel path of its own: no workstation can say to the last bit what it must
give, so there are no golden outputs under that name. On a device, a model that is not compiled runs
on LiteRT's CPU kernels and is held against them.
"""

from __future__ import annotations

from edgesdk.convert.backends.litert import compare, convert, describe, kernels, prepare, run

__all__ = ["compare", "convert", "describe", "kernels", "prepare", "run"]
