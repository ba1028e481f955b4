"""The wire between workstation and agent: JSON lines over the SSH channel's stdin and stdout.

The agent first prints a line with the marker its caller chose, so that noise from login scripts
cannot be mistaken for an answer. Then each message is one line: {"type": NAME, "body": {...}}.
A message whose body has `payload_bytes` is followed by exactly that many raw bytes.

The host asks, the agent answers with the reply named in the request's docstring, with any number of
`Progress` before it, or with `Failure` instead of it. A `Failure` may come before the payload is
all sent; the agent then swallows the rest. Unknown fields are ignored; what both sides understand
is settled by `Hello` and `Welcome`.
"""

from __future__ import annotations

from typing import Optional

from device_agent.environment_messages import Environment
from device_agent.lease_messages import LEASE_MESSAGES
from device_agent.measuring_messages import Sustain, Sustained, Window
from device_agent.model_messages import MODEL_MESSAGES
from device_agent.output_messages import OUTPUT_MESSAGES
from device_agent.package_messages import PACKAGE_MESSAGES
from device_agent.profile_messages import ModelPlacement, Profile, Profiled, ReadPlacement
from device_agent.records import record
from device_agent.runtime_messages import RUNTIME_MESSAGES
from device_agent.stage_messages import STAGE_MESSAGES
from device_agent.trust_messages import TRUST_MESSAGES, TrustState

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1


class ErrorCode:
    """Machine-readable causes in `Failure.code`."""

    PROTOCOL = "protocol"
    BAD_REQUEST = "bad_request"
    CORRUPT_PACKAGE = "corrupt_package"
    INCOMPATIBLE = "incompatible"
    UNTRUSTED = "untrusted"
    EXPIRED = "expired"
    DOWNGRADE = "downgrade"
    BASE_MISSING = "base_missing"
    RESUME_FAILED = "resume_failed"
    DELTA_FAILED = "delta_failed"
    UNHEALTHY = "unhealthy"
    NO_PREVIOUS = "no_previous"
    OVER_BUDGET = "over_budget"
    DISK_FULL = "disk_full"
    STORAGE = "storage"
    NOT_INSTALLED = "not_installed"
    NO_RUNTIME = "no_runtime"
    RUNTIME_FAILED = "runtime_failed"
    WORKER_DIED = "worker_died"
    HUNG = "hung"
    OUT_OF_MEMORY = "out_of_memory"
    BUSY = "busy"
    INTERNAL = "internal"

    WORKER_GONE = (WORKER_DIED, HUNG, OUT_OF_MEMORY)
    """Those after which the worker they are of is no more."""


@record(frozen=True)
class Hello:
    """Host to agent, first message. Reply: `Welcome`.

    Args:
        time_s: the host's clock, in seconds since 1970; 0 where it says nothing. Boards without a
            battery wake up in 1970: no earlier time than this is believed of the device's own.
    """

    protocol_min: int
    protocol_max: int
    host_version: str
    time_s: int = 0


@record(frozen=True)
class Welcome:
    """The protocol both sides speak from here on, and the device.

    Args:
        trust: whom the device believes; None where its store cannot be used, and `GetTrust` says
            why.
    """

    protocol: int
    agent_version: str
    environment: Environment
    trust: Optional[TrustState] = None


@record(frozen=True)
class Inspect:
    """What is the device in detail, and what was its package made with?

    Reply: `inspection_messages.Inspection`, a module that only whoever asks waits for.

    Args:
        package: name of the package; "" is the one that was committed last.
    """

    package: str = ""


@record(frozen=True)
class Progress:
    """How far a request is, in units of its own choosing; a total of 0 is one nobody knows.

    Args:
        silence_s: from here on the agent may be silent for so long; 0 leaves it as it was.
    """

    done: int
    total: int
    what: str
    silence_s: float = 0.0


DEVICE = "DEVICE"
"""Stands in hints for what the host calls this device, which it puts in."""
ENROL_DEVICE = "ENROL_DEVICE"
"""Stands in hints for the host's command that enrols this device as it is; an option of it may
follow."""


@record(frozen=True)
class Failure:
    """Instead of the reply: what was found and expected, and what to do.

    Args:
        hint: `DEVICE` and `ENROL_DEVICE` stand for what only the host knows.
    """

    code: str
    message: str
    hint: str = ""


@record(frozen=True)
class Goodbye:
    """Host to agent: end the session. No reply; closing stdin does the same."""


MESSAGES = {
    message.__name__: message
    for message in (
        Hello,
        Welcome,
        Inspect,
        Sustain,
        Window,
        Sustained,
        ReadPlacement,
        ModelPlacement,
        Profile,
        Profiled,
        Progress,
        Failure,
        Goodbye,
        *PACKAGE_MESSAGES,
        *TRUST_MESSAGES,
        *MODEL_MESSAGES,
        *STAGE_MESSAGES,
        *LEASE_MESSAGES,
        *OUTPUT_MESSAGES,
        *RUNTIME_MESSAGES,
    )
}
