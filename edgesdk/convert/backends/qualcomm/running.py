"""Outputs of a converted model: the HTP's, from Qualcomm's emulator, and the CPU provider's.

The emulator runs the compiled model where it lies beside the INT8 one, so what the device's HTP is
compared with is what ships. It takes up to seconds an input, and runs in a process of its own.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edgesdk.convert.backends import onnxruntime as cpu
from edgesdk.convert.backends.qualcomm.compiling import CONTEXT_FILE
from edgesdk.convert.toolchains import Array
from edgesdk.errors import ConversionError
from edgesdk.processes import run_to_end

EMULATOR = "htp"
"""The kernel path, as the agent's adapter names it."""
LOADING_DEADLINE_S = 900.0
INPUT_DEADLINE_S = 300.0
"""For each input, on top."""
_EMULATES = {"x86_64", "AMD64"}
_JOB = [sys.executable, "-m", "edgesdk.convert.backends.qualcomm.emulate_job"]
_WHO = "Qualcomm's HTP emulator"


def kernels() -> tuple[str, ...]:
    """The HTP's, where the emulator exists for this machine, and the CPU provider's."""
    return (EMULATOR, *cpu.kernels()) if platform.machine() in _EMULATES else cpu.kernels()


def run(path: Path, kernel: str, inputs: Iterable[Sequence[Array]]) -> Iterator[Sequence[Array]]:
    """Outputs on this workstation; see `edgesdk.convert.toolchains.Backend`.

    Raises:
        ConversionError: the emulator refused the model, crashed or did not end.
    """
    if kernel != EMULATOR:
        yield from cpu.run(path, kernel, inputs)
        return
    compiled = path.with_name(CONTEXT_FILE)
    yield from _emulated(compiled if compiled.is_file() else path, list(inputs))


def _emulated(path: Path, inputs: list[Sequence[Array]]) -> Iterator[Sequence[Array]]:
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        rows = {
            f"{index}/{place}": a for index, row in enumerate(inputs) for place, a in enumerate(row)
        }
        np.savez(work / "inputs.npz", allow_pickle=False, **rows)
        deadline_s = LOADING_DEADLINE_S + INPUT_DEADLINE_S * len(inputs)
        command = [*_JOB, str(path.resolve()), "inputs.npz", "outputs.npz"]
        ended = run_to_end(command, deadline_s, directory=work)
        if not ended.succeeded or not (work / "outputs.npz").is_file():
            raise ConversionError(ended.sentence(_WHO, deadline_s), details=ended.last_lines())
        with np.load(work / "outputs.npz", allow_pickle=False) as outputs:
            for index in range(len(inputs)):
                places = sum(name.startswith(f"{index}/") for name in outputs.files)
                yield [outputs[f"{index}/{place}"] for place in range(places)]
