"""What the zipapp runs: `serve MARKER ROOT` for a host; `worker` and `patch` for the agent itself;
and the commands of `device_agent.local` for whoever has a package on the device.

Each imports what it needs and no more: boards are slow.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn, Sequence

from device_agent import bytecode


def main(argv: Sequence[str], program: str) -> int:
    """Run one of them; returns the exit status.

    Args:
        argv: without the program's name.
        program: path of the zipapp, which workers are started from.
    """
    role = argv[0] if argv else ""
    if role in ("serve", "worker", "patch"):
        bytecode.prefer(program, build=role == "serve")
    if role == "serve":
        _serve(argv[1], argv[2], program)
    if role == "worker":
        from device_agent import worker

        _leave_interrupts_to_the_agent()
        return worker.main()
    if role == "patch":
        from device_agent import patch_worker

        _leave_interrupts_to_the_agent()
        return patch_worker.main(argv[1:])
    from device_agent import local

    return local.main(argv, program)


def _serve(marker: str, root: str, program: str) -> NoReturn:
    from device_agent.channel import guard_standard_streams
    from device_agent.session import Session

    _leave_interrupts_to_the_agent()
    read_fd, write_fd = guard_standard_streams()
    code = Session(read_fd, write_fd, root, program).serve(marker)
    sys.stderr.flush()
    os._exit(code)  # All is written; taking the interpreter down takes as long as a round trip.


def _leave_interrupts_to_the_agent() -> None:
    """The host's end of file is what ends a session, and the session its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
