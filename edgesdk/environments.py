"""Python environments for toolkits that cannot share ours: made on first use, kept in the cache.

An environment is a venv under a name that holds the digest of its exact requirements and of its
Python. It is built in place, as a venv cannot be moved, under a lock that the system drops with the
process that held it; a marker file written last says that it is whole. Whatever lies there without
the marker was left by a process that was killed, and is built afresh.

Versions are exact: nothing is resolved, only wheels are taken, and before the marker is written
what is installed is compared with the pins. Bytes are not: the pins carry no hashes, as each Python
and platform takes other wheels. Whoever answers for the package index that pip is set up to ask
(over TLS, by default) decides what lies behind a version, at the first use; afterwards nobody does,
save who may write to the user's cache.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesdk.errors import ToolchainMissing
from edgesdk.files import write_durable
from edgesdk.processes import CannotStart, Ended, run_to_end
from edgesdk.progress import Advance, Progress

_COMPLETE = "complete"
_DEADLINE_S = 3600
_POLL_S = 0.2
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)")
_PROBE = "import sys; print('%d.%d' % sys.version_info[:2])"
_LIST = """
from importlib.metadata import distributions
for each in distributions():
    print(each.name, each.version)
"""
_PROBE_DEADLINE_S = 30
_LIST_DEADLINE_S = 120
_OF_VENV = {"pip", "setuptools"}
"""What a new environment holds before anything is installed in it."""
_RETRY = "run the command again: it starts afresh"
_PIP_SETTINGS = "pip's own settings (PIP_INDEX_URL, PIP_PROXY) apply"


@dataclass(frozen=True, slots=True)
class Isolated:
    """An environment of its own for one toolkit.

    Args:
        name: of the toolkit.
        requirements: a requirements file with an exact pin for every distribution, dependencies
            included, as the distribution itself writes its version; nothing else is installed.
        pythons: versions that the pins have been tried with, the preferred one first.
    """

    name: str
    requirements: Path
    pythons: tuple[str, ...]

    def versions(self) -> dict[str, str]:
        """The pinned version of each distribution; nothing is installed for it."""
        lines = self.requirements.read_text().splitlines()
        return {found[1]: found[2] for found in map(_PIN.match, lines) if found}

    def sha256(self) -> str:
        """Of the requirements file: another one is another environment."""
        return hashlib.sha256(self.requirements.read_bytes()).hexdigest()


def environments_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/edgesdk/environments`, else below `~/.cache`."""
    given = Path(environ.get("XDG_CACHE_HOME", ""))
    cache = given if given.is_absolute() else Path.home() / ".cache"
    return cache / "edgesdk" / "environments"


def environment(isolated: Isolated, progress: Progress, directory: Path | None = None) -> Path:
    """The environment's interpreter; the environment is made if it is not there.

    Args:
        directory: where environments lie; `environments_directory()` by default.

    Raises:
        ToolchainMissing: no suitable Python, pip failed or installed something else, or the disk
            is full.
    """
    directory = directory or environments_directory()
    base = find_python(isolated)
    home = directory / f"{isolated.name}-{_digest(isolated, base)[:16]}"
    if _is_complete(home):
        return _interpreter(home)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(home.with_suffix(".lock"), isolated.name, progress):
            if not _is_complete(home):
                _build(isolated, base, home, progress)
    except OSError as error:
        raise ToolchainMissing(
            f"the environment of {isolated.name} cannot be made in {directory}: {error.strerror}",
            hint=_hint(error),
        ) from error
    return _interpreter(home)


def find_python(isolated: Isolated) -> str:
    """An interpreter of a version that the environment takes: this one, or one on PATH.

    Raises:
        ToolchainMissing: there is none.
    """
    return _chosen(isolated)[0]


def python_version(isolated: Isolated) -> str:
    """Version of the interpreter that `find_python` finds, e.g. "3.12": wheels differ by it.

    Raises:
        ToolchainMissing: there is none.
    """
    return _chosen(isolated)[1]


def _chosen(isolated: Isolated) -> tuple[str, str]:
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if ours in isolated.pythons:
        return sys.executable, ours
    for version in isolated.pythons:
        found = shutil.which(f"python{version}")
        # What is on PATH may be a stub that starts nothing.
        if found and _version_of(found) == version:
            return found, version
    raise ToolchainMissing(
        f"{isolated.name} runs on Python {', '.join(isolated.pythons)}, "
        f"found Python {ours} and none of these on PATH",
        hint=f"install Python {isolated.pythons[0]}, so that python{isolated.pythons[0]} starts it",
    )


