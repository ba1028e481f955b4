"""Which of the enrolled devices are meant: by name, by tag, by pattern, or all of them.

A selection is one word of the command line: "all", "tag:pi5", "pi-*", "desk,tag:lab-a". A plain
name is none: it is that device, and its command behaves as it does with one device.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device
from edgesdk.errors import UnknownDevice, UsageError
from edgesdk.files import one_writer

ALL = "all"
_TAG = "tag:"
_PATTERN = re.compile(r"[*?\[]")
_TAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def is_selection(text: str) -> bool:
    """Whether it may mean many, rather than being one device's name."""
    return text == ALL or text.startswith(_TAG) or "," in text or bool(_PATTERN.search(text))


def select(devices: Sequence[Device], text: str) -> tuple[Device, ...]:
    """The devices that are meant, each once, in the order of the inventory.

    Raises:
        UnknownDevice: a part of the selection that means none.
        UsageError: an empty part.
    """
    parts = [part.strip() for part in text.split(",")]
    chosen = {device.name for part in parts for device in _meant(devices, part)}
    return tuple(device for device in devices if device.name in chosen)


def _meant(devices: Sequence[Device], part: str) -> Sequence[Device]:
    if not part:
        raise UsageError(
            "found an empty name among the devices",
            hint="a selection is all, tag:NAME, a pattern such as 'pi-*', or names with commas",
        )
    if not (part == ALL or part.startswith(_TAG) or _PATTERN.search(part)):
        return [inventory.find(devices, part)]
    found = [device for device in devices if _matches(part)(device)]
    if not found:
        raise UnknownDevice(
            _none(part), hint="`edgesdk device ls` lists the devices and their tags."
        )
    return found


def _matches(part: str) -> Callable[[Device], bool]:
    if part == ALL:
        return lambda _: True
    if part.startswith(_TAG):
        return lambda device: part.removeprefix(_TAG) in device.tags
    return lambda device: fnmatch.fnmatchcase(device.name, part)


def _none(part: str) -> str:
    if part == ALL:
        return "no device is enrolled"
    if part.startswith(_TAG):
        return f"no device has the tag {part.removeprefix(_TAG)!r}"
    return f"no device's name matches {part!r}"


def checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags in order, each once.

    Raises:
        UsageError: one that cannot be a tag.
    """
    for tag in tags:
        if not _TAG_NAME.fullmatch(tag):
            raise UsageError(
                f"found tag {tag!r}, expected letters, digits, '.', '_' and '-', starting with a "
                "letter or digit"
            )
    return tuple(sorted(set(tags)))


def change_tags(path: Path, name: str, changes: Sequence[str]) -> Device:
    """Give a device tags ("+lab-a") and take others away ("-lab-b"); the device as it is then.

    Raises:
        UnknownDevice: there is none of that name.
        UsageError: a change without its sign, or one that cannot be a tag.
    """
    if wrong := [change for change in changes if change[:1] not in ("+", "-")]:
        raise UsageError(f"found {wrong[0]!r}, expected +TAG to add a tag or -TAG to remove one")
    added = checked_tags([change[1:] for change in changes if change[0] == "+"])
    removed = checked_tags([change[1:] for change in changes if change[0] == "-"])
    with one_writer(path):
        devices = inventory.load(path)
        before = inventory.find(devices, name)
        after = replace(before, tags=checked_tags([*(set(before.tags) - set(removed)), *added]))
        inventory.save(path, [after if each is before else each for each in devices])
    return after
