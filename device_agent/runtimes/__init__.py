"""Runtime adapters: which runtimes this device has, and how to load a model with one.

Finding out imports nothing heavy and starts nothing; `prepare` imports the one runtime it is asked
for. The adapters also work in-process on the workstation, which computes golden outputs with them.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import re
import shutil
import sys
from typing import Iterator, NamedTuple, Optional, Sequence, Tuple

from device_agent.environment_messages import PRIVATE, RuntimeVersion
from device_agent.runtimes.base import (
    BadTensor,
    LoadedModel,
    NoRuntime,
    NotProfiled,
    Runtime,
    RuntimeFailed,
)
from device_agent.system_files import find_library, library_release

__all__ = [
    "UNKNOWN_VERSION",
    "BadTensor",
    "LoadedModel",
    "NoRuntime",
    "NotProfiled",
    "Runtime",
    "RuntimeFailed",
    "RuntimeVersion",
    "discover",
    "discover_in",
    "distributions",
    "load",
    "prepare",
]

UNKNOWN_VERSION = "unknown"
"""Version of a runtime that is importable but was not installed as a distribution."""

TRTEXEC_FOLDER = "/usr/src/tensorrt/bin"
"""Where NVIDIA's packages put trtexec, which is seldom on PATH."""


class _Known(NamedTuple):
    """One way to get a runtime.

    Args:
        module: what is imported first.
        packages: the distributions it comes in.
        adapter: ours for it.
        also: a module that must be there beside it.
        library: a shared library that must be there.
        declared: `module` alone is not enough: one of `packages` must be installed as such.
    """

    runtime: str
    module: str
    packages: Tuple[str, ...]
    adapter: str
    also: str = ""
    library: str = ""
    declared: bool = False

    @property
    def words(self) -> str:
        """What to install for it."""
        return " with ".join(filter(None, (self.packages[0], self.library)))


_LITERT = ("ai_edge_litert", ("ai-edge-litert", "ai-edge-litert-nightly"))
_TFLITE = ("tflite_runtime", ("tflite-runtime", "tflite-runtime-nightly"))
_LIBEDGETPU = "libedgetpu.so.1"

# In order of preference where one runtime can be had in two ways.
_KNOWN = (
    _Known("litert", *_LITERT, "litert"),
    _Known("litert", *_TFLITE, "litert"),
    _Known("edgetpu", *_LITERT, "edgetpu", library=_LIBEDGETPU),
    _Known("edgetpu", *_TFLITE, "edgetpu", library=_LIBEDGETPU),
    _Known(
        "onnxruntime",
        "onnxruntime",
        (
            "onnxruntime",
            "onnxruntime-gpu",
            "onnxruntime-openvino",
            "onnxruntime-directml",
            "ort-nightly",
            # Last: its newer releases are a plug-in beside one of the others.
            "onnxruntime-qnn",
        ),
        "onnxruntime",
    ),
    _Known("qnn", "onnxruntime", ("onnxruntime-qnn",), "qnn", also="onnxruntime_qnn"),
    _Known("qnn", "onnxruntime", ("onnxruntime-qnn",), "qnn", declared=True),
    _Known(
        "tensorrt",
        "tensorrt",
        ("tensorrt", "tensorrt-cu11", "tensorrt-cu12", "tensorrt-cu13"),
        "tensorrt",
    ),
    _Known("openvino", "openvino", ("openvino", "openvino-nightly"), "openvino"),
)


def discover(private: Sequence[Tuple[str, ...]] = ()) -> Tuple[RuntimeVersion, ...]:
    """The runtimes of this device, the preferred one of each kind first.

    TensorRT that has no Python module is among them, as package "trtexec": it is there, and
    `prepare` says what it lacks.

    Args:
        private: the folders of each of the agent's own, which come before the Python's.
    """
    own = tuple(version for folders in private for version in discover_in(folders))
    found = tuple(dict.fromkeys([*own, *(version for _, version in _present(()))]))
    if "tensorrt" not in {version.runtime for version in found} and find_trtexec():
        release = library_release("libnvinfer.so") or UNKNOWN_VERSION
        found += (RuntimeVersion("tensorrt", "trtexec", release),)
    return found


def distributions() -> Tuple[str, ...]:
    """Every distribution that a runtime may come in."""
    return tuple(dict.fromkeys(name for known in _KNOWN for name in known.packages))


def discover_in(folders: Tuple[str, ...]) -> Tuple[RuntimeVersion, ...]:
    """The runtimes that the agent's own folders hold, by the names of their files alone."""
    found = (version for _, version in _present(folders) if version.source == PRIVATE)
    return tuple(dict.fromkeys(found))


