"""What is exported: a verified package file, and what it says of itself in other systems' words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from device_agent.manifest import Manifest
from edgesdk.files import sha256_file
from edgesdk.values.export import Mapped, Wanted
from edgesdk.values.package import Package

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._+-]+")
_NOT_LETTERS = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Content:
    """A package file.

    Args:
        path: the file.
        manifest: what it installs.
        size_bytes: of the file.
        sha256: of the file.
        base: id of the package that a delta is made against; "" for a full package.
    """

    path: Path
    manifest: Manifest
    size_bytes: int
    sha256: str
    base: str

    @property
    def label(self) -> str:
        """Name, version and sequence in one word that no system stumbles over."""
        version = plain_name(self.manifest.version)
        return f"{self.manifest.name}-{version}-{self.manifest.sequence}"

    @property
    def file_name(self) -> str:
        """What the package is called inside an export, whatever the user calls it."""
        return f"{self.manifest.name}.edgepkg"


def content_of(package: Package) -> Content:
    """A package that has been verified.

    Raises:
        OSError: it cannot be read any more.
    """
    delta = package.head.delta
    return Content(
        path=package.path,
        manifest=package.manifest,
        size_bytes=package.size_bytes,
        sha256=sha256_file(package.path),
        base="" if delta is None else delta.base,
    )


def plain_name(text: str) -> str:
    """Letters, digits, dots, plus signs, dashes and underscores; dashes for the rest."""
    return _NOT_PLAIN.sub("-", text)


def letters_name(text: str) -> str:
    """The same without dots and plus signs."""
    return _NOT_LETTERS.sub("-", text)


def devices(content: Content, wanted: Wanted) -> tuple[str, ...]:
    """What the other system calls the devices."""
    return wanted.compatible or (content.manifest.compatibility.target,)


def statements(content: Content) -> dict[str, str]:
    """What the package says of itself, field by field; what it leaves open is not there."""
    manifest = content.manifest
    where = manifest.compatibility
    said = {
        "name": manifest.name,
        "version": manifest.version,
        "sequence": str(manifest.sequence),
        "min_sequence": str(manifest.min_sequence) if manifest.min_sequence else "",
        "expires": manifest.expires or "",
        "target": where.target,
        "boards": ", ".join(where.boards),
        "architectures": ", ".join(where.architectures),
        "runtime": f"{where.runtime} >= {where.runtime_min_version}",
        "package id": manifest.package_id,
        "base": content.base,
    }
    return {field: value for field, value in said.items() if value}


def delta_notes(content: Content) -> tuple[str, ...]:
    """What to know of a delta where the other system cannot be told which base it needs."""
    if not content.base:
        return ()
    return ("this is a delta: devices without its base refuse it, and want the full package",)


def account(content: Content, expressed: Mapping[str, str]) -> tuple[Mapped, ...]:
    """What became of each statement.

    Args:
        expressed: by field, how the other system says it.
    """
    said = statements(content)
    return tuple(Mapped(field, value, expressed.get(field, "")) for field, value in said.items())
