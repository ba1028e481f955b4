"""What is still missing of a set of wheels, by the board's markers and not by this machine's.

`pip download` chooses files for another Python, but it judges markers such as
'python_version < "3.10"' by the Python it runs on. So what it brought is read here: which
requirements of the board are not met, and which wheels nothing on the board needs.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from edgesdk.errors import NoWheels

_METADATA_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on this machine.

    Args:
        name: as indexes compare it.
        requires: its Requires-Dist lines.
        unpacked_bytes: of all files in it.
    """

    path: Path
    name: str
    version: Version
    requires: tuple[str, ...]
    unpacked_bytes: int


@dataclass(frozen=True, slots=True)
class Closure:
    """What a set of wheels comes to on a board.

    Args:
        needed: the wheels that something needs, the wanted ones first.
        unmet: requirements of the board that none of the wheels meets, without their markers.
    """

    needed: tuple[Wheel, ...]
    unmet: tuple[str, ...]


def read_wheel(path: Path) -> Wheel:
    """Name, version, dependencies and size of a wheel.

    Raises:
        NoWheels: it is none, or damaged.
    """
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            entry = next(
                each
                for each in archive.infolist()
                if each.filename.endswith(".dist-info/METADATA") and each.filename.count("/") == 1
            )
            with archive.open(entry) as stream:
                metadata, _ = parse_email(stream.read(_METADATA_BYTES))
            size = sum(each.file_size for each in archive.infolist())
    except (InvalidWheelFilename, zipfile.BadZipFile, StopIteration, OSError) as error:
        raise NoWheels(f"{path} is no wheel that can be read: {error}") from error
    return Wheel(path, name, version, tuple(metadata.get("requires_dist", ())), size)


def close(
    wanted: Sequence[str], wheels: Iterable[Wheel], environment: Mapping[str, str]
) -> Closure:
    """Follow the dependencies from what is wanted.

    Args:
        environment: `tags.marker_environment` of the board.
    """
    by_name = {wheel.name: wheel for wheel in wheels}
    needed: dict[str, Wheel] = {}
    unmet: dict[str, None] = {}
    waiting = [(Requirement(text), frozenset[str]()) for text in wanted]
    seen = set()
    while waiting:
        requirement, extras = waiting.pop(0)
        if (str(requirement), extras) in seen or not _applies(requirement, extras, environment):
            continue
        seen.add((str(requirement), extras))
        wheel = by_name.get(canonicalize_name(requirement.name))
        if wheel is None or not requirement.specifier.contains(wheel.version, prereleases=True):
            unmet[_bare(requirement)] = None
            continue
        needed[wheel.name] = wheel
        wants = frozenset(requirement.extras)
        waiting.extend((each, wants) for each in _requirements(wheel))
    return Closure(tuple(needed.values()), tuple(unmet))


def _requirements(wheel: Wheel) -> list[Requirement]:
    try:
        return [Requirement(text) for text in wheel.requires]
    except InvalidRequirement as error:
        raise NoWheels(f"{wheel.path.name} asks for what cannot be read: {error}") from error


def _applies(
    requirement: Requirement, extras: frozenset[str], environment: Mapping[str, str]
) -> bool:
    if requirement.marker is None:
        return True
    chosen = extras or {""}
    return any(requirement.marker.evaluate({**environment, "extra": each}) for each in chosen)


def _bare(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"
