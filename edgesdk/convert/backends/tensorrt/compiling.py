"""The converted model before NVIDIA's own ONNX parser and compiler: TensorRT-RTX, without a GPU.

It is not the TensorRT of a Jetson, but its parser is the same code some releases on, and it holds
models to the same form of Q/DQ operators. The engine that it builds is for another GPU and is
thrown away: the device builds its own. What the device's older release lacks is in the descriptor's
operator rules.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgesdk.convert.backends.tensorrt.shape import require_shape
from edgesdk.convert.toolchains import Compiled
from edgesdk.errors import ConversionError, MalformedFile
from edgesdk.processes import run_to_end
from edgesdk.serial import read_json
from edgesdk.values.artifact import Compilation
from edgesdk.values.plan import ConversionPlan

COMPILER = "TensorRT-RTX"
DEADLINE_S = 900.0
"""A MobileNetV2 takes seconds."""

# As a file, without this package: nothing else is loaded into the process that may crash.
_JOB = (sys.executable, "-P", str(Path(__file__).with_name("parsing_job.py")))
_ANSWER = "answer.json"
_NOT_OURS = "Cuda Runtime ("
"""Begins what it says of the GPU that a workstation may not have."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the parser said of one operator.

    Args:
        code: NVIDIA's name of the kind of error, e.g. "UNSUPPORTED_NODE".
        words: the parser's own.
    """

    operator: str
    name: str
    code: str
    words: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the child process wrote.

    Args:
        parsed: the parser took the model.
        built: the compiler made an engine of it.
        errors: that were logged, in order.
    """

    version: str
    parsed: bool
    built: bool
    refusals: tuple[Refusal, ...]
    errors: tuple[str, ...]


def compile(quantized: Path, plan: ConversionPlan, directory: Path) -> Compiled:
    """Have the model parsed and compiled; see `edgesdk.convert.toolchains.Compiler`.

    Nothing is written: the file that ships is `quantized`. Our own rules are asked last, with the
    parser or without it: it takes unsigned activations for signed ones with no more than a warning.
    """
    account = _asked(quantized)
    require_shape(onnx.load(str(quantized)))
    return Compiled(account)


def _asked(quantized: Path) -> Compilation:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return Compilation(
            "not compiled",
            compiler=COMPILER,
            reason="NVIDIA's parser is not installed here, so nothing but our own rules has been "
            'asked; install it with: pip install "edgesdk[jetson]"',
        )
    answer = ask(quantized)
    _require_taken(answer)
    return Compilation(
        "accepted",
        compiler=COMPILER,
        version=answer.version,
        reason="parsed and compiled here; that engine was thrown away, the device builds its own "
        "with its own TensorRT",
    )


def ask(model: Path, job: tuple[str, ...] = _JOB, deadline_s: float = DEADLINE_S) -> Answer:
    """What the parser and the compiler say, in a process of their own.

    Args:
        job: command that is given the model and the file to answer in.

    Raises:
        ConversionError: it crashed, hung, or answered nothing that can be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        command = [*job, str(model.resolve()), _ANSWER]
        ended = run_to_end(command, deadline_s, directory=folder)
        if not ended.succeeded:
            raise ConversionError(
                ended.sentence(COMPILER, deadline_s),
                hint="report it with the model; without the package tensorrt-rtx-cu12 the model is "
                "converted and not compiled here",
                details=ended.last_lines(),
            )
        try:
            return read_json(Answer, folder / _ANSWER)
        except MalformedFile as error:
            raise ConversionError(
                f"{COMPILER} ended without an answer that can be read",
                details=error.details or (error.message,),
            ) from error


def _require_taken(answer: Answer) -> None:
    if answer.parsed and answer.built:
        return
    words = [_told(refusal) for refusal in answer.refusals] or list(answer.errors)
    raise ConversionError(
        f"{COMPILER} {answer.version} does not "
        + ("compile the model" if answer.parsed else "parse the model, so TensorRT would not"),
        hint=_cure(answer),
        details=words,
    )


def _told(refusal: Refusal) -> str:
    lines = [line for line in refusal.words.splitlines() if _NOT_OURS not in line]
    words = " ".join(line.strip() for line in lines if line.strip()) or refusal.code
    if words == "false":  # an assertion without a message
        words = refusal.code
    return f"{refusal.operator} {refusal.name}: {words}".strip()


def _cure(answer: Answer) -> str:
    if any(refusal.code.startswith("UNSUPPORTED") for refusal in answer.refusals):
        return (
            "write these operators with others that TensorRT has (edgesdk check lists those of "
            "the model), or choose a CPU target of the same board"
        )
    if any("Linear" in refusal.operator for refusal in answer.refusals):
        return "start from the float model: Q/DQ operators that it brings along are not changed"
    return "export the model again with the operator set that the target's TensorRT reads"
