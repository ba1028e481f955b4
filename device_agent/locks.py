"""Locks of the store, which the kernel drops with their process; a session is known by its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from typing import Iterator, Tuple

from device_agent.durable import remove
from device_agent.failures import AgentFailure
from device_agent.protocol import ErrorCode


def open_lock(root: str, name: str) -> int:
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(os.path.join(root, name), flags, 0o600)


@contextlib.contextmanager
def locked(root: str) -> Iterator[None]:
    """While it is open, no other session changes anything."""
    descriptor = open_lock(root, "lock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def hold(lock: int, else_said: str) -> int:
    """Take a lock that is open, without waiting; the descriptor again."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise AgentFailure(ErrorCode.BUSY, else_said, "try again when it has ended") from error
    return lock


def begin_session(sessions: str) -> Tuple[str, int]:
    """A folder for a session, and the lock that it holds while it lives."""
    folder = tempfile.mkdtemp(dir=sessions)
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
    lock = os.open(os.path.join(folder, "lock"), flags, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


def is_dead(folder: str) -> bool:
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


def remove_dead(sessions: str) -> None:
    """What sessions that died have left."""
    for name in os.listdir(sessions):
        folder = os.path.join(sessions, name)
        if is_dead(folder):
            remove(folder)
