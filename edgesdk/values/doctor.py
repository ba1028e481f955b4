"""A device in detail, and what does not fit between it, its target and its package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from device_agent.environment_messages import Environment
from device_agent.inspection_messages import Inspection

Severity = Literal["error", "warning", "note"]
"""An error keeps the device from doing what its target asks; a warning may cost a day; a note is
worth knowing."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A device as one visit found it.

    Args:
        device: what the user calls it.
        host_key_type: of the host key it is enrolled with, such as "ssh-ed25519".
        virtual: it is an emulation, whose hardware is this machine's.
        asked: name of the installed package that was asked for; "" where none was.
        clock_ahead_s: how far its clock is ahead of ours, in seconds; the time that the answer took
            is not held against it.
    """

    device: str
    host_key_type: str
    virtual: bool
    environment: Environment
    inspection: Inspection
    asked: str = ""
    clock_ahead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit.

    Args:
        id: of what was looked at, such as "runtime" or "clock"; docs/devices.md lists them.
        says: one sentence.
        found: on the device.
        expected: by the target, the package, or ourselves.
        remedy: what to do; empty where nothing can be done.
    """

    id: str
    severity: Severity
    says: str
    found: str
    expected: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the doctor says of a device.

    Args:
        target: id of the target it was compared with.
        package: name and version of the package it was compared with; "" where there is none.
        virtual: it is an emulation; its hardware, which is this machine's, was not compared.
        able: nothing keeps it from doing what its target asks.
        findings: errors first.
    """

    device: str
    target: str
    package: str
    virtual: bool
    able: bool
    findings: tuple[Finding, ...]
    environment: Environment
    inspection: Inspection
