"""The one path of an application: ROOT/models/<package name>, a link to the current package.

The link is switched in one step, and only to a package that has passed its health check. What it
led to when it was looked at stays usable as that very package: its folder is named by its id.
"""

from __future__ import annotations

import hashlib
import os

from device_agent.documents import (
    MANIFEST_MAX_BYTES,
    MANIFEST_NAME,
    CorruptPackage,
    is_package_id,
    parse_manifest,
)
from device_agent.durable import read_file
from device_agent.manifest import File, Manifest
from device_agent.records import record

DEFAULT_ROOT = "~/.edgesdk"


class NoPackage(Exception):
    """There is no sound package where the application looked for one."""


@record(frozen=True)
class PackageFolder:
    """An installed package, its manifest checked against its id and none of its files yet.

    Args:
        root: the store that it lies in.
        folder: with its files.
    """

    root: str
    folder: str
    package_id: str
    manifest: Manifest

    def path(self, file: File) -> str:
        """Where one of its files lies."""
        return os.path.join(self.folder, file.path)


class StablePath:
    """A place to look for the current package.

    Args:
        path_or_name: of the link or of one package's folder; without a slash, a package's name.
        root: the store's folder, for a name.
    """

    def __init__(self, path_or_name: str, root: str = DEFAULT_ROOT) -> None:
        if os.sep not in path_or_name:
            path_or_name = os.path.join(root, "models", path_or_name)
        self.path = os.path.abspath(os.path.expanduser(path_or_name))

    def current_id(self) -> str:
        """Id of the package that it leads to now, read from the link alone; "" where none is."""
        name = os.path.basename(os.path.realpath(self.path))
        return name if is_package_id(name) and os.path.exists(self.path) else ""

    def package(self) -> PackageFolder:
        """The package that it leads to now.

        Raises:
            NoPackage: it leads to none, or to one whose manifest is damaged.
        """
        folder = os.path.realpath(self.path)
        package_id = os.path.basename(folder)
        try:
            text = read_file(os.path.join(folder, MANIFEST_NAME), MANIFEST_MAX_BYTES)
        except OSError as error:
            raise NoPackage(
                f"{self.path} leads to no package ({error.strerror}): push one, or see "
                "edgesdk device installed"
            ) from error
        if hashlib.sha256(text).hexdigest() != package_id:
            raise NoPackage(
                f"{folder}: the manifest is not the one that its folder is named after: push the "
                "package again"
            )
        try:
            manifest = parse_manifest(text)
        except CorruptPackage as error:
            raise NoPackage(f"{folder}: {error}") from error
        root = os.path.dirname(os.path.dirname(folder))
        return PackageFolder(root, folder, package_id, manifest)
