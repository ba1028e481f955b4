"""The part of the conversation by which the agent gets runtimes of its own, and loses them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_agent.runtime_messages import (
    FinishRuntime,
    Interpreter,
    ListRuntimes,
    OfferRuntime,
    ReadInterpreter,
    RemoveRuntimes,
    RemoveStore,
    RuntimeInstalled,
    RuntimeOffered,
    RuntimesHere,
    SendWheel,
    StoreRemoved,
    WheelFile,
    WheelTaken,
)
from edgesdk.devices.agent import AgentSession
from edgesdk.errors import NoWheels
from edgesdk.progress import Advance, Progress, Silent
from edgesdk.units import KIB
from edgesdk.values.runtime_lock import PinnedWheel, RuntimeLock

_PIECE_BYTES = 256 * KIB
_UNPACKING_S = 600.0
"""A large wheel is unpacked and made durable without a word, on a slow card."""
_IMPORTING_S = 300.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A runtime that was brought to a device.

    Args:
        receipt: what the agent says of it.
        sent_bytes: what had to travel; wheels that were there already did not.
    """

    receipt: RuntimeInstalled
    sent_bytes: int


def read_interpreter(agent: AgentSession) -> Interpreter:
    """Which Python runs the agent."""
    return agent.converse(ReadInterpreter(), Interpreter, Silent())


def send_runtime(
    agent: AgentSession, name: str, lock: RuntimeLock, folder: Path, progress: Progress
) -> Sent:
    """Bring the wheels of a runtime to a device, and have it import them.

    Args:
        name: of the runtime, as the device keeps it.
        folder: where the wheels lie here.

    Raises:
        AgentError: the device refuses them, or does not import them; nothing of them is left.
        NoWheels: one of the files has gone or changed.
    """
    wheels = {wheel.sha256: wheel for wheel in lock.wheels}
    offer = OfferRuntime(name, tuple(map(_on_wire, lock.wheels)))
    missing = agent.converse(offer, RuntimeOffered, progress).missing
    lacking = [wheels[digest] for digest in missing]
    total = sum(wheel.size_bytes for wheel in lacking)
    if lacking:
        with progress.task(f"sending {name} to the device", total) as advance:
            for wheel in lacking:
                _send(agent, wheel, folder / wheel.file, advance)
    finish = FinishRuntime(name)
    receipt = agent.converse(finish, RuntimeInstalled, progress, silence_s=_IMPORTING_S)
    return Sent(receipt, total)


def list_runtimes(agent: AgentSession) -> RuntimesHere:
    """What the agent has to itself."""
    return agent.converse(ListRuntimes(), RuntimesHere, Silent())


def remove_runtimes(agent: AgentSession, names: Sequence[str]) -> RuntimesHere:
    """Remove some of them, or all where none is named; what is left."""
    return agent.converse(RemoveRuntimes(tuple(names)), RuntimesHere, Silent())


def remove_store(agent: AgentSession) -> StoreRemoved:
    """Remove all that the agent ever wrote; the session is of no use afterwards."""
    return agent.converse(RemoveStore(), StoreRemoved, Silent())


def _send(agent: AgentSession, wheel: PinnedWheel, path: Path, advance: Advance) -> None:
    request = SendWheel(wheel.sha256, wheel.size_bytes)
    agent.converse(
        request, WheelTaken, Silent(), pieces=_pieces(path, advance), silence_s=_UNPACKING_S
    )


def _pieces(path: Path, advance: Advance) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE_BYTES):
                yield piece
                advance(len(piece))
    except OSError as error:
        raise NoWheels(f"{path} cannot be read: {error.strerror}") from error


def _on_wire(wheel: PinnedWheel) -> WheelFile:
    return WheelFile(wheel.file, wheel.sha256, wheel.size_bytes, wheel.unpacked_bytes)
