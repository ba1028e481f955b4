"""What an agent advises, in the words of this workstation: it knows what the device is called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from device_agent.protocol import DEVICE, ENROL_DEVICE
from edgesdk.devices.inventory import Device, enrolling
from edgesdk.errors import AgentError

_STAND_INS = re.compile(rf"\b(?:{DEVICE}|{ENROL_DEVICE})\b")


@contextmanager
def named(device: Device) -> Iterator[None]:
    """Let the advice of an `AgentError` name the device, and the command that enrols it."""
    words = {DEVICE: device.name, ENROL_DEVICE: enrolling_otherwise(device)}
    try:
        yield
    except AgentError as error:
        error.hint = _STAND_INS.sub(lambda found: words[found[0]], error.hint)
        raise


def enrolling_otherwise(device: Device) -> str:
    """The command that enrols it once more, but for `--python`, which follows."""
    return enrolling(replace(device, python="python3"))
