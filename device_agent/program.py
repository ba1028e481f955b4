"""What the zipapp runs: `serve MARKER ROOT` for a host, `worker` and `patch` for the agent."""

from __future__ import annotations

import signal
from typing import Sequence

from device_agent import patching, worker
from device_agent.channel import guard_standard_streams
from device_agent.session import Session


def main(argv: Sequence[str], program: str) -> int:
    """Run one of the two; returns the exit status.

    Args:
        argv: without the program's name.
        program: path of the zipapp, which workers are started from.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The host's end of file is what ends us.
    if argv[0] == "worker":
        return worker.main()
    if argv[0] == patching.COMMAND:
        return patching.main(argv[1:])
    _, marker, root = argv
    read_fd, write_fd = guard_standard_streams()
    return Session(read_fd, write_fd, root, program).serve(marker)
