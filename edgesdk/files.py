"""Files written all or nothing: temporary file, fsync, rename, fsync of the parent."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def sha256_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fsync_directory(path: Path) -> None:
    """Make the directory's entries durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def one_writer(path: Path) -> Iterator[None]:
    """One writer of `path` at a time, its folder made if need be; the lock dies with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_name(path.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_durable(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `content`: afterwards either the old or the new file is there, whole.

    Args:
        mode: the file's; while it is written, nobody else can read it.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    try:
        _replace(path, content, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _require_file(path: Path) -> None:
    """Refuse what a rename would put a file in the place of: /dev/null would be one from then on.

    Raises:
        OSError: a device, a pipe or a socket.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # A folder says so by itself.
            raise OSError(errno.EINVAL, "a device, pipe or socket, expected a file", str(path))


def _replace(path: Path, content: bytes, mode: int) -> None:
    _require_file(path)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    fsync_directory(path.parent)


def move_durable(made: Path, path: Path) -> None:
    """Put a finished file at `path`, whose disk it must be on: the old or the new one is there.

    Raises:
        OSError: it cannot be put there; the error names `path`.
    """
    try:
        _require_file(path)
        made.chmod(0o644)
        with made.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(made, path)
        fsync_directory(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """A folder on the disk of `path`, whose parents are made; it is gone when the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        yield Path(folder)


@contextlib.contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """A fresh directory that takes the place of `final` when the block ends without an error.

    What stood at `final` is kept until then; after an error nothing has changed. A symbolic link at
    `final` stays one: what it leads to is replaced.
    """
    final = final.resolve()
    final.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield work
        for path in work.rglob("*"):
            _fsync(path)
        work.chmod(0o755)
        fsync_directory(work)
        _swap_in(work, final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fsync(path: Path) -> None:
    if path.is_dir():
        fsync_directory(path)
    else:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _swap_in(work: Path, final: Path) -> None:
    if final.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{final.name}.old.", dir=final.parent))
        try:
            os.replace(final, old)
            os.replace(work, final)
        except BaseException:
            if final.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(old, final)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(work, final)
    fsync_directory(final.parent)
