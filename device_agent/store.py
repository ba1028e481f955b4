"""The packages on the device: installed whole or not at all, and durable before it is said.

    ROOT/lock                       taken while the store changes
    ROOT/store/<package id>/        an installed package: manifest.json and its files
    ROOT/store/current              the current package's id
    ROOT/sessions/<random>/         what one session writes; its `lock` is held while it lives

A package is written into the session's folder, made durable file by file, then moved into the store
by one rename; the pointer follows. A session that died leaves its folder behind, which the next one
removes. Links found in the store are never followed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import platform
import shutil
import stat
import tempfile
from typing import Callable, Dict, Iterator, Optional, Tuple

from device_agent import archive
from device_agent.archive import CorruptPackage, PackageReader, parse_manifest
from device_agent.codec import canonical
from device_agent.environment import free_bytes
from device_agent.failures import AgentFailure
from device_agent.manifest import File, Manifest
from device_agent.protocol import ErrorCode, Installed

SPARE_BYTES = 256 * 1024
"""Kept free beyond the files themselves: directories, the manifest, the pointer."""

_MACHINE_ALIASES = {"arm64": "aarch64", "amd64": "x86_64"}
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_BYTES = 256 * 1024

Advance = Callable[[int], None]
"""Called with the number of raw bytes just written."""


class Store:
    """The store under one root, used by one session.

    Args:
        root: created where it does not exist; "~" stands for the home folder.

    Raises:
        AgentFailure: "storage", the folder cannot be used.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(os.path.expanduser(root))
        self._packages = os.path.join(self.root, "store")
        self._sessions = os.path.join(self.root, "sessions")
        with _storage_errors(self.root):
            os.makedirs(self.root, 0o700, exist_ok=True)
            _refuse_shared(self.root)
            for folder in (self._packages, self._sessions):
                _make_folder(folder)
            with self._locked():
                self._remove_dead_sessions()
                self._session, self._session_lock = self._begin_session()

    def close(self) -> None:
        """Remove what this session staged. Installed packages stay."""
        shutil.rmtree(self._session, ignore_errors=True)
        os.close(self._session_lock)

    def install(self, reader: PackageReader, advance: Advance = lambda _: None) -> Installed:
        """Verify, write and activate a package.

        Raises:
            AgentFailure: "incompatible", "over_budget", "disk_full" or "storage".
            CorruptPackage: from the reader; nothing of the package stays.
        """
        manifest = reader.manifest
        check_architecture(manifest, platform.machine())
        check_budget(manifest)
        already = self._is_intact(reader.package_id)
        if already:
            archive_rest(reader)
        else:
            self._receive(reader, advance)
        with _storage_errors(self.root), self._locked():
            self._point_at(reader.package_id)
        return _installed(reader.package_id, manifest, already)

    def activate(self, package_id: str) -> Installed:
        """Make an installed package the current one, after verifying its files once more.

        Raises:
            AgentFailure: "not_installed", or "storage".
        """
        if not self._is_intact(package_id):
            raise AgentFailure(
                ErrorCode.NOT_INSTALLED, f"package {package_id} is not on this device, or damaged"
            )
        with _storage_errors(self.root), self._locked():
            self._point_at(package_id)
        return _installed(package_id, self.manifest(package_id), True)

    def current(self) -> Installed:
        """The current package.

        Raises:
            AgentFailure: "not_installed", or "storage".
        """
        try:
            package_id = _read_file(os.path.join(self._packages, "current"), 128).decode().strip()
        except FileNotFoundError:
            raise _nothing_installed() from None
        except (OSError, UnicodeDecodeError) as error:
            raise AgentFailure(ErrorCode.STORAGE, f"the pointer is unreadable: {error}") from error
        return _installed(package_id, self.manifest(package_id), True)

    def manifest(self, package_id: str) -> Manifest:
        """The manifest of an installed package.

        Raises:
            AgentFailure: "not_installed", or "storage" where it is damaged.
        """
        folder = self._folder(package_id)
        if not os.path.lexists(folder):
            raise AgentFailure(
                ErrorCode.NOT_INSTALLED, f"package {package_id} is not on this device", "push it"
            )
        try:
            manifest = self._read_manifest(package_id)
        except (OSError, CorruptPackage) as error:
            raise _damaged(package_id, str(error)) from error
        return manifest

    def verified_path(self, package_id: str, role: str) -> str:
        """Path of an installed package's file, whose bytes have just been checked.

        Raises:
            AgentFailure: "not_installed", "bad_request" where it has no such file, "storage" where
                the file is damaged.
        """
        file = self.manifest(package_id).file(role)
        if file is None:
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"package {package_id} has no {role!r} file")
        path = os.path.join(self._folder(package_id), file.path)
        if not _has_content(path, file):
            raise _damaged(package_id, f"{file.path} is not as its manifest says")
        return path

    def stage(self, name: str, size: int, sha256: str, read: archive.Read) -> str:
        """Write a file for this session only and return its path.

        Raises:
            AgentFailure: "bad_request" for an unsafe name or other bytes than announced,
                "disk_full", "storage".
        """
        archive_name = archive.safe_name(name)
        path = os.path.join(self._session, "staged-" + archive_name)
        digest = hashlib.sha256()
        self._refuse_full_disk(size)
        with _storage_errors(self.root):
            _remove_file(path)
            with _removed_on_error(path):
                _write_file(path, _hashed(_pieces(read, size), digest.update))
                if digest.hexdigest() != sha256:
                    raise AgentFailure(
                        ErrorCode.BAD_REQUEST, f"{name}: the bytes that came are not those announced"
                    )
        return path

    def _receive(self, reader: PackageReader, advance: Advance) -> None:
        self._refuse_full_disk(_raw_bytes(reader.manifest))
        with _storage_errors(self.root):
            incoming = tempfile.mkdtemp(prefix="incoming-", dir=self._session)
            try:
                _write_package(reader, incoming, advance)
                with self._locked():
                    self._move_in(incoming, reader.package_id)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)

    def _move_in(self, incoming: str, package_id: str) -> None:
        final = self._folder(package_id)
        if os.path.lexists(final):
            if self._is_intact(package_id):
                return  # Another session was faster.
            os.rename(final, os.path.join(self._session, "damaged-" + package_id))
        os.rename(incoming, final)
        _sync_folder(self._packages)

    def _point_at(self, package_id: str) -> None:
        temporary = os.path.join(self._session, "current")
        _remove_file(temporary)
        _write_file(temporary, iter([package_id.encode("ascii") + b"\n"]))
        os.rename(temporary, os.path.join(self._packages, "current"))
        _sync_folder(self._packages)

    def _is_intact(self, package_id: str) -> bool:
        """Whether the package is there with every file as its manifest says."""
        folder = self._folder(package_id)
        try:
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                return False
            manifest = self._read_manifest(package_id)
        except (OSError, CorruptPackage):
            return False
        return all(_has_content(os.path.join(folder, file.path), file) for file in manifest.files)

    def _read_manifest(self, package_id: str) -> Manifest:
        path = os.path.join(self._folder(package_id), archive.MANIFEST_NAME)
        text = _read_file(path, archive.MANIFEST_MAX_BYTES)
        if hashlib.sha256(text).hexdigest() != package_id:
            raise CorruptPackage("its manifest is not the one its id names")
        return parse_manifest(text)

    def _folder(self, package_id: str) -> str:
        if not archive.is_package_id(package_id):
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"found package id {package_id!r}")
        return os.path.join(self._packages, package_id)

    def _refuse_full_disk(self, needed: int) -> None:
        free = free_bytes(self.root)
        if free is not None and free < needed + SPARE_BYTES:
            raise AgentFailure(
                ErrorCode.DISK_FULL,
                f"{self.root} has {free} bytes free, expected {needed + SPARE_BYTES}",
                "free some space on the device, or use another folder",
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(
            os.path.join(self.root, "lock"),
            os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _begin_session(self) -> Tuple[str, int]:
        folder = tempfile.mkdtemp(dir=self._sessions)
        lock = os.open(os.path.join(folder, "lock"), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder, lock

    def _remove_dead_sessions(self) -> None:
        for name in os.listdir(self._sessions):
            folder = os.path.join(self._sessions, name)
            if _is_dead(folder):
                _remove_tree(folder)


def check_architecture(manifest: Manifest, machine: str) -> None:
    """Refuse a package made for other CPUs.

    Args:
        machine: as `platform.machine()` says.

    Raises:
        AgentFailure: "incompatible".
    """
    wanted = manifest.compatibility.architectures
    if wanted and _plain(machine) not in {_plain(name) for name in wanted}:
        raise AgentFailure(
            ErrorCode.INCOMPATIBLE,
            f"found a {machine} device, expected {' or '.join(wanted)}",
            f"the package was made for {manifest.compatibility.target}: convert for this device",
        )


def check_budget(manifest: Manifest) -> None:
    """Refuse a package that takes more room than it may.

    Raises:
        AgentFailure: "over_budget".
    """
    limit, actual = manifest.limits.installed_bytes, _raw_bytes(manifest)
    if limit is not None and actual > limit:
        raise AgentFailure(
            ErrorCode.OVER_BUDGET, f"found {actual} bytes to install, expected at most {limit}"
        )


def _plain(machine: str) -> str:
    lower = machine.lower()
    return _MACHINE_ALIASES.get(lower, lower)
