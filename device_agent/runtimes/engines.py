"""TensorRT engines that were built on this device, kept for the next time.

An engine fits the TensorRT release, the GPU and the model that it was built from and for, and none
other. So it is found by a key of all of these, never taken from a package, and rebuilt where
anything differs or its file is damaged. One file is one engine:

    edgesdk engine 1\\n
    the key, as canonical JSON\\n
    SHA-256 of the engine, in hex\\n
    the engine, as TensorRT serialized it
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Any, List, Optional, Tuple

from device_agent.codec import canonical
from device_agent.durable import make_folder, remove, storage_errors, sync_folder, write_file
from device_agent.records import record
from device_agent.runtimes.base import RuntimeFailed

KEPT = 8
"""Engines kept; those unused for longest go first."""

_MAGIC = b"edgesdk engine 1\n"
_ENDING = ".engine"
_HEAD_BYTES_MAX = 16 * 1024
_READ_BYTES = 1024 * 1024


@record(frozen=True)
class EngineKey:
    """What an engine was built from, by and for.

    Args:
        tensorrt: release of the builder.
        architecture: compute capability of the GPU, such as "8.7".
        device: name of the GPU.
        model_sha256: of the ONNX file.
        options: that the builder was given.
    """

    tensorrt: str
    architecture: str
    device: str
    model_sha256: str
    options: Tuple[str, ...]

    @property
    def file_name(self) -> str:
        """The same for the same key only."""
        return hashlib.sha256(canonical(self)).hexdigest() + _ENDING


def sha256_of(path: str) -> str:
    """SHA-256 (hex) of a model file.

    Raises:
        RuntimeFailed: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for piece in iter(lambda: stream.read(_READ_BYTES), b""):
                digest.update(piece)
    except OSError as error:
        raise RuntimeFailed(f"TensorRT refuses the model: {error}") from error
    return digest.hexdigest()


def find_engine(folder: str, key: EngineKey) -> str:
    """Path of a kept engine that is whole, "" where there is none."""
    path = os.path.join(folder, key.file_name)
    if read_engine(path, key) is None:
        return ""
    with contextlib.suppress(OSError):
        os.utime(path)  # The last use, by which it is kept.
    return path


def read_engine(path: str, key: Optional[EngineKey] = None) -> Optional[memoryview]:
    """The engine in a file, None where it is not whole, or not there.

    Args:
        key: the one it must have been built for; None takes any.
    """
    try:
        with open(path, "rb") as stream:
            magic = stream.readline(_HEAD_BYTES_MAX)
            found = stream.readline(_HEAD_BYTES_MAX)
            digest = stream.readline(_HEAD_BYTES_MAX)
            engine = memoryview(stream.read())
    except OSError:
        return None
    if magic != _MAGIC or (key is not None and found != canonical(key) + b"\n"):
        return None
    whole = digest == hashlib.sha256(engine).hexdigest().encode("ascii") + b"\n"
    return engine if whole and len(engine) else None


def write_engine(path: str, key: EngineKey, engine: Any) -> None:
    """Write a new engine file, durably; `keep_engine` gives it its name.

    Args:
        engine: anything with a buffer.

    Raises:
        OSError: the disk does not take it.
    """
    content = memoryview(engine)
    digest = hashlib.sha256(content).hexdigest().encode("ascii") + b"\n"
    pieces: List[Any] = [_MAGIC + canonical(key) + b"\n" + digest, content]
    write_file(path, pieces)


def room_for_building(folder: str, key: EngineKey) -> str:
    """Path to write an engine to before it is kept; what an earlier try left there is gone.

    Raises:
        AgentFailure: "storage" or "disk_full": the folder cannot be used.
    """
    with storage_errors(folder):
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        make_folder(folder)
        for name in os.listdir(folder):
            if not name.endswith(_ENDING):
                remove(os.path.join(folder, name))
    return os.path.join(folder, key.file_name + ".building")


def keep_engine(built: str, folder: str, key: EngineKey) -> str:
    """Move a built engine to where it is found again; its path. The least used make room.

    Raises:
        AgentFailure: "storage" or "disk_full".
    """
    path = os.path.join(folder, key.file_name)
    with storage_errors(folder):
        remove(path)
        os.rename(built, path)
        sync_folder(folder)
        for old in _others_by_last_use(path)[KEPT - 1 :]:
            remove(old)
    return path


def _others_by_last_use(path: str) -> Tuple[str, ...]:
    folder = os.path.dirname(path)
    paths = (os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(_ENDING))
    # The clock of a board may have been wrong: the new one stays whatever its time says.
    others = (other for other in paths if other != path)
    return tuple(sorted(others, key=os.path.getmtime, reverse=True))
