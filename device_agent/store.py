"""What the agent keeps on the device: durable before it is said, and never half changed.

    ROOT/lock                       taken while the store changes
    ROOT/installing.lock            held by the one session that installs, from its offer to its end
    ROOT/measuring.lock             held by the one session that measures, from then to its end
    ROOT/state.json                 which package is current, previous, on trial
    ROOT/trust.json                 whom this device believes
    ROOT/lease.json                 who keeps the device to themselves (`device_agent.leases`)
    ROOT/store/<package id>/        an installed package (`device_agent.packages`)
    ROOT/models/<name>              link to the current package of that name: what applications use
    ROOT/incoming/<key>/            a transfer under way, or broken off (`device_agent.receiving`)
    ROOT/runtimes/                  the agent's own runtimes (`device_agent.private_runtimes`)
    ROOT/engines/                   what a runtime built here of its models; may be removed any time
    ROOT/fallbacks/                 what the guarded runner counts (`device_agent.fallbacks`)
    ROOT/agent/<sha256>.pyz         this agent and earlier ones (`stage0.py`)
    ROOT/agent/<sha256>.<python>    its modules, compiled (`device_agent.bytecode`)
    ROOT/agent/current.pyz          link to the one that committed last: applications import from it
    ROOT/sessions/<random>/         what one session writes; its `lock` is held while it lives

Every change is one rename of one file, after its bytes are durable. A session that died leaves its
folder and perhaps its trial behind, which the next one removes. Links found here are never
followed; those in ROOT/models are written for others.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from typing import AbstractSet, Any, Callable, Iterator, List, Mapping, Optional, Tuple

from device_agent import fallbacks
from device_agent.archive import Head
from device_agent.codec import Malformed, canonical, from_dict, parse_json
from device_agent.documents import is_file_name
from device_agent.durable import (
    Stamp,
    disk_full,
    free_bytes,
    make_folder,
    read_file,
    remove,
    replace_file,
    replace_link,
    storage_errors,
    write_file,
)
from device_agent.failures import AgentFailure
from device_agent.links import new_links, remove_old_agents, show
from device_agent.locks import begin_session, hold, is_dead, locked, open_lock, remove_dead
from device_agent.packages import Packages, damaged
from device_agent.protocol import ErrorCode
from device_agent.reading import Read
from device_agent.receiving import Transfer
from device_agent.records import record
from device_agent.state import State, end_trial, forget, problem, sign
from device_agent.trust_messages import SignedTrust

SPARE_BYTES = 256 * 1024
"""Kept free beyond the files themselves: folders, the manifest, the state."""

_WITHOUT = {
    "state.json": "move it away on the device and push every package again: the device then knows "
    "neither which packages are current, nor which sequences it has had",
    "trust.json": "move it away on the device: the next push tells it anew whom to believe",
}
"""What to do about a file that is damaged, and what that costs."""

_OURS = (
    *("agent", "engines", "fallbacks", "incoming", "models", "runtimes", "sessions", "store"),
    *("state.json", "trust.json", "lease.json", "installing.lock", "measuring.lock", "lock"),
)
"""All that ever lies in the store's folder by our doing; the lock is held until it is last."""

_PIECE_BYTES = 64 * 1024
_STATE_MAX_BYTES = 4 * 1024 * 1024


@record(frozen=True)
class KeptTrust:
    """The trust as it lies on the device.

    Args:
        version: the latest, as it came.
        lab: the device may take unsigned packages when asked to.
    """

    version: SignedTrust
    lab: bool


