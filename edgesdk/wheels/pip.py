"""pip as a program: it chooses and fetches wheels for a board, from the index or from a folder.

The user's own pip settings (index, proxy, certificates) apply. Only wheels are taken; nothing is
built, and nothing of a wheel runs here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from device_agent.runtime_messages import Interpreter
from edgesdk.errors import NoWheels, ToolchainMissing
from edgesdk.processes import CannotStart, Ended, run_to_end
from edgesdk.progress import Advance
from edgesdk.wheels.tags import board_platforms, describe_board

_DEADLINE_S = 1800
_QUESTION_S = 120
_VERSION = re.compile(r"^pip (\S+)")
_NONE_FITS = re.compile(r"No matching distribution found for (\S+)")
_THERE_ARE = re.compile(r"\(from versions: ([^)]*)\)")
_NO_NETWORK = re.compile(r"Retrying \(Retry|ConnectionError|Temporary failure in name resolution")
_NOT_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
_OTHER_PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
_SETTINGS = "pip's own settings (PIP_INDEX_URL, PIP_PROXY) apply"


class NoneFits(NoWheels):
    """pip found no set of wheels that fits; another way may have one."""


@dataclass(frozen=True, slots=True)
class Pip:
    """A pip that can be run.

    Args:
        argv: what starts it.
        version: its own.
    """

    argv: tuple[str, ...]
    version: str


def find_pip() -> Pip:
    """The pip of this Python, or else one on PATH: it can choose for any Python.

    Raises:
        ToolchainMissing: there is none.
    """
    ours = (sys.executable, "-m", "pip") if importlib.util.find_spec("pip") else None
    others = [found for name in ("pip3", "pip") if (found := shutil.which(name))]
    for argv in ([ours] if ours else []) + [(other,) for other in others]:
        try:
            ended = run_to_end([*argv, "--version"], _QUESTION_S, environ=_environ())
        except CannotStart:
            continue
        if ended.succeeded and (match := _VERSION.match(ended.said)):
            return Pip(argv, match[1])
    raise ToolchainMissing(
        "choosing wheels for a device needs pip, which is not installed here",
        hint=f"{sys.executable} -m ensurepip, or install pip in any other way",
    )


def download(
    pip: Pip,
    board: Interpreter,
    requirements: Sequence[str],
    folder: Path,
    source: Path | None,
    advance: Advance,
) -> tuple[Path, ...]:
    """Wheels that meet the requirements on a board, the newest that fit together.

    Args:
        folder: empty; they are put there.
        source: a folder of wheels to choose from; None asks the package index.
        advance: called with 1 for each distribution that pip takes up.

    Raises:
        NoneFits: there are none.
        NoWheels: pip failed otherwise.
    """

    def hear(line: str) -> None:
        if line.startswith(("Collecting ", "Processing ")):
            advance(1)

    argv = [*pip.argv, "download", *_quietly(), *_for(board), *_from(source)]
    argv += ["--dest", str(folder), *requirements]
    ended = run_to_end(argv, _DEADLINE_S, scratch=folder, environ=_environ(), hear=hear)
    if not ended.succeeded:
        raise _failure(pip, board, ended, source)
    return tuple(sorted(folder.glob("*.whl")))


def _quietly() -> list[str]:
    return [
        *("--only-binary=:all:", "--no-input", "--disable-pip-version-check"),
        "--progress-bar=off",
    ]


def _for(board: Interpreter, python: str = "", abi: str = "") -> list[str]:
    version = python or ".".join(map(str, board.version))
    return [
        *("--implementation=cp", f"--python-version={version}", f"--abi={abi or board.abi}"),
        *(f"--platform={each}" for each in board_platforms(board)),
    ]


def _from(source: Path | None) -> list[str]:
    return [] if source is None else ["--no-index", "--find-links", str(source.resolve())]


def _failure(pip: Pip, board: Interpreter, ended: Ended, source: Path | None) -> NoWheels:
    if ended.code is None:
        return NoWheels(f"pip took more than {_DEADLINE_S // 60} minutes", hint=_SETTINGS)
    lacking = _NONE_FITS.search(ended.said)
    if source is None and _NO_NETWORK.search(ended.said):
        return NoWheels(
            "pip cannot reach the package index",
            hint=f"give the wheels: --wheels FOLDER; {_SETTINGS}",
            details=_errors(ended)[-1:],
        )
    if lacking is None:
        return NoWheels("pip found no wheels", hint=_SETTINGS, details=_errors(ended))
    wanted = lacking[1]
    name = re.split(r"[^A-Za-z0-9._-]", wanted)[0]
    there = _THERE_ARE.search(ended.said)
    versions = there[1] if there else "none"
    if source is not None:
        return _none_in(source, name, wanted, board, versions)
    return NoneFits(
        f"no wheel of {wanted} fits {describe_board(board)}",
        hint="install one of those Pythons on the device and name it (edgesdk device add ... "
        "--python PATH --replace), or give wheels of your own: --wheels FOLDER",
        details=[
            f"wanted: {_wanted_tags(board)}",
            f"versions that fit it: {versions}",
            *_elsewhere(pip, board, name),
        ],
    )


def _none_in(source: Path, name: str, wanted: str, board: Interpreter, versions: str) -> NoneFits:
    own = canonicalize_name(name)
    names = [path.name for path in sorted(source.glob("*.whl"))]
    files = [each for each in names if canonicalize_name(each.partition("-")[0]) == own]
    return NoneFits(
        f"no wheel of {wanted} in {source} fits {describe_board(board)}",
        hint="put such a wheel there, and those of what it depends on",
        details=[
            f"wanted: {_wanted_tags(board)}",
            f"versions that fit it: {versions}",
            f"wheels of {name} there: {', '.join(files) or 'none'}",
        ],
    )


def _wanted_tags(board: Interpreter) -> str:
    platforms = board_platforms(board)
    last = f" down to {platforms[-1]}" if len(platforms) > 1 else ""
    return f"{board.abi}, abi3 or none, for {platforms[0]}{last}, or any"


def _elsewhere(pip: Pip, board: Interpreter, name: str) -> list[str]:
    """For which other Pythons there are wheels for such a board; asked only where it has none."""
    found = []
    for python in _OTHER_PYTHONS:
        abi = "cp" + python.replace(".", "")
        argv = [*pip.argv, "index", "versions", name, "--only-binary=:all:", "--no-input"]
        argv += ["--disable-pip-version-check", *_for(board, python, abi)]
        ended = run_to_end(argv, _QUESTION_S, environ=_environ())
        match = re.search(rf"^{re.escape(name)} \((\S+)\)", ended.said, re.MULTILINE)
        if ended.succeeded and match and abi != board.abi:
            found.append(f"{match[1]} for Python {python}")
    there = ", ".join(found) or "none for any other Python"
    return [f"newest {name} for such a device: {there}"]


def _errors(ended: Ended) -> tuple[str, ...]:
    said = ended.tail(40)
    errors = tuple(line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR"))
    return errors or said[-1:]


def _environ() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in _NOT_OURS}
