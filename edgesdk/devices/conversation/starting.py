"""How the agent is started on a device, and sent there first if the device does not have it.

What goes over the wire for it is made in `edgesdk.devices.bootstrap`.
"""

from __future__ import annotations

from device_agent.protocol import ENROL_DEVICE
from edgesdk.devices.conversation.exchange import EXIT_S
from edgesdk.devices.transport import CommandEnded, Deadline, Process
from edgesdk.errors import AgentError, DeadlineExceeded
from edgesdk.units import MIB

_START_S = 30.0
_NOISE_LINE_BYTES = 1 * MIB
_SHELL_FOUND_NO_COMMAND = 127


def bring_up(process: Process, python: str, marker: str, zipapp: bytes, hello: bytes) -> None:
    """Bring the process to the point where it is the agent.

    Args:
        hello: what the agent is told first; it waits there while the agent starts.

    Raises:
        AgentError: there is no such Python, it is too old, or it does not start the agent.
    """
    deadline = Deadline(_START_S)
    try:
        word = _after_marker(process, marker, deadline)
        if word == "NEED":
            process.write(zipapp + hello, deadline.left_s())
            word = _after_marker(process, marker, deadline)
        elif word == "HAVE":
            process.write(hello, deadline.left_s())
            word = _after_marker(process, marker, deadline)
    except CommandEnded as error:
        raise _did_not_start(process, python, error) from error
    if word.startswith("OLD "):
        raise AgentError(
            f"{python} on the device is Python {word[4:]}, expected 3.7 or newer",
            hint=f"name another one: {ENROL_DEVICE} --python PATH",
        )
    if word:
        raise AgentError(f"the agent did not start on the device: it said {word!r}")


def _after_marker(process: Process, marker: str, deadline: Deadline) -> str:
    """What follows the next marker on its line; noise from login scripts is skipped."""
    while True:
        line = process.read_line(_NOISE_LINE_BYTES, deadline.left_s()).decode("utf-8", "replace")
        word, _, rest = line.strip().partition(" ")
        if word == marker:
            return rest


def _did_not_start(process: Process, python: str, error: CommandEnded) -> AgentError:
    try:
        code = process.wait(EXIT_S)
    except DeadlineExceeded:
        return AgentError("the agent did not start on the device", details=error.details)
    if code == _SHELL_FOUND_NO_COMMAND:
        return AgentError(
            f"the device has no {python}",
            hint=f"install Python 3.7 or newer there, or name it: {ENROL_DEVICE} --python PATH",
            details=error.details,
        )
    return AgentError(
        f"{python} on the device did not start the agent (exit status {code})",
        hint="check that it is Python 3.7 or newer",
        details=error.details,
    )
