"""Run a toolkit's job in a process of its own, under a deadline, and read its answer.

A toolkit may crash, hang, print what it likes or end the process; none of it reaches the caller but
as one sentence. What a job is asked and what it answers is in `formats/jobs/protocol.py`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesdk.errors import ConversionError, EdgeSDKError, ModelError, ToolchainMissing
from edgesdk.models.types import TensorSpec
from edgesdk.processes import CannotStart, Ended, printable, run_to_end

JOBS = Path(__file__).parent / "formats" / "jobs"
_TAIL_LINES = 8
_KINDS: Mapping[str, type[EdgeSDKError]] = {
    "model": ModelError,
    "conversion": ConversionError,
}


@dataclass(frozen=True, slots=True)
class Job:
    """What to run.

    Args:
        name: of the script in `formats/jobs/`.
        python: the interpreter that has the toolkit.
        requirement: what to `pip install` for it.
        deadline_s: it is killed after so many seconds.
        isolated: the interpreter is not ours, so our search path is not for it.
    """

    name: str
    python: str
    requirement: str
    deadline_s: float
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """What the job is to do; the fields are those of `protocol.Request`."""

    action: str
    source: Path
    label: str
    factory: str = ""
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    output: Path | None = None
    probes: Path | None = None
    source_outputs: Path | None = None
    distributions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a job answered; see `protocol.Answer`."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sha256: str
    versions: Mapping[str, str]


def run_job(job: Job, task: Task, workdir: Path) -> Answer:
    """Run the job to its end.

    Args:
        workdir: for its scratch files, which are removed.

    Raises:
        ModelError: the job found the model unusable.
        ConversionError: the toolkit refused the model, crashed, hung or answered nonsense.
        ToolchainMissing: the toolkit is not there.
    """
    with tempfile.TemporaryDirectory(prefix=f"{job.name}.", dir=workdir) as folder:
        scratch = Path(folder)
        request = scratch / "request.json"
        result = scratch / "result.json"
        request.write_text(json.dumps(_request(task, scratch, result)))
        ended = _run(job, [job.python, str(JOBS), job.name, str(request)], scratch)
        if not result.is_file():
            raise _died(job, task, ended)
        return _parse(job, task, result.read_bytes(), ended.tail(_TAIL_LINES))


def _request(task: Task, folder: Path, result: Path) -> Mapping[str, object]:
    return {
        "action": task.action,
        "source": str(task.source.absolute()),
        "label": task.label,
        "factory": task.factory,
        "input_shapes": {name: list(shape) for name, shape in task.input_shapes.items()},
        "inputs": [_tensor(spec) for spec in task.inputs],
        "outputs": [_tensor(spec) for spec in task.outputs],
        "output": _path(task.output),
        "probes": _path(task.probes),
        "source_outputs": _path(task.source_outputs),
        "folder": str(folder),
        "result": str(result),
        "distributions": list(task.distributions),
    }


def _tensor(spec: TensorSpec) -> Mapping[str, object]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype}


def _path(path: Path | None) -> str:
    return "" if path is None else str(path.absolute())


def _run(job: Job, argv: Sequence[str], scratch: Path) -> Ended:
    dropped = {"PYTHONPATH", "PYTHONHOME"} if job.isolated else set()
    environ = {key: value for key, value in os.environ.items() if key not in dropped}
    environ |= {"TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    try:
        return run_to_end(argv, job.deadline_s, scratch=scratch, environ=environ)
    except CannotStart as error:
        raise ToolchainMissing(f"{job.python} cannot be started: {error.strerror}") from error


def _died(job: Job, task: Task, ended: Ended) -> ConversionError:
    what = f"{_doing(task)} ({job.name})"
    hint = ""
    if ended.code is None:
        happened = f"did not end within {job.deadline_s:g} s and was stopped"
    elif ended.killed_by:
        happened = f"crashed: its process was killed by {ended.killed_by}"
        hint = "the system may be out of memory" if ended.killed_by == "SIGKILL" else ""
    else:
        happened = f"ended with status {ended.code} and without an answer"
    return ConversionError(f"{what} {happened}", hint=hint, details=ended.tail(_TAIL_LINES))


def _doing(task: Task) -> str:
    if task.action == "describe":
        return f"opening {task.label}"
    if task.action == "run":
        return f"running {task.label}"
    return f"converting {task.label} to {task.action}"


def _parse(job: Job, task: Task, content: bytes, tail: tuple[str, ...]) -> Answer:
    try:
        answer = json.loads(content)
        refused = answer.get("refused")
        if refused is not None:
            raise _refusal(job, task, refused)
        done = answer["ok"]
        return Answer(
            inputs=tuple(_spec(each) for each in done["inputs"]),
            outputs=tuple(_spec(each) for each in done["outputs"]),
            sha256=str(done["sha256"]),
            versions={str(name): str(found) for name, found in done["versions"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConversionError(
            f"{_doing(task)} ({job.name}) answered what is no answer of a job", details=tail
        ) from error


def _refusal(job: Job, task: Task, refused: Mapping[str, Any]) -> EdgeSDKError:
    message = _shown(refused["message"])
    details = [_shown(line) for line in refused["details"]]
    if refused["kind"] == "missing":
        return ToolchainMissing(
            f"{_doing(task)} needs {message}, which is not installed",
            hint=f'install it with: pip install "{job.requirement}"',
        )
    return _KINDS[refused["kind"]](message, hint=_shown(refused["hint"]), details=details)


def _shown(text: object) -> str:
    """Text of a toolkit as one line that is safe to show."""
    return " ".join(printable(str(text)).replace("\t", " ").splitlines())


def _spec(content: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(int(size) for size in content["shape"])
    return TensorSpec(str(content["name"]), shape, str(content["dtype"]))
