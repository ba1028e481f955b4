"""One request to the agent and its reply: every wait bounded, every failure an error of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, TypeVar

from device_agent.codec import BadMessage, decode_message, encode_message
from device_agent.inspection_messages import Inspection
from device_agent.protocol import MESSAGES, ErrorCode, Failure, Progress
from edgesdk.devices.conversation.bars import OnProgress
from edgesdk.devices.transport import CommandEnded, Process
from edgesdk.errors import AgentError, DeadlineExceeded, TransportError, Unhealthy
from edgesdk.units import KIB, MIB

AGENT_DIED = "agent_died"
"""Code of the error when the agent ended in the middle of its work."""
EXIT_S = 2.0
_LINE_BYTES = 64 * MIB
_PIECE_BYTES = 256 * KIB

_UNDERSTOOD = {**MESSAGES, Inspection.__name__: Inspection}
"""The agent has no use for this class before it is asked."""

R = TypeVar("R")


class Exchange:
    """One request and its reply."""

    def __init__(self, process: Process, silence_s: float) -> None:
        self._process = process
        self._silence_s = silence_s

    def ask(
        self,
        request: Any,
        expected: type[R],
        on_progress: OnProgress = lambda _: None,
        pieces: Iterable[bytes] = (),
    ) -> R:
        self.tell(request, on_progress, pieces)
        return self.hear(expected, on_progress)

    def tell(
        self,
        request: Any,
        on_progress: OnProgress = lambda _: None,
        pieces: Iterable[bytes] = (),
    ) -> None:
        """A request and its payload, without waiting for the reply."""
        try:
            self._send(encode_message(request), pieces, on_progress)
        except CommandEnded as error:
            self._hear_last_words()
            raise _agent_died(self._process, error) from error

    def hear(self, expected: type[R], on_progress: OnProgress = lambda _: None) -> R:
        """The reply to what has been asked."""
        silence_s = self._silence_s
        try:
            while isinstance(reply := self._receive(silence_s), Progress):
                on_progress(reply)
                silence_s = max(silence_s, reply.silence_s)
        except CommandEnded as error:
            self._hear_last_words()
            raise _agent_died(self._process, error) from error
        return expect(expected, reply)

    def hear_payload(self, size: int) -> bytes:
        """What follows a reply; every piece of it may take the whole patience."""
        pieces, left = [], size
        try:
            while left:
                pieces.append(self._process.read_exactly(min(left, _PIECE_BYTES), self._silence_s))
                left -= len(pieces[-1])
        except CommandEnded as error:
            raise _agent_died(self._process, error) from error
        return b"".join(pieces)

    def _send(self, line: bytes, pieces: Iterable[bytes], on_progress: OnProgress) -> None:
        self._process.write(line, self._silence_s)
        for piece in pieces:
            # A refusal comes early; without looking, all the rest would still be sent. Looking
            # after the last piece would mistake the answer for one.
            while (early := self._arrived()) is not None:
                on_progress(early)
            self._process.write(piece, self._silence_s)

    def _arrived(self) -> Progress | None:
        try:
            message = self._receive(0)
        except DeadlineExceeded:
            return None
        except AgentError:
            self._process.close()  # It still waits for the rest of the payload.
            raise
        if not isinstance(message, Progress):
            raise AgentError(
                f"the agent answered {type(message).__name__} before it had everything",
                code=ErrorCode.PROTOCOL,
            )
        return message

    def _hear_last_words(self) -> None:
        """Raise the failure that an agent sent before it ended, if it did."""
        with contextlib.suppress(TransportError):
            while True:
                self._receive(0)

    def _receive(self, silence_s: float) -> Any:
        line = self._process.read_line(_LINE_BYTES, silence_s)
        try:
            message = decode_message(line, _UNDERSTOOD)
        except BadMessage as error:
            raise AgentError(
                f"the agent makes no sense: {error}", code=ErrorCode.PROTOCOL
            ) from error
        if isinstance(message, Failure):
            raise _failed(message)
        return message


def expect(expected: type[R], reply: Any) -> R:
    if not isinstance(reply, expected):
        raise AgentError(
            f"the agent answered with {type(reply).__name__}, expected {expected.__name__}",
            code=ErrorCode.PROTOCOL,
        )
    return reply


def _failed(failure: Failure) -> AgentError:
    if failure.code == ErrorCode.INTERNAL:
        return AgentError(
            "the agent on the device failed; this is a defect of edgesdk",
            code=failure.code,
            hint="please report it with the lines above",
            details=failure.message.splitlines(),
        )
    kind = Unhealthy if failure.code == ErrorCode.UNHEALTHY else AgentError
    return kind(failure.message, code=failure.code, hint=failure.hint)


def _agent_died(process: Process, error: CommandEnded) -> AgentError:
    try:
        code = process.wait(EXIT_S)
        # An SSH channel tells no exit status of what a signal has ended, nor which signal.
        how = "killed by a signal" if code < 0 else f"with exit status {code}"
    except DeadlineExceeded:
        how = "its output"
    return AgentError(
        f"the agent on the device ended in the middle of its work ({how})",
        code=AGENT_DIED,
        hint="the device may be out of memory, or someone ended it: try again",
        details=error.details,
    )
