"""What became of one of many: its result or its problem, as a value that can travel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edgesdk.errors import EdgeSDKError

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a value: exceptions do not travel well between processes.

    Args:
        type: name of its class, e.g. "AgentError".
        exit_code: what it earns, as of `edgesdk.errors.ExitCode`.
        facts: what it says beyond sentences.
    """

    type: str
    message: str
    hint: str
    details: tuple[str, ...]
    exit_code: int
    facts: Mapping[str, object] = field(default_factory=dict)


def problem_of(error: EdgeSDKError | OSError) -> Problem:
    """The same as a value."""
    if isinstance(error, EdgeSDKError):
        kind = type(error).__name__
        exit_code = int(error.exit_code)
        return Problem(kind, error.message, error.hint, error.details, exit_code, error.facts())
    place = f"{error.filename}: " if error.filename else ""
    message = f"{place}{error.strerror or error}"
    return Problem("EdgeSDKError", message, "", (), int(EdgeSDKError.exit_code))


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one device.

    Args:
        device: its name.
        value: the result; None where there is a problem.
        problem: why there is no result; None where there is one.
        exit_code: of the problem, else what the result earns.
        attempts: how often it was tried.
        elapsed_s: from the first attempt to the end, pauses included.
    """

    device: str
    value: T | None
    problem: Problem | None
    exit_code: int
    attempts: int
    elapsed_s: float


def gravest(exit_codes: Sequence[int]) -> int:
    """The exit code of many: the highest; 0 where all passed."""
    return max(exit_codes, default=0)
