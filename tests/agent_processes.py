"""The agent's processes on this machine, as tests look for them."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path


def agent_processes(root: Path) -> dict[int, str]:
    """Those of the stores below a folder: what each does, "serve", "worker" or "patch"."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # It has ended meanwhile.
                for role, place in _roles(entry):
                    if place.is_relative_to(root):
                        found[int(entry.name)] = role
    return found


def _roles(process: Path) -> Iterator[tuple[str, Path]]:
    argv = [os.fsdecode(word) for word in (process / "cmdline").read_bytes().split(b"\0")[:-1]]
    if "-c" in argv and len(argv) > 4 and argv[-4].startswith("edgesdk-"):
        yield "serve", _expanded(argv[-1], process)
    for word, following in itertools.pairwise(argv):
        if word.endswith(".pyz"):
            yield following, Path(word)


def _expanded(folder: str, process: Path) -> Path:
    """A folder as the process sees it: "~" is its own home."""
    pairs = (each.partition(b"=") for each in (process / "environ").read_bytes().split(b"\0"))
    homes = [os.fsdecode(value) for name, _, value in pairs if name == b"HOME"]
    return Path(folder.replace("~", homes[0], 1) if homes and folder.startswith("~") else folder)
