"""The process that applies one patch: what it may cost is memory, and the agent's stays."""

from __future__ import annotations

import sys
from typing import Sequence

from device_agent import delta
from device_agent.durable import append_file
from device_agent.environment import volunteer_for_the_oom_killer

_FAILED = 1


def main(argv: Sequence[str]) -> int:
    """Make a new file of a base and a patch: three paths and its size; the exit status."""
    base_path, patch_path, path, size = argv
    volunteer_for_the_oom_killer()
    try:
        with open(base_path, "rb") as base, open(patch_path, "rb") as patch:
            _require_size(delta.new_size(patch), int(size))
            with append_file(path, 0) as write:
                delta.apply(patch, base, write)
    except (delta.BadDelta, MemoryError, OSError) as error:
        sys.stderr.write("%s: %s\n" % (type(error).__name__, error))
        return _FAILED
    return 0


def _require_size(found: int, expected: int) -> None:
    if found != expected:
        raise delta.BadDelta("the patch makes %d bytes, expected %d" % (found, expected))
