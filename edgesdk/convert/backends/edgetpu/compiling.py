"""Full-integer TFLite to a model for the Edge TPU with the vendor's `edgetpu_compiler`.

The compiler is a program for 64-bit x86 Linux that no Python index has. Where it is on PATH it runs
in a process of its own under a deadline, and what counts is the file that it writes. Where it is
not, the INT8 model is all there is, and the account says so.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

from edgesdk.convert.backends.edgetpu.log import Log, read_log
from edgesdk.convert.backends.edgetpu.reading import CompiledFile, placements, read_compiled
from edgesdk.convert.backends.toolkits import is_full
from edgesdk.convert.toolchains import Compiled
from edgesdk.errors import ConversionError, ModelError
from edgesdk.models.reading import read_graph
from edgesdk.processes import Ended, run_to_end
from edgesdk.targets.types import EdgeTpu
from edgesdk.values.artifact import Compilation
from edgesdk.values.plan import ConversionPlan

COMPILER: Final = "edgetpu_compiler"
DEADLINE_S: Final = 900.0
"""Networks take seconds to minutes; the compiler gives itself 180 s by default."""
COMPILED_FILE: Final = "model_edgetpu.tflite"
LOG_FILE: Final = "model_edgetpu.log"
"""The compiler's own table of operators, beside the compiled model."""

_WHERE = (
    "it is a Debian package for x86-64 Linux: https://coral.ai/docs/edgetpu/compiler/ says how to "
    "install it"
)
_INPUT = "model.tflite"


def compile(quantized: Path, plan: ConversionPlan, directory: Path) -> Compiled:
    """Compile the INT8 model; see `edgesdk.convert.toolchains.Compiler`.

    Writes model_edgetpu.tflite and the compiler's log.
    """
    program = shutil.which(COMPILER)
    edgetpu = plan.accelerator.edgetpu
    if program is None or edgetpu is None:
        return Compiled(_not_compiled(edgetpu))
    with tempfile.TemporaryDirectory(prefix=".compiling.", dir=directory) as scratch:
        work = Path(scratch)
        shutil.copyfile(quantized, work / _INPUT)
        command = [program, *_options(edgetpu), _INPUT]
        ended = run_to_end(command, DEADLINE_S, directory=work)
        log = read_log(ended.said)
        account = _account(quantized, _compiled(ended, work, log), log, edgetpu)
        for name in (COMPILED_FILE, LOG_FILE):
            if (work / name).is_file():
                (work / name).replace(directory / name)
    return Compiled(account, directory / COMPILED_FILE)


def _options(edgetpu: EdgeTpu) -> list[str]:
    """`-s` prints the table of operators, `-m` is the oldest runtime, `-o` the folder to fill."""
    oldest = edgetpu.min_runtime_version
    return ["-s", *(["-m", str(oldest.value)] if oldest else []), "-o", "."]


def _not_compiled(edgetpu: EdgeTpu | None) -> Compilation:
    if edgetpu is None:
        reason = "the target's descriptor has no [accelerator.edgetpu]"
        return Compilation("not compiled", COMPILER, reason=reason)
    command = " ".join([COMPILER, *_options(edgetpu)[:-2], _INPUT])
    return Compilation(
        "not compiled",
        COMPILER,
        reason=f"{COMPILER} is not on PATH, so that the model runs on the CPU; {_WHERE}; then "
        f"convert into a new folder, or compile by hand: {command}",
    )


def _compiled(ended: Ended, work: Path, log: Log) -> CompiledFile:
    """The file that the compiler wrote.

    Raises:
        ConversionError: it failed, or wrote none that holds together.
    """
    said = log.complaints or ended.last_lines()
    if not ended.succeeded or not (work / COMPILED_FILE).is_file():
        raise _failure(ended, work, said)
    try:
        return read_compiled(work / COMPILED_FILE)
    except ModelError as error:
        raise ConversionError(
            f"{COMPILER} ended without an error, but its result is broken",
            details=[error.message, *said],
            hint="run edgesdk convert again; report it to the vendor if it happens twice",
        ) from error


def _failure(ended: Ended, work: Path, said: tuple[str, ...]) -> ConversionError:
    if is_full(work):
        return ConversionError(
            f"the disk is full: {COMPILER} could not write its result beside {work.parent}",
            details=said,
            hint="free some space and run edgesdk convert again",
        )
    happened = (
        f"{COMPILER} ended without an error and wrote no {COMPILED_FILE}"
        if ended.succeeded
        else ended.sentence(COMPILER, DEADLINE_S)
    )
    return ConversionError(happened, details=said, hint=_hint(said))


_HINTS = {
    "large activation": "give the model a smaller input, or fewer channels in its first layers",
    "dynamic-sized": "fix every input shape and reshape to constant shapes",
    "didn't find op": "the model is newer than the compiler: use an older operator in its place",
    "internal compiler error": "`edgesdk check` shows which operators are near a limit; leave out "
    "operators from the end until it compiles",
}


def _hint(said: tuple[str, ...]) -> str:
    text = " ".join(said).lower()
    return next((hint for words, hint in _HINTS.items() if words in text), "")


def _account(quantized: Path, compiled: CompiledFile, log: Log, edgetpu: EdgeTpu) -> Compilation:
    try:
        placed = placements(read_graph(quantized), compiled.graph, log.statuses())
    except ModelError as error:
        raise ConversionError(f"{COMPILER} compiled something else: {error.message}") from error
    return Compilation(
        status="compiled",
        compiler=COMPILER,
        version=log.version,
        placements=placed,
        cache=compiled.cache(edgetpu.parameter_cache_bytes.value),
        min_runtime_version=compiled.min_runtime_version or None,
    )
