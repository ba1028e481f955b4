"""The error tree: what was found, what was expected, what to do next, and the exit code it earns.

A failed gate is not here: it is a verdict. Anything raised that is no `EdgeSDKError` is our bug.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesdk.values.remedies import BudgetName, Remedy


class ExitCode(IntEnum):
    """Exit codes of the command line, documented in README."""

    PASSED = 0
    GATE_FAILED = 1
    USAGE = 2
    BAD_INPUT = 3
    DEVICE = 4
    TOOLCHAIN = 5
    INVALID_MEASUREMENT = 6


class EdgeSDKError(Exception):
    """Root of every error the user can act on.

    Args:
        message: one sentence: what was found and what was expected.
        hint: one sentence: what to do next.
        details: further lines, one fact each (all problems of a file, the largest tensors, ...).
    """

    exit_code: int = ExitCode.BAD_INPUT

    def __init__(self, message: str, *, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)

    def facts(self) -> Mapping[str, object]:
        """What it says beyond sentences, for programs."""
        return {}

    def __str__(self) -> str:
        return "\n".join(
            [self.message, *(f"  {line}" for line in self.details), *filter(None, [self.hint])]
        )


class UsageError(EdgeSDKError):
    """The command was put together wrongly; nothing was tried."""

    exit_code = ExitCode.USAGE


class Interrupted(EdgeSDKError):
    """The user, or the system, ended the command.

    Args:
        signal_number: what came; the exit code is 128 more, as shells have it.
        message: what that ended.
    """

    def __init__(
        self, signal_number: int, message: str = "interrupted; nothing half-written is in use"
    ) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class MalformedFile(EdgeSDKError):
    """A file does not have the shape it should; lists every problem."""


class TargetError(EdgeSDKError):
    """An unknown target or a descriptor that does not hold."""


class ProjectError(EdgeSDKError):
    """A project file that does not hold."""


class ModelError(EdgeSDKError):
    """A model file that is missing, broken, or not usable as it is."""


class DataError(EdgeSDKError):
    """Calibration or evaluation data that do not fit the model."""


class ConversionError(EdgeSDKError):
    """The toolchain ran and did not deliver."""

    exit_code = ExitCode.TOOLCHAIN


class IncompatibleTarget(EdgeSDKError):
    """A model and a target that do not go together."""


class ToolchainMissing(EdgeSDKError):
    """A toolkit that is needed here is not installed; the hint is the command that installs it."""

    exit_code = ExitCode.TOOLCHAIN


class ArtifactError(EdgeSDKError):
    """An artifact directory that is damaged, or cannot be written."""


class PackageError(EdgeSDKError):
    """A package file that is damaged, or cannot be built."""


class SigningError(EdgeSDKError):
    """A key that cannot be used, or a trust that does not hold."""


class NotTrusted(SigningError):
    """What is there is not what somebody trusted has signed.

    Args:
        code: the machine-readable reason from `device_agent.trust.Reason`, or "no_trust" where
            there is no trust to judge by.
    """

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code

    def facts(self) -> Mapping[str, object]:
        """The code."""
        return {"code": self.code}


class ExportError(EdgeSDKError):
    """A tool that makes another system's file ran and did not deliver."""

    exit_code = ExitCode.TOOLCHAIN


class WheelFolderError(EdgeSDKError):
    """A folder that wheels were to be taken from, and that is not there or holds none."""


class BudgetExceeded(PackageError):
    """A size budget is broken.

    Args:
        what: the budget, e.g. "package".
        limit_bytes: the budget in bytes.
        actual_bytes: what it would take, in bytes.
        largest: the largest contributors, largest first.
        remedies: what would bring it under, or part of the way.
    """

    def __init__(
        self,
        message: str,
        *,
        what: BudgetName,
        limit_bytes: int,
        actual_bytes: int,
        hint: str = "",
        largest: Sequence[str] = (),
        remedies: Sequence[Remedy] = (),
    ) -> None:
        told = [f"to save: {remedy}" for remedy in remedies]
        super().__init__(message, hint=hint, details=[*largest, *told])
        self.what = what
        self.limit_bytes = limit_bytes
        self.actual_bytes = actual_bytes
        self.largest = tuple(largest)
        self.remedies = tuple(remedies)

    def facts(self) -> Mapping[str, object]:
        """The budget, the numbers and the remedies."""
        return {
            "budget": self.what,
            "limit_bytes": self.limit_bytes,
            "actual_bytes": self.actual_bytes,
            "remedies": self.remedies,
        }


class HistoryError(EdgeSDKError):
    """A run that is not there, or a history that cannot be read or written."""


class DeviceError(EdgeSDKError):
    """Root of everything that went wrong between here and the device, or on it."""

    exit_code = ExitCode.DEVICE


class UnknownDevice(EdgeSDKError):
    """No device of that name is enrolled."""


class TransportError(DeviceError):
    """The connection failed: closed port, silent host, dropped line.

    Attributes:
        connected: it failed after it had been made, so that something may have happened over there.
    """

    connected: bool = True


class HostKeyMismatch(TransportError):
    """The host answered with another key than the enrolled one; nothing was sent."""


class AuthenticationFailed(TransportError):
    """The host is the right one but does not let us in."""


class DeadlineExceeded(TransportError):
    """The other side did not answer in time."""


class AgentError(DeviceError):
    """The agent on the device reported a failure, or died.

    Args:
        code: the machine-readable code from `device_agent.protocol.ErrorCode`.
    """

    def __init__(
        self, message: str, *, code: str = "", hint: str = "", details: Sequence[str] = ()
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.code = code

    def facts(self) -> Mapping[str, object]:
        """The code, where there is one."""
        return {"code": self.code} if self.code else {}


class NoWheels(DeviceError):
    """No wheels of a runtime fit a device, or they cannot be had here."""


class Unhealthy(AgentError):
    """A package did not pass the health check on its device, which is as it was before."""

    exit_code = ExitCode.GATE_FAILED
