"""The packages on the device: installed whole or not at all, and durable before it is said.

    ROOT/lock                       taken while the store changes
    ROOT/measuring.lock             held by the one session that measures, from then to its end
    ROOT/store/<package id>/        an installed package: manifest.json and its files
    ROOT/store/current              the current package's id
    ROOT/engines/                   what a runtime built here of its models; may be removed any time
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
from typing import Callable, Iterator, Tuple

from device_agent.archive import (
    MANIFEST_MAX_BYTES,
    MANIFEST_NAME,
    CorruptPackage,
    PackageReader,
    Read,
    is_file_name,
    is_package_id,
    parse_manifest,
)
from device_agent.codec import canonical
from device_agent.durable import (
    disk_full,
    free_bytes,
    has_content,
    make_folder,
    read_file,
    remove,
    storage_errors,
    sync_folder,
    write_file,
)
from device_agent.failures import AgentFailure
from device_agent.manifest import Manifest, runs_on
from device_agent.protocol import ErrorCode, Installed

SPARE_BYTES = 256 * 1024
"""Kept free beyond the files themselves: folders, the manifest, the pointer."""

_PIECE_BYTES = 64 * 1024
_POINTER_BYTES = 65


class Store:
    """The store under one root, used by one session.

    Args:
        root: created where it does not exist; "~" stands for the home folder.

    Attributes:
        engines: folder for what a runtime builds here of its models; it may not exist yet.

    Raises:
        AgentFailure: "storage" or "disk_full": the folder cannot be used.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(os.path.expanduser(root))
        self.engines = os.path.join(self.root, "engines")
        self._packages = os.path.join(self.root, "store")
        self._sessions = os.path.join(self.root, "sessions")
        self._measuring_lock = -1
        with storage_errors(self.root, SPARE_BYTES):
            os.makedirs(self.root, 0o700, exist_ok=True)
            _refuse_shared(self.root)
            self._make_folders()
            with self._locked():
                self._remove_dead_sessions()
                self._session, self._session_lock = self._begin_session()

    def close(self) -> None:
        """Remove what this session staged; others may measure. Installed packages stay.

        Twice is fine.
        """
        shutil.rmtree(self._session, ignore_errors=True)
        locks = self._session_lock, self._measuring_lock
        self._session_lock = self._measuring_lock = -1
        for lock in locks:
            if lock >= 0:
                os.close(lock)

    def begin_measuring(self) -> None:
        """Keep other sessions from measuring until this one is closed, or its process dies.

        Two at once would slow each other down, and neither would show it. Twice is fine.

        Raises:
            AgentFailure: "busy": another session measures.
        """
        if self._measuring_lock >= 0:
            return
        try:
            lock = self._open_lock("measuring.lock")
        except OSError:
            return  # The disk takes nothing any more; that is no reason not to measure.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise AgentFailure(
                ErrorCode.BUSY,
                "another session is measuring on this device",
                "try again when it has ended",
            ) from error
        self._measuring_lock = lock

    def install(self, reader: PackageReader) -> Installed:
        """Verify, write and activate a package.

        Raises:
            AgentFailure: "incompatible", "over_budget", "disk_full" or "storage".
            CorruptPackage: from the reader; nothing of the package stays.
        """
        check_architecture(reader.manifest, platform.machine())
        check_budget(reader.manifest)
        already = self._is_intact(reader.package_id)
        if already:
            _read_on(reader)
        else:
            self._receive(reader)
        self._point_at(reader.package_id)
        return _installed(reader.package_id, reader.manifest, already)

    def activate(self, package_id: str) -> Installed:
        """Make an installed package the current one, after verifying its files once more.

        Raises:
            AgentFailure: "not_installed" (also where it is damaged), or "storage".
        """
        if not self._is_intact(package_id):
            raise AgentFailure(
                ErrorCode.NOT_INSTALLED, f"package {package_id} is not on this device, or damaged"
            )
        self._point_at(package_id)
        return _installed(package_id, self.manifest(package_id), True)

    def current(self) -> Installed:
        """The current package.

        Raises:
            AgentFailure: "not_installed", or "storage".
        """
        try:
            pointer = read_file(os.path.join(self._packages, "current"), _POINTER_BYTES)
        except FileNotFoundError as error:
            raise AgentFailure(
                ErrorCode.NOT_INSTALLED,
                "no package is installed on this device",
                "push one: edgesdk push FILE --device NAME",
            ) from error
        except OSError as error:
            raise _damaged("the pointer", str(error)) from error
        package_id = pointer.decode("ascii", "replace").strip()
        if not is_package_id(package_id):
            raise _damaged("the pointer", f"it holds {package_id!r}")
        return _installed(package_id, self.manifest(package_id), True)

    def manifest(self, package_id: str) -> Manifest:
        """The manifest of an installed package.

        Raises:
            AgentFailure: "not_installed", or "storage" where it is damaged.
        """
        if not os.path.lexists(self._folder(package_id)):
            raise AgentFailure(
                ErrorCode.NOT_INSTALLED, f"package {package_id} is not on this device", "push it"
            )
        try:
            return self._read_manifest(package_id)
        except (OSError, CorruptPackage) as error:
            raise _damaged(f"package {package_id}", str(error)) from error

    def verified_path(self, package_id: str, role: str) -> str:
        """Path of an installed package's file, whose bytes have just been checked.

        With the model its companion is checked, which lies beside it and is loaded with it.

        Raises:
            AgentFailure: "not_installed", "bad_request" where it has no such file, "storage" where
                the file is damaged.
        """
        manifest, folder = self.manifest(package_id), self._folder(package_id)
        file = manifest.file(role)
        if file is None:
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"package {package_id} has no {role!r} file")
        companion = manifest.file("companion") if role == "model" else None
        for each in filter(None, (file, companion)):
            if not has_content(os.path.join(folder, each.path), each):
                raise _damaged(f"package {package_id}", f"{each.path} is not as its manifest says")
        return os.path.join(folder, file.path)

    def stage(self, name: str, size: int, sha256: str, read: Read) -> str:
        """Write a file for this session only and return its path.

        Raises:
            AgentFailure: "bad_request" for an unsafe name or other bytes than announced,
                "disk_full", "storage".
        """
        if not is_file_name(name):
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"found file name {name!r}")
        self._refuse_full_disk(size)
        path = os.path.join(self._session, "staged-" + name)
        digest = hashlib.sha256()
        with storage_errors(self.root, size), _removed_on_error(path):
            remove(path)
            write_file(path, _tee(_pieces(read, size), digest.update))
            if digest.hexdigest() != sha256:
                raise AgentFailure(
                    ErrorCode.BAD_REQUEST, f"{name}: the bytes that came are not those announced"
                )
        return path

    def _make_folders(self) -> None:
        make_folder(self._sessions)
        if not os.path.lexists(self._packages):
            make_folder(self._packages)
            sync_folder(self.root)
            sync_folder(os.path.dirname(self.root))
        make_folder(self._packages)

    def _receive(self, reader: PackageReader) -> None:
        needed = _raw_bytes(reader.manifest)
        self._refuse_full_disk(needed)
        with storage_errors(self.root, needed):
            incoming = tempfile.mkdtemp(prefix="incoming-", dir=self._session)
            try:
                _write_package(reader, incoming)
                with self._locked():
                    self._move_in(incoming, reader.package_id)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)

    def _move_in(self, incoming: str, package_id: str) -> None:
        final = self._folder(package_id)
        if self._is_intact(package_id):
            return  # Another session was faster.
        if os.path.lexists(final):
            os.rename(final, tempfile.mkdtemp(dir=self._session) + "/damaged")
        os.rename(incoming, final)
        sync_folder(self._packages)

    def _point_at(self, package_id: str) -> None:
        temporary = os.path.join(self._session, "current")
        with storage_errors(self.root, _POINTER_BYTES), self._locked():
            remove(temporary)
            write_file(temporary, [package_id.encode("ascii") + b"\n"])
            os.rename(temporary, os.path.join(self._packages, "current"))
            sync_folder(self._packages)

    def _is_intact(self, package_id: str) -> bool:
        """Whether the package is there with every file as its manifest says."""
        folder = self._folder(package_id)
        try:
            manifest = self._read_manifest(package_id)
        except (OSError, CorruptPackage):
            return False
        return all(has_content(os.path.join(folder, file.path), file) for file in manifest.files)

    def _read_manifest(self, package_id: str) -> Manifest:
        folder = self._folder(package_id)
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise OSError(errno.ENOTDIR, "not a folder", folder)
        text = read_file(os.path.join(folder, MANIFEST_NAME), MANIFEST_MAX_BYTES)
        if hashlib.sha256(text).hexdigest() != package_id:
            raise CorruptPackage("its manifest is not the one its id names")
        return parse_manifest(text)

    def _folder(self, package_id: str) -> str:
        if not is_package_id(package_id):
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"found package id {package_id!r}")
        return os.path.join(self._packages, package_id)

    def _refuse_full_disk(self, size: int) -> None:
        free = free_bytes(self.root)
        if free is not None and free < size + SPARE_BYTES:
            raise disk_full(self.root, size + SPARE_BYTES)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = self._open_lock("lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self, name: str) -> int:
        flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(os.path.join(self.root, name), flags, 0o600)

    def _begin_session(self) -> Tuple[str, int]:
        folder = tempfile.mkdtemp(dir=self._sessions)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        lock = os.open(os.path.join(folder, "lock"), flags, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder, lock

    def _remove_dead_sessions(self) -> None:
        for name in os.listdir(self._sessions):
            folder = os.path.join(self._sessions, name)
            if _is_dead(folder):
                remove(folder)


def check_architecture(manifest: Manifest, machine: str) -> None:
    """Refuse a package made for other CPUs.

    Args:
        machine: as `platform.machine()` says.

    Raises:
        AgentFailure: "incompatible".
    """
    wanted = manifest.compatibility.architectures
    if not runs_on(machine, wanted):
        raise AgentFailure(
            ErrorCode.INCOMPATIBLE,
            f"found a device with {machine}, expected {' or '.join(wanted)}",
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


def _raw_bytes(manifest: Manifest) -> int:
    return sum(file.raw_bytes for file in manifest.files)


def _installed(package_id: str, manifest: Manifest, already: bool) -> Installed:
    return Installed(
        package_id=package_id,
        name=manifest.name,
        version=manifest.version,
        target=manifest.compatibility.target,
        runtime=manifest.compatibility.runtime,
        runtime_min_version=manifest.compatibility.runtime_min_version,
        installed_bytes=_raw_bytes(manifest),
        already=already,
    )


def _damaged(what: str, why: str) -> AgentFailure:
    return AgentFailure(
        ErrorCode.STORAGE, f"{what} is damaged on the device: {why}", "push the package again"
    )


def _write_package(reader: PackageReader, folder: str) -> None:
    for file, pieces in reader.files():
        path = os.path.join(folder, file.path)
        write_file(path, pieces)
    write_file(os.path.join(folder, MANIFEST_NAME), [canonical(reader.manifest)])
    os.chmod(folder, 0o755)
    sync_folder(folder)


def _read_on(reader: PackageReader) -> None:
    """Verify the rest of a package that is not needed."""
    for _, pieces in reader.files():
        for _ in pieces:
            pass


def _pieces(read: Read, size: int) -> Iterator[bytes]:
    left = size
    while left > 0:
        piece = read(min(left, _PIECE_BYTES))
        if not piece:
            return
        left -= len(piece)
        yield piece


def _tee(pieces: Iterator[bytes], see: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        see(piece)
        yield piece


@contextlib.contextmanager
def _removed_on_error(path: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        remove(path)
        raise


def _is_dead(folder: str) -> bool:
    """Whether no living process holds the session's lock."""
    try:
        lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _refuse_shared(root: str) -> None:
    found = os.stat(root)
    if found.st_uid != os.geteuid() or found.st_mode & stat.S_IWOTH:
        raise OSError(errno.EPERM, "not yours alone to write", root)
