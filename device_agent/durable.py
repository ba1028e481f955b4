"""Files that survive a power cut, written and read without ever following a link."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import threading
from typing import Callable, Iterable, Iterator, Optional, Tuple

from device_agent.failures import AgentFailure
from device_agent.protocol import ErrorCode

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_BYTES = 256 * 1024
_BEHIND_BYTES = 8 * 1024 * 1024
"""After so many the disk is told to write what there is."""


def write_file(path: str, pieces: Iterable[bytes]) -> None:
    """Write a new file and make its bytes durable; its name is so only after `sync_folder`.

    Raises:
        OSError: the path exists (be it as a link), or the disk does not take it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "wb", buffering=0) as stream:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[stream.write(rest) :]
        os.fsync(stream.fileno())


def replace_file(path: str, content: bytes, temporary: str) -> None:
    """Put a file in the place of another: afterwards the old or the new one is there, whole.

    Args:
        temporary: a path on the same file system, which is free to use.

    Raises:
        OSError: the disk does not take it; the old file is as it was.
    """
    remove(temporary)
    write_file(temporary, [content])
    os.rename(temporary, path)
    sync_folder(os.path.dirname(path))


def replace_link(path: str, target: str, temporary: str) -> None:
    """Put a symbolic link in the place of another, durable; as `replace_file`."""
    remove(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, path)
    sync_folder(os.path.dirname(path))


@contextlib.contextmanager
def append_file(path: str, size: int) -> Iterator[Callable[[bytes], None]]:
    """Write on behind the first `size` bytes of a file, which is made where it is not there.

    What lies behind them is cut off; a link of either kind, or whatever else is no file, is
    replaced. Nothing is durable before `sync_file`.

    Raises:
        OSError: the disk does not take it.
    """
    if own_bytes(path) is None:
        remove(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "wb", buffering=0) as stream:
        os.ftruncate(stream.fileno(), size)
        stream.seek(size)

        with _written_behind(stream.fileno()) as wrote:

            def write(piece: bytes) -> None:
                rest = memoryview(piece)
                while rest:
                    rest = rest[stream.write(rest) :]
                wrote(len(piece))

            yield write


@contextlib.contextmanager
def _written_behind(descriptor: int) -> Iterator[Callable[[int], None]]:
    """Have the disk write what there is while more is coming, so that little is left for the end.

    Raises:
        OSError: it could not. A later `fsync` would not say so again.
    """
    due, ended, waiting, failures = threading.Event(), False, 0, []

    def flush() -> None:
        while True:
            due.wait()
            due.clear()
            if ended:
                return
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                failures.append(error)
                return

    def wrote(count: int) -> None:
        nonlocal waiting
        waiting += count
        if waiting >= _BEHIND_BYTES:
            waiting = 0
            due.set()

    flusher = threading.Thread(target=flush, daemon=True)
    flusher.start()
    try:
        yield wrote
    finally:
        ended = True
        due.set()
        flusher.join()
    if failures:
        raise failures[0]


def sync_file(path: str) -> None:
    """Make the bytes of a file durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_file(source: str, path: str) -> None:
    """Write a new file with the bytes of another; durable as by `write_file`.

    Raises:
        OSError: the source is no plain file, or the disk does not take it.
    """
    write_file(path, read_pieces(source, os.lstat(source).st_size))


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: str, limit: int) -> bytes:
    """At most `limit` bytes of a plain file.

    Raises:
        OSError: absent, unreadable, or not a plain file.
    """
    return b"".join(read_pieces(path, limit))


def own_bytes(path: str) -> Optional[int]:
    """Size of a plain file that has no other name; None of whatever else is there, or nothing."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else None


Stamp = Tuple[int, int, int, int]


def stamp(path: str) -> Stamp:
    """What changes with any change of a file: inode, size, times of its bytes and of itself.

    Raises:
        OSError: it is not there.
    """
    found = os.lstat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def has_content(path: str, size: int, sha256: str) -> bool:
    """Whether a plain file has that size in bytes and that SHA-256 (hex)."""
    digest, found = hashlib.sha256(), 0
    try:
        for piece in read_pieces(path, size + 1):
            digest.update(piece)
            found += len(piece)
    except OSError:
        return False
    return found == size and digest.hexdigest() == sha256


def read_pieces(path: str, limit: int, piece_bytes: int = _READ_BYTES) -> Iterator[bytes]:
    """At most `limit` bytes of a plain file, in pieces of that many; the last may have fewer.

    Raises:
        OSError: absent, unreadable, or not a plain file.
    """
    # Without O_NONBLOCK, a planted fifo would hold the agent for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", path)
    # Buffered, since a raw read may give less than it is asked for.
    with os.fdopen(descriptor, "rb") as stream:
        left = limit
        while left:
            piece = stream.read(min(left, piece_bytes))
            if not piece:
                return
            left -= len(piece)
            yield piece


def make_folder(path: str) -> None:
    """Make a folder only its owner can use, where it does not exist.

    Raises:
        OSError: there is something else of that name, such as a link to a folder.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise OSError(errno.ENOTDIR, "not a folder", path)


def remove(path: str) -> None:
    """Remove a file, a link (not what it points to) or a folder; absent is fine."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def free_bytes(path: str) -> Optional[int]:
    """Free space for ordinary users on the file system of `path` or its nearest existing parent."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def storage_errors(root: str, needed_bytes: int = 0) -> Iterator[None]:
    """Turn what the operating system says into "disk_full" or "storage".

    Args:
        root: the store's folder.
        needed_bytes: what was to be written, for the message.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise disk_full(root, needed_bytes) from error
        place = error.filename or root
        raise AgentFailure(
            ErrorCode.STORAGE,
            f"{place}: {error.strerror or error}",
            "check that the folder exists, is writable and is yours, or use another one",
        ) from error


def disk_full(root: str, needed_bytes: int) -> AgentFailure:
    """The failure for a disk that cannot take `needed_bytes`."""
    return AgentFailure(
        ErrorCode.DISK_FULL,
        f"found {free_bytes(root)} bytes free for {root}, expected {needed_bytes}",
        "free some space on the device, or use another folder",
    )
