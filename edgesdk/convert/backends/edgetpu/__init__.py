"""Float TFLite to the full-integer TFLite that the Edge TPU's compiler takes.

It is LiteRT's conversion. Golden outputs are made for both ways that the model may run on the
device: on LiteRT's CPU kernels, as long as it is not compiled, and on an Edge TPU. No workstation
has the latter's arithmetic. In its place stand LiteRT's built-in kernels, which compute what
TFLite's integer operators are defined to; an Edge TPU may differ from them by a step, and what is
beyond one step counts against the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from edgesdk.convert.backends import litert
from edgesdk.convert.backends.litert import compare, convert, describe, prepare
from edgesdk.convert.toolchains import Array

__all__ = ["KERNEL", "compare", "convert", "describe", "kernels", "prepare", "run"]

KERNEL: Final = "edgetpu"
"""What the device's adapter calls the Edge TPU's kernel path."""
_IN_ITS_PLACE = "builtin"


def kernels() -> tuple[str, ...]:
    """The Edge TPU's, and LiteRT's for a model that is not compiled."""
    return (KERNEL, *litert.kernels())


def run(path: Path, kernel: str, inputs: Iterable[Sequence[Array]]) -> Iterator[Sequence[Array]]:
    """Outputs of the INT8 model on this workstation; see `edgesdk.convert.toolchains.Backend`.

    Raises:
        ConversionError: LiteRT refuses the model or an input.
    """
    yield from litert.run(path, _IN_ITS_PLACE if kernel == KERNEL else kernel, inputs)
