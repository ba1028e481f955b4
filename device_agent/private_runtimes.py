"""Runtimes that the workstation brought, which the agent has to itself: what there is.

    ROOT/runtimes/sets.json             which wheels make which runtime, for which Python
    ROOT/runtimes/wheels/<sha256>/      one wheel, unpacked; several runtimes may share it

The folders of a runtime's wheels come before all others on the path of the process that runs it,
and are on no other process's path: the system's Python does not see them. A set that was made for
another Python than the one that asks is passed over. `device_agent.runtime_installing` writes here.
"""

from __future__ import annotations

import os
from typing import Optional, Sequence, Tuple

from device_agent import runtimes
from device_agent.codec import Malformed, from_dict, parse_json
from device_agent.durable import read_file
from device_agent.failures import AgentFailure
from device_agent.interpreter import python_key, read_interpreter
from device_agent.protocol import ErrorCode
from device_agent.records import record
from device_agent.runtime_messages import WheelFile

FOLDER = "runtimes"
SETS = "sets.json"
WHEELS = "wheels"
_MAX_BYTES = 1024 * 1024


@record(frozen=True)
class RuntimeSet:
    """The wheels of one runtime.

    Args:
        runtime: what it was brought for.
        python: `interpreter.python_key` of the Python that they were chosen for.
        wheels: the runtime's own and those of all it depends on.
    """

    runtime: str
    python: str
    wheels: Tuple[WheelFile, ...]


@record(frozen=True)
class RuntimeSets:
    """All of them; each runtime has one at most."""

    sets: Tuple[RuntimeSet, ...] = ()


def read_sets(root: str) -> RuntimeSets:
    """What has been installed.

    Raises:
        AgentFailure: "storage": the file that says so is damaged.
    """
    path = os.path.join(root, FOLDER, SETS)
    try:
        return from_dict(RuntimeSets, parse_json(read_file(path, _MAX_BYTES)))
    except FileNotFoundError:
        return RuntimeSets()
    except (OSError, Malformed) as error:
        raise AgentFailure(
            ErrorCode.STORAGE,
            f"{path} is damaged: {error}",
            "edgesdk agent uninstall DEVICE clears it, edgesdk agent install brings it anew",
        ) from error


def wheel_folder(root: str, sha256: str) -> str:
    """Where a wheel lies unpacked."""
    return os.path.join(root, FOLDER, WHEELS, sha256)


def set_folders(root: str, each: RuntimeSet) -> Tuple[str, ...]:
    """The folders of one runtime, in the order in which they are looked through."""
    return tuple(wheel_folder(root, wheel.sha256) for wheel in each.wheels)


def private_folders(root: str) -> Tuple[Tuple[str, ...], ...]:
    """The folders of every runtime that is whole and was made for this Python.

    Nothing is said of a damaged list of them: then there are none, and who needs one says so.
    """
    try:
        sets = read_sets(root).sets
    except AgentFailure:
        return ()
    if not sets:
        return ()
    python = python_key(read_interpreter())
    found = [set_folders(root, each) for each in sets if each.python == python]
    return tuple(each for each in found if all(map(os.path.isdir, each)))


def folders_for(root: str, runtime: str) -> Tuple[str, ...]:
    """The folders that a process which runs that runtime imports from first; mostly none."""
    return best_folders(private_folders(root), runtime)


def best_folders(private: Sequence[Tuple[str, ...]], runtime: str) -> Tuple[str, ...]:
    """Those of them, of the first runtime that can run it."""
    for folders in private:
        if any(each.runtime == runtime for each in runtimes.discover_in(folders)):
            return folders
    return ()


def version_in(folders: Tuple[str, ...], runtime: str) -> Optional[runtimes.RuntimeVersion]:
    """What is there for a runtime, by the names of its files alone."""
    found = (each for each in runtimes.discover_in(folders) if each.runtime == runtime)
    return next(found, None)
