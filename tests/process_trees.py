"""Who started whom on this machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """The processes that one has started, and theirs."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # It has ended meanwhile.
                # The name of its program comes before, in brackets, and may hold anything.
                words = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                parents[int(entry.name)] = int(words[1])
    found, looked_at = [], [pid]
    while looked_at:
        parent = looked_at.pop()
        children = [child for child, of in parents.items() if of == parent]
        found += children
        looked_at += children
    return found


def await_gone(pids: Sequence[int], within_s: float = 10) -> None:
    """Fail unless they end."""
    deadline = time.monotonic() + within_s
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.02)
