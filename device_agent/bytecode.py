"""The agent's modules as the device's Python has compiled them, kept beside the zipapp.

Compiling took half of the agent's start, and a board may be twenty times as slow as a desk. So
the first session compiles all of it, once for each agent and Python, and the later ones import
that. It holds for no other bytes and no other Python: both are in its name. It opens with the hash
of what follows, since flash memory rots. Whoever may write there may change the agent's own file.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import marshal
import os
import stat
import sys
from typing import Optional

import device_agent

_HEADER_BYTES = 65
"""The hash in hex and a newline; zip files may begin with anything."""
_NO_SOURCE = bytes(12)
"""No flags, and the time and size of a source that is not there."""


def prefer(program: str, *, build: bool) -> None:
    """Import the agent's further modules from what is compiled, where that is possible.

    Args:
        program: the zipapp that this process runs.
        build: compile it now where that has not been done.
    """
    path = _path(program)
    if path and (_is_whole(path) or (build and _build(program, path))):
        device_agent.__path__.insert(0, os.path.join(path, "device_agent"))


def _path(program: str) -> Optional[str]:
    """Where it lies; None where others may write, or nothing can be kept."""
    folder, name = os.path.split(os.path.realpath(program))
    try:
        found = os.stat(folder)
    except OSError:
        return None
    others_may_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if found.st_uid != os.geteuid() or others_may_write or not name.endswith(".pyz"):
        return None
    kind = "%s-%s" % (sys.implementation.cache_tag, importlib.util.MAGIC_NUMBER.hex())
    return os.path.join(folder, "%s.%s" % (name[: -len(".pyz")], kind))


def _is_whole(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            header, content = stream.read(_HEADER_BYTES), stream.read()
    except OSError:
        return False
    return header == _header(content)


def _header(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode("ascii") + b"\n"


def _build(program: str, path: str) -> bool:
    """Whether it is there afterwards; a disk that takes nothing is no reason to fail."""
    content = _compiled(program)
    temporary = "%s.%d" % (path, os.getpid())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as stream:
            stream.write(_header(content) + content)
        os.rename(temporary, path)  # Not durable: a torn one is made anew.
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return False
    return True


def _compiled(program: str) -> bytes:
    """The zip file of the compiled modules."""
    import zipfile  # Slow to import, and of no use once it is built.

    target = io.BytesIO()
    with zipfile.ZipFile(program) as zipapp, zipfile.ZipFile(target, "w") as archive:
        for entry in zipapp.namelist():
            if entry.startswith("device_agent/"):
                source, path = zipapp.read(entry), os.path.join(program, entry)
                code = marshal.dumps(compile(source, path, "exec", dont_inherit=True))
                archive.writestr(entry + "c", importlib.util.MAGIC_NUMBER + _NO_SOURCE + code)
    return target.getvalue()
