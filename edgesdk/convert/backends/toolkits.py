"""What goes wrong in a vendor's toolkit, told apart from what goes wrong here."""

from __future__ import annotations

import errno
import os
import shutil
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesdk.errors import ConversionError, EdgeSDKError

_NO_ROOM_BYTES = 64 * 1024
_OURS = __name__.partition(".")[0]


def is_full(directory: Path) -> bool:
    """Whether the disk of `directory` has no room for the result of any toolkit."""
    return shutil.disk_usage(directory).free < _NO_ROOM_BYTES


@contextmanager
def failures_of(
    packages: Collection[str],
    sentence: str,
    words: Callable[[Exception], str] = str,
    writes: Path | None = None,
) -> Iterator[None]:
    """What a toolkit raises becomes `ConversionError`; put around its own calls and nothing else.

    What code of ours raises that the toolkit calls back is a bug, and stays what it is.

    Args:
        packages: the toolkit's top-level modules.
        sentence: what the toolkit did not do.
        words: what is told of its error.
        writes: the folder in which it writes, where it does not say that the disk is full.

    Raises:
        ConversionError: the toolkit failed.
        OSError: a file cannot be written or read.
    """
    try:
        yield
    except (EdgeSDKError, OSError, MemoryError):
        raise
    except Exception as error:  # toolkits' exceptions share no base
        if _is_ours(error, packages):
            raise
        if writes is not None and is_full(writes):
            full = errno.ENOSPC
            raise OSError(full, os.strerror(full), str(writes)) from error
        raise ConversionError(f"{sentence}: {words(error)}") from error


def _is_ours(error: Exception, packages: Collection[str]) -> bool:
    """Whether the toolkit had called us, and was not called again."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    roots = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame in frames]
    last = next((root for root in reversed(roots) if root in (_OURS, *packages)), "")
    return last == _OURS and any(root in packages for root in roots)
