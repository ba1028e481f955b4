"""ZIP archives from strangers: what a broken one raises, and how large one may become."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib

from .protocol import Refused

BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
)
"""What reading a damaged, encrypted (`RuntimeError`) or unknown archive raises, or its JSON."""
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_GROWTH = 2
_SLACK_BYTES = 64 * 2**20


def require_bounded(archive: zipfile.ZipFile, path: str, label: str) -> None:
    """The archive's files together are at most twice its size and 64 MiB.

    Keras and PyTorch store weights as they are, and trained weights do not shrink; what grows more
    is made to fill memory or disk. `zipfile` reads no more of a file than the size that it states.

    Raises:
        Refused: they are more, or packed in a way that neither of them writes.
    """
    entries = archive.infolist()
    if any(entry.compress_type not in _PLAIN for entry in entries):
        raise Refused("model", f"{label} is packed in a way that is not read here", "save it again")
    total = sum(entry.file_size for entry in entries)
    limit = _GROWTH * os.path.getsize(path) + _SLACK_BYTES
    if total > limit:
        raise Refused(
            "model",
            f"{label} would grow to {total / 2**20:.0f} MiB when unpacked, expected at most "
            f"{limit / 2**20:.0f} MiB (twice the file and 64 MiB)",
            "save it again without compression",
        )
