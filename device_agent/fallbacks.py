"""How often the guarded runner gave a run to the fallback model, by reason, on disk.

    ROOT/fallbacks/<package id>.json    {"load_failed": 12, ...}
    ROOT/fallbacks/lock                 taken while one of them changes

Several processes may count for one package: each adds what it has seen to what is there. The first
fallback of a kind is written at once, further ones at most every `WRITE_EVERY_S` seconds, so that
an application that always falls back does not wear out a flash card. One that ends writes what is
left; one that is killed loses it.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import logging
import os
import threading
import time
from typing import AbstractSet, Callable, Dict, Iterator, Optional

from device_agent.codec import Malformed, parse_json
from device_agent.documents import is_package_id
from device_agent.durable import make_folder, read_file, remove, replace_file

LOAD_FAILED = "load_failed"
RUN_FAILED = "run_failed"
PARITY_FAILED = "parity_failed"
OUT_OF_DISTRIBUTION = "out_of_distribution"
COUNTS_LOST = "counts_lost"
"""Stands once for counts that were there and cannot be read any more."""

REASONS = (LOAD_FAILED, RUN_FAILED, PARITY_FAILED, OUT_OF_DISTRIBUTION, COUNTS_LOST)

WRITE_EVERY_S = 10.0

_COUNTS_MAX_BYTES = 4096
_COUNT_MAX = 2**53 - 1

_log = logging.getLogger(__name__)


def counts(root: str, package_id: str) -> Dict[str, int]:
    """Runs that fell back since the package was installed, by reason; empty where none did."""
    try:
        return _parse(read_file(_path(root, package_id), _COUNTS_MAX_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, Malformed):
        return {COUNTS_LOST: 1}


def forget_all_but(root: str, kept: AbstractSet[str]) -> None:
    """Remove the counts of packages that are removed.

    Args:
        kept: ids of those that stay.
    """
    folder = os.path.join(root, "fallbacks")
    if not os.path.isdir(folder):
        return
    with _locked(root):
        for name in os.listdir(folder):
            package_id = name.split(".")[0]
            if is_package_id(package_id) and package_id not in kept:
                remove(os.path.join(folder, name))


class Counter:
    """Counts the fallbacks of one package for one application.

    That they cannot be written is logged once and is no reason not to run a model. Safe to use by
    several threads.

    Args:
        root: the store's folder.
        package_id: of the package whose fallbacks these are.
        clock: seconds, monotonic.
    """

    def __init__(
        self, root: str, package_id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root = root
        self._package_id = package_id
        self._clock = clock
        self._lock = threading.RLock()
        self._pending: Dict[str, int] = {}
        self._written: Dict[str, float] = {}
        self._timer: Optional[threading.Timer] = None
        self._told = False

    def add(self, reason: str) -> None:
        """Count one; it is on disk now or within `WRITE_EVERY_S` seconds."""
        with self._lock:
            self._pending[reason] = self._pending.get(reason, 0) + 1
            last = self._written.get(reason)
            if last is None or self._clock() - last >= WRITE_EVERY_S:
                self.flush()
            elif self._timer is None:
                self._timer = threading.Timer(WRITE_EVERY_S, self.flush)
                self._timer.daemon = True
                self._timer.start()
                atexit.register(self.flush)

    def flush(self) -> None:
        """Write what is not written yet."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
                atexit.unregister(self.flush)
            if not self._pending:
                return
            now = self._clock()
            # Also where it fails: a full disk is not tried at every run.
            self._written.update(dict.fromkeys(self._pending, now))
            try:
                _add(self._root, self._package_id, self._pending)
            except OSError as error:
                if not self._told:
                    self._told = True
                    _log.warning("fallbacks are not counted on disk: %s", error)
            else:
                self._pending = {}


def _add(root: str, package_id: str, more: Dict[str, int]) -> None:
    folder, final = os.path.join(root, "fallbacks"), _path(root, package_id)
    make_folder(folder)
    with _locked(root):
        total = counts(root, package_id)
        for reason, count in more.items():
            total[reason] = min(_COUNT_MAX, total.get(reason, 0) + count)
        replace_file(final, _text(total), final + ".new")


@contextlib.contextmanager
def _locked(root: str) -> Iterator[None]:
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(os.path.join(root, "fallbacks", "lock"), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _path(root: str, package_id: str) -> str:
    return os.path.join(root, "fallbacks", package_id + ".json")


def _text(total: Dict[str, int]) -> bytes:
    inner = ", ".join(f'"{reason}": {total[reason]}' for reason in sorted(total))
    return b"{%s}\n" % inner.encode("ascii")


def _parse(text: bytes) -> Dict[str, int]:
    data = parse_json(text)
    if not isinstance(data, dict):
        raise Malformed("found no object of counts")
    for reason, count in data.items():
        if reason not in REASONS or type(count) is not int or not 0 < count <= _COUNT_MAX:
            raise Malformed(f"found {reason!r}: {count!r}, expected a count of {REASONS}")
    return data
