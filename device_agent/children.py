"""Programs that this process has started, which do not outlive it: killed when its host is gone.

A program and its session are killed by its process group. What left that session is found through
its parents, once this process is the one that adopts orphans (`adopting`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import AbstractSet, Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

_SET_CHILD_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of linux/prctl.h."""
_SWEEP_S = 1.0
_GRACE_S = 0.01

_running: Set[int] = set()
_kept: Optional[AbstractSet[int]] = None
"""While orphans are adopted, the processes that are no part of it; else None."""
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


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Whatever is started in the block ends with it, also what made a session of its own.

    A Python without ctypes cannot ask Linux for that; there, such a session outlives the block.
    """
    global _kept
    if not _adopt_orphans(True):
        yield
        return
    with _lock:
        _kept = set(_descendants(frozenset()))
    try:
        yield
    finally:
        with _lock:
            _sweep(_kept)
            _kept = None
        _adopt_orphans(False)


def kill_all() -> None:
    """End them all; any thread may."""
    with _lock:
        for pid in _running:
            _kill(pid)
        if _kept is not None:
            _sweep(_kept)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _adopt_orphans(adopt: bool) -> bool:
    """Let descendants that lose their parent be this process's children, or init's; if it works."""
    try:
        import ctypes  # Slow to import, and hardly any session needs it.

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return False
    values = [ctypes.c_ulong(value) for value in (int(adopt), 0, 0, 0)]
    return bool(prctl(_SET_CHILD_SUBREAPER, *values) == 0)


def _sweep(kept: AbstractSet[int]) -> None:
    """Kill every descendant of this process but those."""
    end = time.monotonic() + _SWEEP_S
    while time.monotonic() < end:
        found = _descendants(kept)
        living = [pid for pid, process in found.items() if not process.is_dead]
        for pid in living:
            # Another user's program, which it became by setuid, is not ours to kill.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in set(found) - set(living) - _running:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if not living:
            return
        time.sleep(_GRACE_S)


class _Process(NamedTuple):
    parent: int
    is_dead: bool


def _descendants(kept: AbstractSet[int]) -> Dict[int, _Process]:
    """The children of this process, and theirs, without those that are kept."""
    everything = _processes()
    found: Dict[int, _Process] = {}
    parents: List[int] = [os.getpid()]
    while parents:
        parent = parents.pop()
        for pid, process in everything.items():
            if process.parent == parent and pid not in kept:
                found[pid] = process
                parents.append(pid)
    return found


def _processes() -> Dict[int, _Process]:
    """Every process that can be seen, by its id; none where nothing tells."""
    found: Dict[int, _Process] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return found
    for name in names:
        if name.isdecimal():
            with contextlib.suppress(OSError):  # It has ended meanwhile.
                with open(f"/proc/{name}/stat", "rb") as stream:
                    # The name of its program comes before, in brackets, and may hold anything.
                    state, parent = stream.read().rpartition(b")")[2].split()[:2]
                found[int(name)] = _Process(int(parent), state in (b"Z", b"X"))
    return found