def _version_of(python: str) -> str:
    try:
        ended = run_to_end([python, "-I", "-c", _PROBE], _PROBE_DEADLINE_S)
    except CannotStart:
        return ""
    return ended.said.strip() if ended.succeeded else ""


def _digest(isolated: Isolated, base: str) -> str:
    content = hashlib.sha256(isolated.requirements.read_bytes())
    content.update(os.path.realpath(base).encode())
    return content.hexdigest()


def _interpreter(home: Path) -> Path:
    return home / "bin" / "python"


def _is_complete(home: Path) -> bool:
    """Whole, and the Python it was made from has not gone."""
    return (home / _COMPLETE).is_file() and _interpreter(home).is_file()


@contextlib.contextmanager
def _locked(path: Path, name: str, progress: Progress) -> Iterator[None]:
    with path.open("wb") as stream:
        if not _try_lock(stream.fileno()):
            with progress.task(f"another process makes the environment of {name}", 0):
                _await_lock(stream.fileno(), name)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _await_lock(descriptor: int, name: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            raise ToolchainMissing(
                f"another process has been making the environment of {name} for "
                f"{_DEADLINE_S // 60} minutes",
                hint="end that process, then run the command again",
            )
        time.sleep(_POLL_S)


def _build(isolated: Isolated, base: str, home: Path, progress: Progress) -> None:
    shutil.rmtree(home, ignore_errors=True)
    pins = len(isolated.versions())
    try:
        with progress.task(f"environment of {isolated.name} (once)", pins + 2) as advance:
            _run(isolated.name, [base, "-m", "venv", str(home)], advance)
            advance(1)
            _run(isolated.name, _pip(home, isolated.requirements), advance)
            _require_pins(isolated, home)
            advance(1)
        write_durable(home / _COMPLETE, f"{isolated.name}\n".encode())
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def _pip(home: Path, requirements: Path) -> list[str]:
    # The pins are the whole set, so nothing is resolved. One toolkit declares a newer Python than
    # it needs; `Isolated.pythons` is what was tried.
    return [
        str(_interpreter(home)),
        *("-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--ignore-requires-python"),
        *("--no-input", "--disable-pip-version-check", "--progress-bar=off"),
        *("--requirement", str(requirements)),
    ]


def _run(name: str, argv: list[str], advance: Advance) -> None:
    """Run to the end; advances by one for each distribution that pip takes up."""

    def hear(line: str) -> None:
        if line.startswith(("Collecting ", "Processing ")):
            advance(1)

    ended = run_to_end(argv, _DEADLINE_S, environ=_without_ours(), hear=hear)
    if not ended.succeeded:
        raise ToolchainMissing(
            f"the environment of {name} could not be made: {_reason(ended)}",
            hint=f"{_RETRY}; {_PIP_SETTINGS}",
        )


def _without_ours() -> dict[str, str]:
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    return {key: value for key, value in os.environ.items() if key not in ours}


def _reason(ended: Ended) -> str:
    if ended.code is None:
        return f"it took more than {_DEADLINE_S // 60} minutes"
    said = [line for line in ended.tail(40) if not line.startswith(("WARNING", "[notice]"))]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR")]
    return (errors or said or [f"its process ended with status {ended.code}"])[-1]


def _require_pins(isolated: Isolated, home: Path) -> None:
    """Refuse an environment that holds anything but what is pinned."""
    pinned = {_normal(name): pin for name, pin in isolated.versions().items()}
    found = _installed(isolated.name, home)
    for name in sorted(pinned.keys() | (found.keys() - _OF_VENV)):
        if found.get(name) != pinned.get(name):
            raise ToolchainMissing(
                f"the environment of {isolated.name} is not what is pinned: "
                f"found {name} {found.get(name, 'missing')}, expected {pinned.get(name, 'none')}",
                hint=f"{_RETRY}; {_PIP_SETTINGS}",
            )


def _installed(name: str, home: Path) -> dict[str, str]:
    ended = run_to_end([str(_interpreter(home)), "-I", "-c", _LIST], _LIST_DEADLINE_S)
    if not ended.succeeded:
        raise ToolchainMissing(
            f"the environment of {name} does not work: {_reason(ended)}", hint=_RETRY
        )
    rows = (line.split() for line in ended.said.splitlines())
    return {_normal(row[0]): row[1] for row in rows if len(row) == 2}


def _normal(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _hint(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"free some disk space or set XDG_CACHE_HOME to a larger disk, then {_RETRY}"
    return f"check that the folder can be written, or set XDG_CACHE_HOME; then {_RETRY}"
