"""Files as they are after a start of the device: not in its memory."""

from __future__ import annotations

import contextlib
import os
import time

_CHECKED = 16
"""Places of a file that are looked at."""
_ATTEMPTS = 5
_PAUSE_S = 0.02


def drop(path: str) -> bool:
    """Drop a file from the system's page cache; whether it is really out of it.

    Needs no privileges, but file systems in memory keep everything, and a page that another process
    has mapped stays.
    """
    advise = getattr(os, "posix_fadvise", None)
    if advise is None:
        return False
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)  # A page that is not yet on the disk would stay.
        for _ in range(_ATTEMPTS):
            advise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if not _is_cached(fd):
                return True
            time.sleep(_PAUSE_S)  # Pages just used are in a CPU's own list for a while, and stay.
        return False
    except OSError:
        return False
    finally:
        os.close(fd)


def _is_cached(fd: int) -> bool:
    """Whether any of some places of a file can be read without waiting for the disk.

    Raises:
        OSError: the file system cannot tell.
    """
    size = os.fstat(fd).st_size
    # RWF_NOWAIT fails with EAGAIN where a read would have to wait: preadv2(2).
    flags = os.RWF_NOWAIT
    for offset in range(0, size, max(1, size // _CHECKED)):
        with contextlib.suppress(BlockingIOError):
            if os.preadv(fd, [bytearray(1)], offset, flags):
                return True
    return False
