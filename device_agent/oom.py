"""How often the kernel has ended processes because memory ran out."""

from __future__ import annotations

import os
import re
from typing import Optional

from device_agent.system_files import read_text

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
