"""Memory that ran out: ends by the kernel, counted, and what to say of a refusal."""

from __future__ import annotations

import os
import re
from typing import Optional

from device_agent.failures import AgentFailure
from device_agent.protocol import ErrorCode
from device_agent.system_files import read_text

MORE_MEMORY = "try a smaller model or fewer threads, or end what else takes memory there"
_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def oom_kills(root: str = "/") -> Optional[int]:
    """A count that grows with every such end, on this device or in our control group; None where
    the system keeps none.

    Args:
        root: of the file system.
    """
    texts = [read_text(os.path.join(root, "proc/vmstat"))]
    for line in read_text(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        group = path.lstrip("/")
        if number == "0":
            texts.append(read_text(os.path.join(root, "sys/fs/cgroup", group, "memory.events")))
        elif "memory" in controllers.split(","):
            # Version 1 of control groups.
            folder = os.path.join(root, "sys/fs/cgroup/memory", group)
            texts.append(read_text(os.path.join(folder, "memory.oom_control")))
    counts = [int(match.group(1)) for match in map(_COUNT.search, texts) if match]
    return sum(counts) if counts else None


def refused_memory() -> AgentFailure:
    """What to say where a model's process asked for memory and got none."""
    return AgentFailure(
        ErrorCode.OUT_OF_MEMORY,
        "the device refused its model's process the memory that it asked for",
        MORE_MEMORY,
    )
