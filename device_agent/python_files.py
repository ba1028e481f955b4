"""The Pythons of a device and what is installed for each, by their files: none of them is run."""

from __future__ import annotations

import os
import platform
import re
import sys
from typing import Dict, List, NamedTuple, Tuple

from device_agent import runtimes
from device_agent.inspection_messages import PythonFound
from device_agent.system_tree import SystemTree

_METADATA = re.compile(
    r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py[0-9.]+)?\.(?:dist|egg)-info", re.IGNORECASE
)
_SYSTEM = ("/usr/bin/python3*", "/usr/local/bin/python3*", "/opt/*/bin/python3*")
# Below the home folder: environments as people make them, conda's, and pyenv's.
_OWN = ("*/bin/python", "*/*/bin/python", ".pyenv/versions/*/bin/python3")
_INTERPRETER = re.compile(r"python3(\.\d+)?|python")


class _Place(NamedTuple):
    """An interpreter, its version, and where its packages may lie."""

    path: str
    version: str
    folders: Tuple[str, ...]


def read_pythons(tree: SystemTree, home: str) -> Tuple[PythonFound, ...]:
    """Every Python that is found, the agent's own first.

    Args:
        home: the user's folder.
    """
    own = _found(tree, _Place(sys.executable, platform.python_version(), tuple(sys.path)), True)
    seen = {os.path.realpath(sys.executable)} if sys.prefix == sys.base_prefix else set()
    others = []
    for place in _places(tree, home):
        real = os.path.realpath(tree.path(place.path))
        if place.path == sys.executable or (real in seen and not _is_environment(tree, place.path)):
            continue
        seen.add(real)
        others.append(_found(tree, place, False))
    return (own, *others)


def _found(tree: SystemTree, place: _Place, own: bool) -> PythonFound:
    wanted = {name.lower() for name in runtimes.distributions()} | {"numpy", "pycoral"}
    versions: Dict[str, str] = {}
    impostors = []
    for folder in place.folders:
        installed = _distributions(tree, folder)
        if "pycoral" in installed and not _is_the_vendors(tree, folder):
            impostors.append("pycoral " + installed.pop("pycoral"))
        for name in wanted & set(installed):
            versions.setdefault(name, installed[name])
    numpy = versions.pop("numpy", "")
    versions.pop("pycoral", None)
    return PythonFound(place.path, place.version, versions, numpy, tuple(impostors), own)


def _distributions(tree: SystemTree, folder: str) -> Dict[str, str]:
    """Distributions of a folder and their versions, by the names of their metadata."""
    found = {}
    for entry in tree.entries(folder) if folder else ():
        match = _METADATA.fullmatch(entry)
        if match is not None:
            found[re.sub(r"[-_.]+", "-", match.group("name")).lower()] = match.group("version")
    return found


def _is_the_vendors(tree: SystemTree, folder: str) -> bool:
    """Whether the pycoral there is Coral's: PyPI's is a program for the Allen Coral Atlas."""
    stem = os.path.join(folder, "pycoral", "utils", "edgetpu")
    return any(os.path.exists(tree.path(stem + end)) for end in (".py", "/__init__.py"))


def _places(tree: SystemTree, home: str) -> List[_Place]:
    patterns = [*_SYSTEM, *(os.path.join(home, pattern) for pattern in _OWN)]
    paths = [path for pattern in patterns for path in tree.glob(pattern)]
    places = []
    for path in dict.fromkeys(paths):
        if _INTERPRETER.fullmatch(os.path.basename(path)):
            version = _version(tree, path)
            if version:
                places.append(_Place(path, version, _folders(tree, path, version, home)))
    return places


def _is_environment(tree: SystemTree, path: str) -> bool:
    return os.path.exists(tree.path(_prefix(path) + "/pyvenv.cfg"))


def _prefix(path: str) -> str:
    return os.path.dirname(os.path.dirname(path))


def _version(tree: SystemTree, path: str) -> str:
    """By the environment's own file, pyenv's folder, or the name that the links end at."""
    settings = tree.text(_prefix(path) + "/pyvenv.cfg")
    told = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+(?:\.\d+)?)", settings, re.MULTILINE)
    if told:
        return told.group(1)
    named = re.fullmatch(r"\d+\.\d+\.\d+", os.path.basename(_prefix(path)))
    if named:
        return named.group()
    real = os.path.basename(os.path.realpath(tree.path(path)))
    match = re.fullmatch(r"python(\d+\.\d+)", real)
    return match.group(1) if match else ""


def _folders(tree: SystemTree, path: str, version: str, home: str) -> Tuple[str, ...]:
    """Where packages of an interpreter may lie: in its prefix; of Debian's own, in more places."""
    prefix, minor = _prefix(path), "python" + ".".join(version.split(".")[:2])
    folders = ["%s/%s/%s/site-packages" % (prefix, lib, minor) for lib in ("lib", "lib64")]
    if not _is_environment(tree, path):
        folders.insert(0, "%s/.local/lib/%s/site-packages" % (home, minor))
        if prefix == "/usr":
            folders += ["/usr/local/lib/%s/dist-packages" % minor, "/usr/lib/python3/dist-packages"]
            folders.append("/usr/lib/%s/dist-packages" % minor)
    return tuple(folders)
