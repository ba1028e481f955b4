"""Programs that this process has started, which do not outlive it: killed when its host is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import Any, Iterator, Sequence, Set

_running: Set[int] = set()
_lock = threading.Lock()


@contextlib.contextmanager
def running(argv: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own, killed with all of that session at the block's end.

    Args:
        options: as for `subprocess.Popen`.

    Raises:
        OSError, ValueError: it cannot be started.
    """
    with _lock:
        child = subprocess.Popen(list(argv), start_new_session=True, **options)
        _running.add(child.pid)
    try:
        yield child
    finally:
        with _lock:
            _kill(child.pid)
            _running.discard(child.pid)
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                stream.close()


def kill_all() -> None:
    """End them all; any thread may."""
    with _lock:
        for pid in _running:
            _kill(pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
