"""Files of the system: what they say, and where shared libraries lie. Nothing is loaded or run."""

from __future__ import annotations

import glob
import os
import re
from typing import List

_CACHE = "etc/ld.so.cache"
_FOLDERS = ("lib", "usr/lib", "usr/local/lib", "lib64", "usr/lib64")


def read_text(path: str) -> str:
    """A file's text, "" where it cannot be read: absent, forbidden, or a driver that fails."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def find_library(name: str, root: str = "/") -> str:
    """Path of a shared library, "" where there is none.

    Looked for where the loader would: in LD_LIBRARY_PATH, in its cache, in the usual folders.
    `ctypes.util.find_library` would start other programs for it.

    Args:
        name: with its version, such as "libedgetpu.so.1".
        root: of the file system.
    """
    folders = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    candidates = [os.path.join(folder, name) for folder in folders]
    candidates += [os.path.join(root, path.lstrip("/")) for path in _cached(name, root)]
    for folder in _FOLDERS:
        candidates.append(os.path.join(root, folder, name))
        # Debian and its children have a folder more for each architecture.
        candidates += sorted(glob.glob(os.path.join(root, folder, "*-linux-gnu*", name)))
    return next((path for path in candidates if os.path.exists(path)), "")


def library_release(name: str, root: str = "/") -> str:
    """Release of a shared library by the name of its file, such as "10.3.0"; "" where unknown.

    Args:
        name: without version, such as "libnvinfer.so".
    """
    found = [
        os.path.basename(path)[len(name) + 1 :]
        for folder in _FOLDERS
        for pattern in (name, "*-linux-gnu*/" + name)
        for path in glob.glob(os.path.join(root, folder, pattern) + ".*")
    ]
    releases = [text for text in found if re.fullmatch(r"\d+(\.\d+)+", text)]
    return max(releases, key=lambda text: [int(part) for part in text.split(".")], default="")


def _cached(name: str, root: str) -> List[str]:
    try:
        with open(os.path.join(root, _CACHE), "rb") as stream:
            cache = stream.read()
    except OSError:
        return []
    found = re.findall(rb"(/[^\0]*/" + re.escape(name.encode()) + rb")\0", cache)
    return [path.decode("utf-8", "surrogateescape") for path in found]
