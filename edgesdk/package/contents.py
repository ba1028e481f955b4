"""Files out of a package, as they will lie on the device."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from device_agent import archive
from edgesdk.errors import PackageError

PACKAGE_SUFFIX = ".edgepkg"


def read_raw(path: Path, roles: Collection[str]) -> dict[str, bytes]:
    """The raw bytes of a package's files with these roles; all of the package is checked.

    Raises:
        PackageError: missing, truncated or damaged.
    """
    found: dict[str, bytes] = {}
    try:
        with path.open("rb") as stream:
            for file, pieces in archive.PackageReader(stream.read).files():
                if file.role in roles:
                    found[file.role] = b"".join(pieces)
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}") from error
    except archive.CorruptPackage as error:
        raise PackageError(
            f"{path} is not a sound package: {error}", hint="build or copy it again"
        ) from error
    return found
