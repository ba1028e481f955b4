"""Runtime adapters: which runtimes this Python has, and how to load a model with one.

Finding out imports nothing heavy; `prepare` imports the one runtime it is asked for. The adapters
also work in-process on the workstation, which computes golden outputs with them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from typing import Iterator, NamedTuple, Optional, Tuple

from device_agent.protocol import RuntimeVersion
from device_agent.runtimes.base import (
    BadTensor,
    LoadedModel,
    NoRuntime,
    Runtime,
    RuntimeFailed,
)

__all__ = [
    "UNKNOWN_VERSION",
    "BadTensor",
    "LoadedModel",
    "NoRuntime",
    "Runtime",
    "RuntimeFailed",
    "discover",
    "load",
    "prepare",
]

UNKNOWN_VERSION = "unknown"
"""Version of a runtime that is importable but was not installed as a distribution."""


class _Known(NamedTuple):
    """One way to get a runtime: its module, the distributions it comes in, our adapter for it."""

    runtime: str
    module: str
    packages: Tuple[str, ...]
    adapter: str


# In order of preference where one runtime can be had in two ways.
_KNOWN = (
    _Known("litert", "ai_edge_litert", ("ai-edge-litert", "ai-edge-litert-nightly"), "litert"),
    _Known("litert", "tflite_runtime", ("tflite-runtime", "tflite-runtime-nightly"), "litert"),
    _Known(
        "onnxruntime",
        "onnxruntime",
        (
            "onnxruntime",
            "onnxruntime-gpu",
            "onnxruntime-openvino",
            "onnxruntime-qnn",
            "onnxruntime-directml",
            "ort-nightly",
        ),
        "onnxruntime",
    ),
)


def discover() -> Tuple[RuntimeVersion, ...]:
    """The runtimes this Python can import, the preferred one of each kind first."""
    return tuple(version for _, version in _present())


def prepare(runtime: str) -> Runtime:
    """Import a runtime.

    Args:
        runtime: "litert" or "onnxruntime".

    Raises:
        NoRuntime: it is not installed, or its import fails.
    """
    for known, version in _present():
        if known.runtime == runtime:
            return _import(known, version)
    wanted = " or ".join(known.packages[0] for known in _KNOWN if known.runtime == runtime)
    if not wanted:
        raise NoRuntime(f"found runtime {runtime!r}, expected one of: {', '.join(_names())}")
    raise NoRuntime(f"{sys.executable} has no {wanted}")


def load(runtime: str, path: str, threads: int, kernel: str = "") -> LoadedModel:
    """Import a runtime and load a model with it.

    Raises:
        NoRuntime: as `prepare`.
        RuntimeFailed: as `Runtime.load`.
    """
    return prepare(runtime).load(path, threads, kernel)


def _names() -> Tuple[str, ...]:
    return tuple(sorted({known.runtime for known in _KNOWN}))


def _present() -> Iterator[Tuple[_Known, RuntimeVersion]]:
    for known in _KNOWN:
        if importlib.util.find_spec(known.module) is not None:
            package, version = _distribution(known.packages)
            yield known, RuntimeVersion(known.runtime, package, version)


def _import(known: _Known, version: RuntimeVersion) -> Runtime:
    # Imported by name, so that a device without numpy can still say what it is.
    try:
        adapter = importlib.import_module(f"device_agent.runtimes.{known.adapter}")
        prepared: Runtime = adapter.prepare(known.module, version)
    except ImportError as error:
        raise NoRuntime(f"{version.package} is installed but does not import: {error}") from error
    if version.version == UNKNOWN_VERSION:
        told = getattr(sys.modules[known.module], "__version__", UNKNOWN_VERSION)
        prepared.version = RuntimeVersion(version.runtime, version.package, str(told))
    return prepared


def _distribution(packages: Tuple[str, ...]) -> Tuple[str, str]:
    """Name and version of the first of the distributions that is installed.

    Read from the names of the metadata folders: `importlib.metadata` came with Python 3.8.
    """
    for package in packages:
        for folder in sys.path:
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