class Store:
    """The store under one root, used by one session.

    Args:
        root: created where it does not exist; "~" stands for the home folder.

    Attributes:
        packages: the installed ones.
        engines: folder for what a runtime builds here of its models; it may not exist yet.

    Raises:
        AgentFailure: "storage" or "disk_full": the folder cannot be used.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(os.path.expanduser(root))
        self.engines = os.path.join(self.root, "engines")
        self.packages = Packages(os.path.join(self.root, "store"))
        self._models = os.path.join(self.root, "models")
        self._incoming = os.path.join(self.root, "incoming")
        self._sessions = os.path.join(self.root, "sessions")
        self._measuring_lock = -1
        self._installing_lock = -1
        with storage_errors(self.root, SPARE_BYTES):
            os.makedirs(self.root, 0o700, exist_ok=True)
            _refuse_shared(self.root)
            for folder in (self._sessions, self._models, self._incoming):
                make_folder(folder)
            self.packages.prepare()
            with locked(self.root):
                remove_dead(self._sessions)
                self._session, self._session_lock = begin_session(self._sessions)
            self._recover()

    def close(self) -> None:
        """Remove what this session staged, and end its trial; others may measure and install.

        Installed packages stay. Twice is fine.
        """
        with contextlib.suppress(AgentFailure):  # The next session does it.
            self.end_installing()
        shutil.rmtree(self._session, ignore_errors=True)
        locks = self._session_lock, self._measuring_lock
        self._session_lock = self._measuring_lock = -1
        for lock in locks:
            if lock >= 0:
                os.close(lock)

    # ---- one at a time -------------------------------------------------------------------------

    def begin_measuring(self) -> None:
        """Keep other sessions from measuring until this one is closed, or its process dies.

        Two at once would slow each other down, and neither would show it. Twice is fine.

        Raises:
            AgentFailure: "busy": another session measures.
        """
        if self._measuring_lock < 0:
            try:
                lock = open_lock(self.root, "measuring.lock")
            except OSError:
                return  # The disk takes nothing any more; that is no reason not to measure.
            self._measuring_lock = hold(lock, "another session is measuring on this device")

    def begin_installing(self) -> None:
        """Keep other sessions from installing until `end_installing`, or until this process dies.

        The trial of a session that died is over. Twice is fine.

        Raises:
            AgentFailure: "busy": another session installs; "storage".
        """
        if self._installing_lock < 0:
            # Under the other lock, which a session that only looks around holds as well.
            with storage_errors(self.root, SPARE_BYTES), locked(self.root):
                lock = self._try_installing()
                try:
                    self._settle()
                except BaseException:
                    os.close(lock)
                    raise
                self._installing_lock = lock

    @property
    def is_installing(self) -> bool:
        """Whether this session keeps others from installing."""
        return self._installing_lock >= 0

    def end_installing(self) -> None:
        """Let others install; a trial that has not been committed is over. Twice is fine.

        Raises:
            AgentFailure: "storage" or "disk_full".
        """
        if self._installing_lock < 0:
            return
        try:
            if self.state().trial is not None:
                self.change(end_trial)
        finally:
            os.close(self._installing_lock)
            self._installing_lock = -1

    # ---- state and trust -----------------------------------------------------------------------

    def state(self) -> State:
        """Which package is what.

        Raises:
            AgentFailure: "storage": it is damaged.
        """
        found = self._read("state.json", State) or State()
        why = problem(found)
        if why:
            raise damaged(os.path.join(self.root, "state.json"), why, _WITHOUT["state.json"])
        return found

    def change(self, function: Callable[[State], State]) -> State:
        """Replace the state by what the function makes of it, and the links by what it says.

        Raises:
            AgentFailure: "storage" or "disk_full": nothing has changed; or the function's own.
        """
        with storage_errors(self.root, SPARE_BYTES), locked(self.root):
            return self._change(function)

    def trust(self) -> Optional[KeptTrust]:
        """Whom the device believes; None where it was never enrolled.

        Raises:
            AgentFailure: "storage": it is damaged.
        """
        return self._read("trust.json", KeptTrust)

    def change_trust(self, function: Callable[[Optional[KeptTrust]], KeptTrust]) -> None:
        """Replace it by what the function makes of it; no other session changes it meanwhile.

        Raises:
            AgentFailure: "storage" or "disk_full": nothing has changed; or the function's own.
        """
        with storage_errors(self.root, SPARE_BYTES), locked(self.root):
            self._replace("trust.json", canonical(function(self.trust())))

    # ---- sessions ------------------------------------------------------------------------------

    @property
    def session_folder(self) -> str:
        """What this session writes; gone when it is closed."""
        return self._session

    def live_sessions(self) -> List[str]:
        """Folders of the sessions that run, this one among them."""
        folders = [os.path.join(self._sessions, name) for name in os.listdir(self._sessions)]
        return [each for each in folders if each == self._session or not is_dead(each)]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While it is open, no other session changes anything here.

        Raises:
            AgentFailure: "storage" or "disk_full", for whatever the disk does not take meanwhile.
        """
        with storage_errors(self.root, SPARE_BYTES), locked(self.root):
            yield

    # ---- packages ------------------------------------------------------------------------------

    def transfer(self, head: Head) -> Transfer:
        """The transfer of that package, where it broke off; others that broke off are given up.

        Raises:
            AgentFailure: "storage", or "disk_full" where the rest of it does not fit.
        """
        key = Transfer.key(head)
        with storage_errors(self.root, SPARE_BYTES):
            for name in os.listdir(self._incoming):
                if name != key:
                    remove(os.path.join(self._incoming, name))
            transfer = Transfer(os.path.join(self._incoming, key), head)
            self._refuse_full_disk(transfer.missing_bytes())
        return transfer

    def move_in(self, files: str, head: Head, checked: Mapping[str, Stamp]) -> None:
        """Make a package of the files of a transfer, and forget the transfer.

        Args:
            checked: `Transfer.checked`.

        Raises:
            OSError: the disk does not take it.
        """
        with locked(self.root):
            self.packages.move_in(files, head.manifest, checked, self._aside)
        self.give_up(head)

    def sign(self, head: Head, signed_by: str) -> None:
        """Let an installed package be known as signed, by the signatures that it came with now.

        Args:
            signed_by: name of the trusted key that made one of them.

        Raises:
            AgentFailure: "storage" or "disk_full": it is known as it was.
        """
        package_id = head.package_id
        with storage_errors(self.root, SPARE_BYTES), locked(self.root):
            temporary = os.path.join(self._session, "signatures")
            self.packages.sign(package_id, head.signatures, temporary)
            if self.state().signed_by.get(package_id) != signed_by:
                self._change(lambda state: sign(state, package_id, signed_by))

    def give_up(self, head: Head) -> None:
        """Forget the transfer of that package."""
        remove(os.path.join(self._incoming, Transfer.key(head)))

    def give_up_empty(self, head: Head) -> None:
        """Forget the transfer of that package, unless some of it has come."""
        Transfer.remove_empty(os.path.join(self._incoming, Transfer.key(head)))

    def link_agent(self, program: str) -> None:
        """Let applications find this agent, whose guarded runner they import, by one link.

        Args:
            program: its zipapp; one that is in memory only is not shown.

        Raises:
            AgentFailure: "storage" or "disk_full".
        """
        if program.startswith("/proc/"):
            return
        folder = os.path.join(self.root, "agent")
        link, target = os.path.join(folder, "current.pyz"), os.path.realpath(program)
        if os.path.dirname(target) == folder:
            target = os.path.basename(target)
        with storage_errors(self.root, SPARE_BYTES), locked(self.root):
            make_folder(folder)
            if not (os.path.islink(link) and os.readlink(link) == target):
                replace_link(link, target, os.path.join(self._session, "link"))
            # Sessions of another agent still import from it.
            if os.sep not in target and os.listdir(self._sessions) == [self._session_name()]:
                remove_old_agents(folder, target)

    def clean_up(self, kept: AbstractSet[str] = frozenset()) -> None:
        """Remove the packages that nothing needs.

        Args:
            kept: ids of further packages that stay.

        Raises:
            AgentFailure: "storage".
        """
        with storage_errors(self.root), locked(self.root):
            needed = self.state().in_use() | kept
            self.packages.remove_all_but(needed, self._aside)
            fallbacks.forget_all_but(self.root, needed)
        if set(self.state().signed_by) - needed:
            self.change(lambda state: forget(state, needed))

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

    def scratch(self) -> str:
        """A fresh folder on the store's disk, which goes when this session ends.

        Raises:
            OSError: the disk does not take it.
        """
        return self._aside()

    # ---- the end -------------------------------------------------------------------------------

    def remove_all(self) -> Tuple[str, ...]:
        """Remove what the agent wrote, ever; the names of what else lies in its folder.

        Raises:
            AgentFailure: "busy": another session is there.
            OSError: the disk does not take it.
        """
        self.begin_installing()
        self.begin_measuring()
        with locked(self.root):
            remove_dead(self._sessions)
            if os.listdir(self._sessions) != [self._session_name()]:
                raise AgentFailure(
                    ErrorCode.BUSY,
                    "another session uses this device",
                    "try again when it has ended",
                )
            for name in _OURS:
                remove(os.path.join(self.root, name))
        kept = tuple(sorted(os.listdir(self.root)))
        if not kept:
            os.rmdir(self.root)
        return kept

    # ---- within --------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Settle what a session that died left, unless another one installs."""
        with locked(self.root):
            try:
                lock = self._try_installing()
            except AgentFailure:
                return
            try:
                self._settle()
            finally:
                os.close(lock)

    def _settle(self) -> None:
        """End a trial whose session died, and set the links right; under both locks."""
        state = self.state()
        if state.trial is not None:
            state = end_trial(state)
            self._replace("state.json", canonical(state))
        with contextlib.suppress(FileExistsError):  # The next change of the state says so.
            show(self._models, new_links(state, self._models, self._session))

    def _try_installing(self) -> int:
        return hold(
            open_lock(self.root, "installing.lock"), "another session is installing on this device"
        )

    def _change(self, function: Callable[[State], State]) -> State:
        state = function(self.state())
        # First: where the disk is full, nothing has changed.
        links = new_links(state, self._models, self._session)
        self._replace("state.json", canonical(state))
        show(self._models, links)
        return state

    def _read(self, name: str, kind: type) -> Optional[Any]:
        path = os.path.join(self.root, name)
        try:
            return from_dict(kind, parse_json(read_file(path, _STATE_MAX_BYTES)))
        except FileNotFoundError:
            return None
        except (OSError, Malformed) as error:
            raise damaged(path, str(error), _WITHOUT[name]) from error

    def _replace(self, name: str, content: bytes) -> None:
        replace_file(os.path.join(self.root, name), content, os.path.join(self._session, name))

    def _aside(self) -> str:
        return tempfile.mkdtemp(dir=self._session)

    def _refuse_full_disk(self, size: int) -> None:
        free = free_bytes(self.root)
        if free is not None and free < size + SPARE_BYTES:
            raise disk_full(self.root, size + SPARE_BYTES)

    def _session_name(self) -> str:
        return os.path.basename(self._session)


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


def _refuse_shared(root: str) -> None:
    found = os.stat(root)
    if found.st_uid != os.geteuid() or found.st_mode & stat.S_IWOTH:
        raise OSError(errno.EPERM, "not yours alone to write", root)
