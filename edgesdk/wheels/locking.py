"""Choosing the wheels of a runtime for a kind of board, once: the choice is kept with its wheels.

    $XDG_CACHE_HOME/edgesdk/runtimes/<runtime>-<key>/lock.json and the wheels it names

The key is what was asked for and the kind of board. A kept choice serves every further board of the
kind, without the index, until it is asked to be renewed. Its wheels are hashed before each use.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_agent.runtime_messages import Interpreter
from edgesdk.errors import MalformedFile, NoWheels, WheelFolderError
from edgesdk.files import new_directory, one_writer, sha256_file
from edgesdk.progress import Advance, Progress
from edgesdk.serial import read_json, write_json
from edgesdk.values.runtime_lock import FORMAT, PinnedWheel, RuntimeLock
from edgesdk.wheels.closure import Wheel, close, read_wheel
from edgesdk.wheels.pip import NoneFits, Pip, download, find_pip
from edgesdk.wheels.tags import board_tags, describe_board, marker_environment
from edgesdk.wheels.ways import Way, ways_for

_LOCK = "lock.json"
_ROUNDS = 6
"""Each meets what the round before left unmet; two are the most that was seen."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A lock and where its wheels lie on this machine."""

    lock: RuntimeLock
    folder: Path
    kept: bool

    def path(self, wheel: PinnedWheel) -> Path:
        """Where a wheel is."""
        return self.folder / wheel.file


def cache_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/edgesdk/runtimes`, else below `~/.cache`."""
    given = Path(environ.get("XDG_CACHE_HOME", ""))
    cache = given if given.is_absolute() else Path.home() / ".cache"
    return cache / "edgesdk" / "runtimes"


def wheel_folder(path: Path | str) -> Path:
    """A folder that holds wheels.

    Raises:
        WheelFolderError: it is none, or holds none.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise WheelFolderError(
            f"found no folder {folder}", hint="give a folder of wheels: --wheels FOLDER"
        )
    if not any(folder.glob("*.whl")):
        raise WheelFolderError(
            f"found no wheel in {folder}",
            hint="pip download --only-binary=:all: --dest FOLDER fills one; see docs/runtimes.md",
        )
    return folder


def choose(
    runtime: str,
    board: Interpreter,
    min_version: str,
    progress: Progress,
    *,
    source: Path | None = None,
    renew: bool = False,
    directory: Path | None = None,
) -> Chosen:
    """The wheels of a runtime for a board, on this machine.

    Args:
        min_version: lowest of the runtime that will do; "" takes any.
        source: a `wheel_folder` to choose them from; None takes the kept choice, or asks the index.
        renew: ask the index also where a choice is kept.
        directory: where choices are kept; `cache_directory()` by default.

    Raises:
        NoWheels: none fit, or they cannot be had.
        ToolchainMissing: there is no pip.
    """
    ways = ways_for(runtime)
    key = _key(runtime, board, min_version, source)
    folder = (directory or cache_directory()) / f"{runtime}-{key[:16]}"
    with one_writer(folder):
        kept = None if renew or source is not None else _read(folder)
        if kept is not None:
            return Chosen(kept, folder, True)
        lock = _make(runtime, ways, board, min_version, source, folder, progress)
    return Chosen(lock, folder, False)


def _key(runtime: str, board: Interpreter, min_version: str, source: Path | None) -> str:
    tags = "\n".join(map(str, board_tags(board)))
    version = ".".join(map(str, board.version))
    place = "" if source is None else str(source.resolve())
    text = "\n".join([str(FORMAT), runtime, min_version, version, board.machine, place, tags])
    return hashlib.sha256(text.encode()).hexdigest()


def _read(folder: Path) -> RuntimeLock | None:
    """The choice that is kept there, if it and every wheel are whole."""
    try:
        lock = read_json(RuntimeLock, folder / _LOCK)
        whole = all(sha256_file(folder / each.file) == each.sha256 for each in lock.wheels)
    except (OSError, MalformedFile):
        return None
    return lock if whole and lock.format == FORMAT else None


def _make(
    runtime: str,
    ways: Sequence[Way],
    board: Interpreter,
    min_version: str,
    source: Path | None,
    folder: Path,
    progress: Progress,
) -> RuntimeLock:
    pip = find_pip()
    refusals: list[NoneFits] = []
    for way in ways:
        wanted = way.requirements(min_version)
        try:
            with (
                new_directory(folder) as work,
                progress.task(f"choosing wheels of {way.package} for the device", 0) as advance,
            ):
                wheels = _download(pip, wanted, board, source, work, advance)
                lock = RuntimeLock(
                    format=FORMAT,
                    runtime=runtime,
                    requirements=wanted,
                    board=describe_board(board),
                    source="index" if source is None else str(source.resolve()),
                    pip=pip.version,
                    wheels=tuple(map(_pinned, wheels)),
                )
                write_json(work / _LOCK, lock)
                return lock
        except NoneFits as error:
            refusals.append(error)
    first = refusals[0]
    others = [f"nor: {each.message}" for each in refusals[1:]]
    raise NoWheels(first.message, hint=first.hint, details=[*first.details, *others])


def _download(
    pip: Pip,
    wanted: Sequence[str],
    board: Interpreter,
    source: Path | None,
    work: Path,
    advance: Advance,
) -> tuple[Wheel, ...]:
    """The wheels that are needed on the board, in `work` and nothing else."""
    environment, requirements = marker_environment(board), list(wanted)
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory(dir=work, prefix="round-") as name:
            paths = download(pip, board, requirements, Path(name), source, advance)
            closure = close(wanted, map(read_wheel, paths), environment)
            if not closure.unmet:
                for wheel in closure.needed:
                    wheel.path.rename(work / wheel.path.name)
                return tuple(read_wheel(work / wheel.path.name) for wheel in closure.needed)
        # pip judged these by the Python it runs on; asked for by name, it cannot pass them over.
        requirements = list(dict.fromkeys([*requirements, *closure.unmet]))
    raise NoWheels(
        f"pip brings no set of wheels that is whole on {describe_board(board)}",
        details=[f"lacking: {each}" for each in closure.unmet],
        hint="give a folder that holds them: --wheels FOLDER",
    )


def _pinned(wheel: Wheel) -> PinnedWheel:
    return PinnedWheel(
        name=wheel.name,
        version=str(wheel.version),
        file=wheel.path.name,
        sha256=sha256_file(wheel.path),
        size_bytes=wheel.path.stat().st_size,
        unpacked_bytes=wheel.unpacked_bytes,
    )