def prepare(runtime: str, folders: Tuple[str, ...] = (), *, only_there: bool = False) -> Runtime:
    """Import a runtime.

    Args:
        runtime: one of `manifest.RUNTIMES`.
        folders: of the agent's own, put before all others on this process's path.
        only_there: it must come from them.

    Raises:
        NoRuntime: it is not installed, its import fails, or the device lacks what it needs.
    """
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    for known, version in _present(folders):
        if known.runtime == runtime and (version.source == PRIVATE or not only_there):
            return _import(known, version)
    ways = [known.words for known in _KNOWN if known.runtime == runtime]
    if not ways:
        raise NoRuntime(f"found runtime {runtime!r}, expected one of: {', '.join(_names())}")
    wanted = " or ".join(dict.fromkeys(ways))
    raise NoRuntime(f"{sys.executable} has no {wanted}{_near_miss(runtime)}")


def load(runtime: str, path: str, threads: int, kernel: str = "", engines: str = "") -> LoadedModel:
    """Import a runtime and load a model with it.

    Args:
        engines: folder for what the runtime builds of the model first, as `Runtime.build`.

    Raises:
        NoRuntime: as `prepare`.
        RuntimeFailed: as `Runtime.build` and `Runtime.load`.
    """
    prepared = prepare(runtime)
    built = prepared.build(path, engines, lambda seconds, what: None)
    return prepared.load(built, threads, kernel)


def find_trtexec() -> str:
    """Path of TensorRT's own program, "" where there is none."""
    return shutil.which("trtexec") or shutil.which("trtexec", path=TRTEXEC_FOLDER) or ""


def _near_miss(runtime: str) -> str:
    """What is there instead and could be taken for the runtime."""
    if runtime == "tensorrt" and find_trtexec():
        return (
            f"; {find_trtexec()} is there, but engines are run through TensorRT's Python module: "
            "install python3-libnvinfer, or name the Python that has it (/usr/bin/python3)"
        )
    if runtime == "edgetpu" and _has("pycoral") and not _has_submodule("pycoral", "utils.edgetpu"):
        return (
            "; the pycoral that is installed is an unrelated program for the Allen Coral Atlas, "
            "not the Edge TPU's"
        )
    return ""


def _names() -> Tuple[str, ...]:
    return tuple(sorted({known.runtime for known in _KNOWN}))


def _present(folders: Tuple[str, ...]) -> Iterator[Tuple[_Known, RuntimeVersion]]:
    """Those in the agent's own folders, then those of the Python."""
    for source, places in ((PRIVATE, folders), ("", None)):
        for known in _KNOWN:
            if places == () or not _has(known.module, places):
                continue
            if known.also and not _has(known.also, places):
                continue
            if known.library and not find_library(known.library):
                continue
            package, version = _distribution(known.packages, sys.path if places is None else places)
            if known.declared and version == UNKNOWN_VERSION:
                continue
            yield known, RuntimeVersion(known.runtime, package, version, source)


def _has(module: str, places: Optional[Tuple[str, ...]] = None) -> bool:
    """Whether a module is in those folders, or anywhere on the path."""
    if places is not None:
        return importlib.machinery.PathFinder.find_spec(module, list(places)) is not None
    return importlib.util.find_spec(module) is not None


def _has_submodule(package: str, name: str) -> bool:
    """Whether a package has a module, by its files: to ask Python would import the package."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    stem = os.path.join(*name.split("."))
    return any(
        os.path.exists(os.path.join(folder, stem) + ending)
        for folder in folders
        for ending in (".py", os.sep + "__init__.py")
    )


def _import(known: _Known, version: RuntimeVersion) -> Runtime:
    # Imported by name, so that a device without numpy can still say what it is.
    try:
        adapter = importlib.import_module(f"device_agent.runtimes.{known.adapter}")
        prepared: Runtime = adapter.prepare(known.module, version)
    except ImportError as error:
        raise NoRuntime(f"{version.package} is installed but does not import: {error}") from error
    if version.version == UNKNOWN_VERSION:
        told = getattr(sys.modules[known.module], "__version__", UNKNOWN_VERSION)
        prepared.version = RuntimeVersion(
            version.runtime, version.package, str(told), version.source
        )
    return prepared


def _distribution(packages: Tuple[str, ...], folders: Sequence[str]) -> Tuple[str, str]:
    """Name and version of the first of the distributions that is installed.

    Read from the names of the metadata folders: `importlib.metadata` came with Python 3.8.
    """
    for package in packages:
        for folder in folders:
            version = _version_in(folder, package)
            if version is not None:
                return package, version
    return packages[0], UNKNOWN_VERSION


def _version_in(folder: str, package: str) -> Optional[str]:
    name = re.escape(package.replace("-", "_")).replace("_", "[-_.]")
    metadata = re.compile(name + r"-([^-]+)(?:-py[0-9.]+)?\.(?:dist|egg)-info", re.IGNORECASE)
    if not os.path.isdir(folder):
        return None
    for entry in sorted(os.listdir(folder)):
        match = metadata.fullmatch(entry)
        if match is not None:
            return match.group(1)
    return None
