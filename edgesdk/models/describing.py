"""Open models whose own framework has to read them: Keras, SavedModel and PyTorch.

The framework runs in a process of its own (`jobs`); here lies what finds the model and what
identifies it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import tempfile
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from edgesdk.errors import ModelError
from edgesdk.files import sha256_file
from edgesdk.models.jobs import Job, Task, run_job
from edgesdk.models.types import Format, Model

_DEADLINE_S = 600.0
_JOBS: Mapping[Format, tuple[str, str]] = {
    "keras": ("from_tensorflow", "edgesdk[keras]"),
    "savedmodel": ("from_tensorflow", "edgesdk[keras]"),
    "torch": ("from_torch", "edgesdk[torch]"),
}
_FACTORY = re.compile(r"(?P<place>.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<function>[A-Za-z_]\w*)")


def is_factory(path: Path) -> bool:
    """Whether it names a function, "module:function" or "file.py:function", and no file."""
    return _FACTORY.fullmatch(str(path)) is not None and not path.exists()


def open_described(
    path: Path, model_format: Format, input_shapes: Mapping[str, tuple[int, ...]]
) -> Model:
    """Open a `.keras`, `.h5` or `.pt2` file, or the folder of a SavedModel.

    Raises:
        ModelError: broken, dynamic, or otherwise not usable.
        ToolchainMissing: its framework is not installed.
        ConversionError: its framework crashed or hung on it.
    """
    files = _files(path)
    sha256 = sha256_file(path) if path.is_file() else _sha256(path, files)
    task = Task("describe", path, path.name, input_shapes=input_shapes)
    return _described(task, model_format, sha256, sum(file.stat().st_size for file in files))


def open_factory(reference: str, input_shapes: Mapping[str, tuple[int, ...]]) -> Model:
    """Open what a function makes: `reference` is "module:function" or "file.py:function".

    It returns a `torch.nn.Module` and a tuple of example inputs, and runs in a process of its own.

    Raises:
        ModelError: there is no such function, it raised, or what it returned cannot be exported.
        ToolchainMissing: PyTorch is not installed.
        ConversionError: it crashed or hung.
    """
    path = _source(reference)
    task = Task("describe", path, reference, factory=reference, input_shapes=input_shapes)
    return _described(task, "torch", "", path.stat().st_size)


def factory_sha256(source: Path, weights_sha256: str) -> str:
    """What identifies a factory's model: its source file and its weights."""
    return hashlib.sha256(source.read_bytes() + weights_sha256.encode()).hexdigest()


def _described(task: Task, model_format: Format, sha256: str, size_bytes: int) -> Model:
    name, requirement = _JOBS[model_format]
    job = Job(name, sys.executable, requirement, _DEADLINE_S)
    with tempfile.TemporaryDirectory(prefix="edgesdk.") as folder:
        answer = run_job(job, task, Path(folder))
    return Model(
        path=task.source,
        format=model_format,
        sha256=sha256 or factory_sha256(task.source, answer.sha256),
        size_bytes=size_bytes,
        inputs=answer.inputs,
        outputs=answer.outputs,
        factory=task.factory,
    )


def _files(path: Path) -> list[Path]:
    """The file, or all files below the folder in the order of their names."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


def _sha256(folder: Path, files: list[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{sha256_file(file)}  {file.relative_to(folder).as_posix()}\n".encode())
    return total.hexdigest()


def _source(reference: str) -> Path:
    """The source file, found without importing anything."""
    place = reference.rpartition(":")[0]
    path = Path(place) if place.endswith(".py") else _module_file(place.split("."))
    if path is None or not path.is_file():
        raise ModelError(
            f"found no {'file' if place.endswith('.py') else 'module'} {place}, expected one with "
            f"the function {reference.rpartition(':')[2]!r}",
            hint="run edgesdk in the folder it lies in, or give it as path/to/file.py:function",
        )
    return path


def _module_file(parts: list[str]) -> Path | None:
    found = _top_level(parts[0])
    if found is None:
        return None
    for part in parts[1:]:
        found = PathFinder.find_spec(part, list(found.submodule_search_locations or []))
        if found is None:
            return None
    return Path(found.origin) if found.origin else None


def _top_level(name: str) -> ModuleSpec | None:
    return PathFinder.find_spec(name, [str(Path.cwd()), *sys.path]) or importlib.util.find_spec(
        name
    )
