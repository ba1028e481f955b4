"""A package handed over to a system that rolls software out: what is asked for, what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

Format = Literal["mender", "rauc", "swupdate", "tuf", "oci", "in-toto", "cyclonedx"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an export shall be.

    Args:
        output: a file, a folder, or a registry's "oci://HOST/REPOSITORY:TAG", as the format has it.
        at: the time it is made at, in UTC; only formats whose content expires look at it.
        compatible: what the other system calls the devices; the package's target when empty.
        key: file of the private key that signs.
        certificate: file of its certificate.
        root_keys: files of the private keys that a TUF root is signed with.
        root_threshold: how many of them a client asks for.
    """

    output: str
    at: datetime
    compatible: tuple[str, ...] = ()
    key: Path | None = None
    certificate: Path | None = None
    root_keys: tuple[Path, ...] = ()
    root_threshold: int = 1


@dataclass(frozen=True, slots=True)
class Mapped:
    """Where a statement of the package went.

    Args:
        field: of the package: "name", "sequence", ...
        value: what it says.
        becomes: how the other system says it; empty where it cannot.
    """

    field: str
    value: str
    becomes: str


@dataclass(frozen=True, slots=True)
class Exported:
    """A package as another system takes it.

    Args:
        format: which system's.
        output: the file, the folder or the reference it was written to.
        package_id: of the package inside.
        sha256: of the file; for OCI of the image manifest, for TUF of the package.
        made_with: the tool and its version.
        signed: in the other system's own form; the package's signature is another matter.
        mapping: what became of each statement of the package.
        notes: what the user should know besides, a sentence each.
    """

    format: Format
    output: str
    package_id: str
    sha256: str
    made_with: str
    signed: bool
    mapping: tuple[Mapped, ...]
    notes: tuple[str, ...] = ()
