"""What devices were when they were last looked at: a file beside the inventory, never the truth.

It is for lists, which contact nobody. A device that is forgotten leaves its line behind, which is
shown for no other: the host key is part of it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesdk.devices.inventory import Device
from edgesdk.errors import MalformedFile
from edgesdk.files import one_writer
from edgesdk.serial import read_json, write_json

_FILE = "last-seen.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A device when it was last shown, or seen by the doctor.

    Args:
        at: UTC, "YYYY-MM-DDTHH:MM:SSZ".
        host_key: it answered with.
        board: what it calls itself; "" where it does not.
        system: its operating system.
        able: when the doctor last looked, nothing kept it from doing what its target asks; None
            where the doctor was never asked.
        errors: ids of what did.
    """

    at: str
    host_key: str
    board: str
    system: str
    able: bool | None = None
    errors: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.able is None:
            return "seen"
        return "able" if self.able else f"not able: {', '.join(self.errors)}"


@dataclass(frozen=True, slots=True)
class _LastSeen:
    devices: Mapping[str, Seen]


def load(folder: Path) -> Mapping[str, Seen]:
    """By name of the device; a file that does not hold is one of before, and begun anew.

    Args:
        folder: that the inventory lies in.
    """
    path = folder / _FILE
    try:
        return read_json(_LastSeen, path).devices if path.exists() else {}
    except MalformedFile as error:
        _log.warning("%s: what was seen of devices before is forgotten", error.message)
        return {}


def keep(folder: Path, device: Device, seen: Seen) -> None:
    """Remember a visit, in the place of the one before; what cannot be kept costs a warning."""
    path = folder / _FILE
    try:
        with one_writer(path):
            write_json(path, _LastSeen({**load(folder), device.name: seen}))
    except OSError as error:
        _log.warning("this visit to %s is not remembered: %s", device.name, error)


def of(device: Device, kept: Mapping[str, Seen]) -> Seen | None:
    """The last visit to that very device; None where it has not been visited."""
    seen = kept.get(device.name)
    return seen if seen is not None and seen.host_key == device.host_key else None
