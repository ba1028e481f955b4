"""The installed packages: one folder each, named by its id, never changed once it is there.

    ROOT/store/<package id>/        manifest.json, its signatures, and the package's files

Only the signatures may be replaced, which the id does not cover: by those of a later push.

Everything read here is checked against the id first; a file that this session has checked is not
read again while its inode, size and times stay as they were. Links are never followed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import AbstractSet, Callable, Dict, Mapping, Optional, Tuple

from device_agent.documents import (
    MANIFEST_MAX_BYTES,
    MANIFEST_NAME,
    SIGNATURE_SUFFIX,
    SIGNATURES_MAX_BYTES,
    CorruptPackage,
    is_package_id,
    parse_manifest,
)
from device_agent.durable import (
    Stamp,
    has_content,
    make_folder,
    read_file,
    remove,
    replace_file,
    stamp,
    sync_folder,
)
from device_agent.failures import AgentFailure
from device_agent.manifest import File, Manifest
from device_agent.protocol import ErrorCode


class Packages:
    """The folder of packages.

    Args:
        folder: made, durable, by `prepare`.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._checked: Dict[str, Tuple[str, Stamp]] = {}

    def prepare(self) -> None:
        """Make the folder where it is not there.

        Raises:
            OSError: something else has its name.
        """
        new = not os.path.lexists(self._folder)
        make_folder(self._folder)
        if new:
            parent = os.path.dirname(self._folder)
            sync_folder(parent)
            sync_folder(os.path.dirname(parent))

    def path(self, package_id: str) -> str:
        """The folder of a package, whether it is there or not.

        Raises:
            AgentFailure: "bad_request": not an id.
        """
        if not is_package_id(package_id):
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"found package id {package_id!r}")
        return os.path.join(self._folder, package_id)

    def ids(self) -> Tuple[str, ...]:
        """Every package that is there, in order of their ids."""
        return tuple(sorted(filter(is_package_id, os.listdir(self._folder))))

    def manifest(self, package_id: str) -> Manifest:
        """The manifest of an installed package.

        Raises:
            AgentFailure: "not_installed", or "storage" where it is damaged.
        """
        if not os.path.lexists(self.path(package_id)):
            raise AgentFailure(
                ErrorCode.NOT_INSTALLED, f"package {package_id} is not on this device", "push it"
            )
        try:
            return self._read_manifest(package_id)
        except (OSError, CorruptPackage) as error:
            raise damaged(f"package {package_id}", str(error)) from error

    def signatures(self, package_id: str) -> bytes:
        """The signatures of an installed package; b"" where it has none.

        Raises:
            AgentFailure: "storage" where they cannot be read.
        """
        path = os.path.join(self.path(package_id), MANIFEST_NAME + SIGNATURE_SUFFIX)
        try:
            return read_file(path, SIGNATURES_MAX_BYTES)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise damaged(f"package {package_id}", str(error)) from error

    def sign(self, package_id: str, signatures: bytes, temporary: str) -> None:
        """Let an installed package have these signatures, durable, in the place of any others.

        Args:
            temporary: a path on the same file system, which is free to use.

        Raises:
            OSError: the disk does not take it; those that were there still are.
        """
        path = os.path.join(self.path(package_id), MANIFEST_NAME + SIGNATURE_SUFFIX)
        if not has_content(path, len(signatures), hashlib.sha256(signatures).hexdigest()):
            replace_file(path, signatures, temporary)

    def is_intact(self, package_id: str) -> bool:
        """Whether the package is there with every file as its manifest says."""
        folder = self.path(package_id)
        try:
            manifest = self._read_manifest(package_id)
        except (OSError, CorruptPackage):
            return False
        return all(self._is_as_said(folder, file) for file in manifest.files)

    def seems_whole(self, package_id: str) -> bool:
        """Whether the package is there with a sound manifest and files of the right sizes.

        Those are not read: of a large model on a slow card that takes seconds.
        """
        folder = self.path(package_id)
        try:
            found = [
                (os.lstat(os.path.join(folder, file.path)), file)
                for file in self._read_manifest(package_id).files
            ]
        except (OSError, CorruptPackage):
            return False
        return all(
            stat.S_ISREG(there.st_mode) and there.st_size == file.raw_bytes for there, file in found
        )

    def verified_path(self, package_id: str, role: str) -> str:
        """Path of an installed package's file, whose bytes have just been checked.

        With the model its companion is checked, which lies beside it and is loaded with it.

        Raises:
            AgentFailure: "not_installed", "bad_request" where it has no such file, "storage" where
                the file is damaged.
        """
        manifest, folder = self.manifest(package_id), self.path(package_id)
        file = manifest.file(role)
        if file is None:
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"package {package_id} has no {role!r} file")
        companion = manifest.file("companion") if role == "model" else None
        for each in filter(None, (file, companion)):
            if not self._is_as_said(folder, each):
                raise damaged(f"package {package_id}", f"{each.path} is not as its manifest says")
        return os.path.join(folder, file.path)

    def find_file(self, sha256: str, size: int) -> Optional[str]:
        """Path of an installed file with that content, just checked; None where there is none."""
        for package_id in self.ids():
            try:
                manifest = self._read_manifest(package_id)
            except (OSError, CorruptPackage):
                continue
            for file in manifest.files:
                path = os.path.join(self.path(package_id), file.path)
                wanted = (file.sha256, file.raw_bytes) == (sha256, size)
                if wanted and has_content(path, size, sha256):
                    return path
        return None

    def move_in(
        self,
        files: str,
        manifest: Manifest,
        checked: Mapping[str, Stamp],
        aside: Callable[[], str],
    ) -> None:
        """Give a complete and durable folder of files the name of its package, by one rename.

        Args:
            checked: each file by its path in the package, as it was when its bytes were checked.
            aside: makes a folder for what is there instead and does not hold.

        Raises:
            OSError: the disk does not take it.
        """
        final = self.path(manifest.package_id)
        if os.path.lexists(final):
            os.rename(final, os.path.join(aside(), "damaged"))
        os.rename(files, final)
        sync_folder(self._folder)
        for file in manifest.files:
            if file.path in checked:
                self._checked[os.path.join(final, file.path)] = file.sha256, checked[file.path]

    def remove_all_but(self, kept: AbstractSet[str], aside: Callable[[], str]) -> None:
        """Remove every package that is not among `kept`: out of sight by one rename, then gone."""
        for name in os.listdir(self._folder):
            if name not in kept:
                place = aside()
                os.rename(os.path.join(self._folder, name), os.path.join(place, "unused"))
                remove(place)

    def _is_as_said(self, folder: str, file: File) -> bool:
        path = os.path.join(folder, file.path)
        try:
            now = file.sha256, stamp(path)
        except OSError:
            return False
        if self._checked.get(path) != now:
            if not has_content(path, file.raw_bytes, file.sha256):
                return False
            self._checked[path] = now
        return True

    def _read_manifest(self, package_id: str) -> Manifest:
        folder = self.path(package_id)
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise OSError(errno.ENOTDIR, "not a folder", folder)
        text = read_file(os.path.join(folder, MANIFEST_NAME), MANIFEST_MAX_BYTES)
        if hashlib.sha256(text).hexdigest() != package_id:
            raise CorruptPackage("its manifest is not the one its id names")
        return parse_manifest(text)


def damaged(what: str, why: str, hint: str = "push the package again") -> AgentFailure:
    """The failure for something in the store that is not as it should be."""
    return AgentFailure(ErrorCode.STORAGE, f"{what} is damaged on the device: {why}", hint)
