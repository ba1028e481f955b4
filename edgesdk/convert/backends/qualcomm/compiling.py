"""QDQ ONNX to a context binary for one SoC with onnxruntime-qnn, and the proof that it is one.

The compiler runs in a process of its own under a deadline. It accepts SoC numbers that it does not
know, and leaves operators to the CPU that it cannot place: neither passes here. The numbers are
checked against `edgesdk.targets.qualcomm`, falling back is forbidden, and afterwards the result
must consist of nothing but the binary, which must itself name the SoC.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from edgesdk.convert.backends.qualcomm.context import made_for, read_context
from edgesdk.convert.backends.qualcomm.trace import TRACE_FILE, Refused, read_log, read_trace
from edgesdk.convert.backends.toolkits import is_full
from edgesdk.convert.macs import macs
from edgesdk.convert.toolchains import Compiled
from edgesdk.errors import ConversionError, IncompatibleTarget
from edgesdk.models.reading import read_graph
from edgesdk.processes import Ended, run_to_end
from edgesdk.targets.qualcomm import SOCS, soc_problem
from edgesdk.targets.types import Htp
from edgesdk.values.artifact import Compilation
from edgesdk.values.forecast import Placement
from edgesdk.values.plan import ConversionPlan

COMPILER = "onnxruntime-qnn"
DEADLINE_S = 1800.0
"""A MobileNetV2 takes seconds; large networks take minutes."""
HTP = "htp"
"""The compute unit's id in our descriptors."""
OP_TRACE = "model_op_trace.json"
"""What the compiler said of each operator, beside the compiled model."""

CONTEXT_FILE = "model_ctx.onnx"
"""What the device loads; it names the binary."""

_QUANTIZED = "model.onnx"
_JOB = [sys.executable, "-m", "edgesdk.convert.backends.qualcomm.compile_job"]
_WHO = "Qualcomm's compiler"
_EVERYTHING, _WARNINGS = 0, 2
"""Severities from which on ONNX Runtime logs."""
_FELL_BACK = re.compile(r"fallback to CPU EP has been explicitly disabled|not selected by that EP")
"""What ONNX Runtime says when the compiler left operators over."""


def compile(quantized: Path, plan: ConversionPlan, directory: Path) -> Compiled:
    """Compile the INT8 model; see `edgesdk.convert.toolchains.Compiler`.

    Writes model_ctx.onnx, the binary that it names, and the compiler's account of the operators.
    """
    htp = require_htp(plan)
    with tempfile.TemporaryDirectory(prefix=".compiling.", dir=directory) as scratch:
        work = Path(scratch)
        shutil.copyfile(quantized, work / _QUANTIZED)
        ended = _run(work, htp, _WARNINGS)
        if not ended.succeeded:
            raise _failure(ended, work, plan, htp)
        binary = _checked(work, htp, ended)
        model, companion = directory / CONTEXT_FILE, directory / binary.name
        for source, target in (
            (work / CONTEXT_FILE, model),
            (binary, companion),
            (work / TRACE_FILE, directory / OP_TRACE),
        ):
            source.rename(target)
    account = Compilation(
        status="compiled",
        compiler=COMPILER,
        version=version(COMPILER),
        placements=_all_on_htp(quantized),
    )
    return Compiled(account, model, companion)


def _run(work: Path, htp: Htp, severity: int) -> Ended:
    numbers = (str(htp.soc_model.value), str(htp.arch.value), str(severity))
    command = [*_JOB, _QUANTIZED, CONTEXT_FILE, *numbers]
    return run_to_end(command, DEADLINE_S, directory=work)


def require_htp(plan: ConversionPlan) -> Htp:
    """What the plan says of the HTP.

    Raises:
        IncompatibleTarget: nothing, or what our table of SoCs does not hold.
    """
    htp = plan.accelerator.htp
    if htp is None:
        raise IncompatibleTarget(
            f"{plan.target_id} does not say which HTP it has",
            hint="its descriptor needs soc_model and arch in [accelerator.htp]",
        )
    problem = soc_problem(htp.soc_model.value, htp.arch.value)
    if problem is not None:
        raise IncompatibleTarget(f"{plan.target_id} does not hold: {problem}")
    return htp


def _failure(ended: Ended, work: Path, plan: ConversionPlan, htp: Htp) -> ConversionError:
    if is_full(work):
        return ConversionError(
            f"the disk is full: {_WHO} could not write its result",
            details=ended.last_lines(),
            hint="free some space and run edgesdk convert again",
        )
    refused = _refused(work, htp) if _FELL_BACK.search(ended.said) else ()
    if refused:
        return _refusal(refused, plan)
    return ConversionError(ended.sentence(_WHO, DEADLINE_S), details=ended.last_lines())


def _refused(work: Path, htp: Htp) -> tuple[Refused, ...]:
    """Operators that the HTP does not take, by the trace, or else by the log of a second try."""
    trace = read_trace(work / TRACE_FILE)
    refused = trace.refused if trace is not None else ()
    refused = refused or read_log(_run(work, htp, _EVERYTHING).said)
    real = tuple(each for each in refused if not each.type.endswith("uantizeLinear"))
    return tuple(dict.fromkeys(real or refused))


def _refusal(refused: tuple[Refused, ...], plan: ConversionPlan) -> ConversionError:
    names = ", ".join(dict.fromkeys(each.type for each in refused))
    count = f"{len(refused)} operator" + ("s" if len(refused) > 1 else "")
    cure = (
        "quantize what the recipe keeps in float, "
        if plan.keep_float or any(each.precision == "float32" for each in plan.overrides)
        else ""
    )
    return ConversionError(
        f"the HTP of {plan.target_id} does not take {count} of the model ({names})",
        details=[f"{each.type} {each.name}: {each.reason}" for each in refused],
        hint=f"{cure}replace them in the model, or choose a target that runs on the CPU "
        "(edgesdk target ls)",
    )


def _checked(work: Path, htp: Htp, ended: Ended) -> Path:
    """The binary, once everything holds that must."""
    try:
        context = read_context(work / CONTEXT_FILE)
        if context.left:
            raise ValueError(f"left to the CPU: {', '.join(context.left)}")
        binary = work / Path(context.binary).name
        if not context.binary.startswith("model") or not binary.stat().st_size:
            raise ValueError(f"found the binary {context.binary!r}, expected one with something in")
        if not (work / TRACE_FILE).is_file():
            raise ValueError(f"{TRACE_FILE} is missing")
    except (OSError, ValueError) as error:
        raise ConversionError(
            f"{_WHO} ended without an error and without a whole context binary",
            details=[str(error), *ended.last_lines()],
            hint="run edgesdk convert again; report it if it happens twice",
        ) from error
    _require_made_for(binary, htp)
    return binary


def _require_made_for(binary: Path, htp: Htp) -> None:
    wanted = SOCS[htp.soc_model.value]
    found = made_for(binary)
    if found is None or (found.soc, found.arch) != (wanted.name, wanted.arch):
        told = "no SoC" if found is None else f"{found.soc} (v{found.arch})"
        raise ConversionError(
            f"{_WHO} made a binary for {told}, expected {wanted.name} (v{wanted.arch})",
            hint=f"{COMPILER} {version(COMPILER)} may number SoCs in another way; report it",
        )


def _all_on_htp(quantized: Path) -> tuple[Placement, ...]:
    """Falling back is forbidden, and nothing but the binary is in the result: all operators."""
    graph = read_graph(quantized)
    return tuple(
        Placement(each.index, each.type, each.name, HTP, macs=macs(each, graph))
        for each in graph.operators
    )
