"""The one exception that becomes a `Failure` on the wire."""

from __future__ import annotations

from device_agent.protocol import Failure


class AgentFailure(Exception):
    """A foreseen reason not to do what was asked.

    Args:
        code: one of `ErrorCode`.
        message: what was found and what was expected.
        hint: what to do next; a command that names the device has `protocol.DEVICE` there, one
            that enrols it again is `protocol.ENROL_DEVICE`.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def to_wire(self) -> Failure:
        """The message that tells the host."""
        return Failure(self.code, self.message, self.hint)
