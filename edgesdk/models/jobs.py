"""Run a toolkit's job in a process of its own, under a deadline, and read its answer.

A toolkit may crash, hang, print what it likes or end the process; none of it reaches the caller but
as one sentence. What a job is asked and what it answers is in `formats/jobs/protocol.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesdk.errors import ConversionError, EdgeSDKError, ModelError, ToolchainMissing
from edgesdk.models.types import TensorSpec

JOBS = Path(__file__).parent / "formats" / "jobs"
_TAIL_LINES = 8
_TAIL_BYTES = 2**14
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
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
        log = scratch / "log"
        status = _run(job, [job.python, str(JOBS), job.name, str(request)], scratch, log)
        if not result.is_file():
            raise _died(job, task, status, _tail(log))
        return _parse(job, task, result.read_bytes(), _tail(log))


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


def _run(job: Job, argv: Sequence[str], scratch: Path, log: Path) -> int | None:
    """The exit status, negative for a signal; None when the deadline passed."""
    dropped = {"PYTHONPATH", "PYTHONHOME"} if job.isolated else set()
    environ = {key: value for key, value in os.environ.items() if key not in dropped}
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environ | {"TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise ToolchainMissing(f"{job.python} cannot be started: {error.strerror}") from error
        try:
            return process.wait(job.deadline_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _tail(log: Path) -> tuple[str, ...]:
    """The last lines the job printed, made safe to show."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = stream.read().decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return tuple(_plain(line) for line in lines[-_TAIL_LINES:])


def _plain(text: object) -> str:
    """Text of a toolkit without colours and what else a terminal would act on."""
    shown = _COLOUR.sub("", str(text))
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)


def _died(job: Job, task: Task, status: int | None, tail: tuple[str, ...]) -> ConversionError:
    what = f"{_doing(task)} ({job.name})"
    if status is None:
        return ConversionError(
            f"{what} did not end within {job.deadline_s:g} s and was stopped", details=tail
        )
    if status < 0:
        hint = "the system may be out of memory" if -status == signal.SIGKILL else ""
        return ConversionError(
            f"{what} crashed: its process was killed by {_signal(-status)}", hint=hint, details=tail
        )
    return ConversionError(f"{what} ended with status {status} and without an answer", details=tail)


def _doing(task: Task) -> str:
    if task.action == "describe":
        return f"opening {task.label}"
    if task.action == "run":
        return f"running {task.label}"
    return f"converting {task.label} to {task.action}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


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
    message = _plain(refused["message"])
    details = [_plain(line) for line in refused["details"]]
    if refused["kind"] == "missing":
        return ToolchainMissing(
            f"{_doing(task)} needs {message}, which is not installed",
            hint=f'install it with: pip install "{job.requirement}"',
        )
    return _KINDS[refused["kind"]](message, hint=_plain(refused["hint"]), details=details)


def _spec(content: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(int(size) for size in content["shape"])
    return TensorSpec(str(content["name"]), shape, str(content["dtype"]))
