"""Applying a patch in a process of its own: what it may cost is memory, and the agent's stays.

The result is not believed: whoever asked for it compares its hash.
"""

from __future__ import annotations

import subprocess
import sys

from device_agent import children
from device_agent.durable import remove
from device_agent.failures import AgentFailure
from device_agent.protocol import ErrorCode

LONGEST_S = 600.0


def apply_patch(program: str, base: str, patch: str, path: str, size: int) -> None:
    """Run `device_agent.patch_worker` in a process.

    Args:
        program: the agent's zipapp.
        size: of the file to make, in bytes. A patch that says that it makes another is not begun:
            it could fill the disk before its hash is looked at.

    Raises:
        AgentFailure: "delta_failed": out of memory or of processes, too slow, or not a patch of
            this base.
    """
    argv = [sys.executable, program, "patch", base, patch, path, str(size)]
    started = children.running(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        with started as child:
            _, said = child.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired as error:
        remove(path)
        raise _failed(f"it was not done after {LONGEST_S:g} s") from error
    except OSError as error:
        raise _failed(f"no process for it can be started: {error.strerror}") from error
    if child.returncode != 0:
        remove(path)
        words = said.decode("utf-8", "replace").strip().splitlines()
        ended = f"signal {-child.returncode}" if child.returncode < 0 else "failed"
        raise _failed(words[-1] if words else ended)


def _failed(why: str) -> AgentFailure:
    return AgentFailure(
        ErrorCode.DELTA_FAILED,
        f"the delta could not be applied on the device: {why}",
        "push the full package",
    )
