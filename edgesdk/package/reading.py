"""Packages back from their files: checked byte by byte, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from device_agent import documents
from device_agent.reading import PackageReader, verify, verify_stored
from edgesdk.errors import PackageError
from edgesdk.values.package import Package

PACKAGE_SUFFIX = ".edgepkg"


def full_path(path: Path) -> Path:
    """Where the full package lies beside a delta: "x.edgepkg" has "x.full.edgepkg"."""
    return path.with_name(f"{path.stem}.full{path.suffix}")


def read_package(path: Path) -> Package:
    """Read a package and check every byte of it against its manifest.

    What a delta makes of its base is not known here: its patches are checked, not applied. Whether
    somebody trusted has signed it is for `edgesdk.flows.verify`.

    Raises:
        PackageError: missing, truncated or damaged.
    """
    with _sound(path) as stream:
        head = verify(stream.read)
        return Package(path, head, stream.tell())


def read_sealed(path: Path) -> Package:
    """Read a package that a device will unpack: every byte is checked as it is stored.

    Unlike after `read_package`, its files are not known to unpack to what the manifest says.

    Raises:
        PackageError: missing, truncated or damaged.
    """
    with _sound(path) as stream:
        head = verify_stored(stream.read)
        return Package(path, head, stream.tell())


def read_contents(path: Path) -> dict[str, bytes]:
    """The files of a full package by their names, each checked.

    Raises:
        PackageError: missing, truncated, damaged, or a delta.
    """
    with _sound(path) as stream:
        reader = PackageReader(stream.read)
        if reader.head.delta is not None:
            raise PackageError(
                f"{path} is a delta, whose files are whole only on a device that has the base",
                hint=f"name the full package beside it: {full_path(path)}",
            )
        return {payload.file.path: b"".join(chunks) for payload, chunks in reader.payloads()}


@contextmanager
def _sound(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}") from error
    except documents.CorruptPackage as error:
        raise PackageError(
            f"{path} is not a sound package: {error}", hint="build or copy it again"
        ) from error
