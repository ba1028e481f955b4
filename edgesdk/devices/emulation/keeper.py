"""A process that keeps a server while somebody holds the other end of its stdin.

    python -m edgesdk.devices.emulation.keeper PROGRAM ARGUMENT...

However the one who started it ends, SIGKILL included, its stdin ends then, and with it the server
and everything the server started, also what made a session of its own.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Sequence

from device_agent.children import adopting, running


def await_end(server: int) -> None:
    """Return when our stdin or the process of that id has ended, whichever is first."""
    ended = os.pidfd_open(server)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    poll.poll()


def main(argv: Sequence[str]) -> None:
    """Run `argv` until either ends."""
    with adopting(), running(argv, stdin=subprocess.DEVNULL) as server:
        await_end(server.pid)


if __name__ == "__main__":
    main(sys.argv[1:])
