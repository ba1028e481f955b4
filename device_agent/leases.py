"""Whose a device is: a lease with an owner and an expiry, in a file of the store.

A session that measures or installs holds one for as long as it lives, and a person may keep one
for hours without any session. Between sessions the kernel's locks of `device_agent.store` decide,
as ever; what a lease adds is who it is, what for and until when, and that nobody has to stay
connected.

    ROOT/lease.json                 the one that is kept
    ROOT/sessions/<random>/lease    a session's, which goes with its folder

Time is counted since the device started, so that a clock that is set does nothing to a lease. After
a restart of the device a session's lease is gone, and a kept one has aged by the time since then,
or by what the clocks of host and device agree on, whichever is more: it never lasts longer than it
was taken for, counted from the restart.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Type

from device_agent.clock import format_utc
from device_agent.codec import Malformed, canonical, from_dict, parse_json
from device_agent.durable import read_file, remove, replace_file
from device_agent.failures import AgentFailure
from device_agent.lease_messages import (
    LONGEST_S,
    Lease,
    Leased,
    Leases,
    ListLeases,
    Released,
    ReleaseLease,
    TakeLease,
)
from device_agent.protocol import DEVICE, ErrorCode
from device_agent.records import record
from device_agent.store import Store
from device_agent.system_files import read_text

SESSION_S = 120
"""A session's lease expires after so long without renewal: it died, or the device is frozen."""
RENEWED_S = SESSION_S / 3
_FILE_MAX_BYTES = 64 * 1024
_TEXT_CHARACTERS = 200
_SECONDS_OF = (("d", 86400), ("h", 3600), ("min", 60))
_TAKE_AWAY = "edgesdk device release %s --force" % DEVICE
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@record(frozen=True)
class Moment:
    """A point in time, as a device can tell it.

    Args:
        up_s: seconds since it started.
        boot: which start that was; "" where it does not say.
        wall_s: seconds since 1970, as far as host and device agree; for people, and for what a
            restart leaves unknown.
    """

    up_s: float
    boot: str
    wall_s: int


@record(frozen=True)
class LeaseFile:
    """A lease as it lies on the device.

    Args:
        session: folder of the session it ends with; "" where it is kept without one.
        seconds: how long it lasts from `taken`, which a renewal moves on.
        begun: when it was first taken.
    """

    owner: str
    pid: int
    purpose: str
    session: str
    seconds: int
    begun: Moment
    taken: Moment


def aged_s(since: Moment, now: Moment) -> float:
    """Seconds from one moment to another; over a restart, at least those since that."""
    if since.boot == now.boot and since.up_s <= now.up_s:
        return now.up_s - since.up_s
    return max(now.up_s, float(now.wall_s - since.wall_s))


def left_s(lease: LeaseFile, now: Moment) -> float:
    """Seconds until it expires; 0 or less when it has."""
    return lease.seconds - aged_s(lease.taken, now)


def obstacle(leases: Iterable[LeaseFile], wanted: LeaseFile, now: Moment) -> Optional[LeaseFile]:
    """The lease that stands in the way of another; None where there is none.

    What an owner keeps is no obstacle to the same owner's sessions, but two sessions are to each
    other, whoever they are.
    """
    for lease in leases:
        is_own = lease.owner == wanted.owner and bool(wanted.owner)
        if lease.session and wanted.session:
            is_own = lease.session == wanted.session
        if not is_own and left_s(lease, now) > 0:
            return lease
    return None


def refuse(lease: Optional[LeaseFile], now: Moment) -> None:
    """Say whose the device is.

    Raises:
        AgentFailure: "busy", unless there is no lease.
    """
    if lease is None:
        return
    left = left_s(lease, now)
    until = "until %s (%s left)" % (format_utc(int(now.wall_s + left)), duration(left))
    wait = "wait for it: --wait 10m"
    raise AgentFailure(
        ErrorCode.BUSY,
        "the device is leased by %s since %s %s"
        % (_holder(lease), _since(lease, now), "until that ends" if lease.session else until),
        wait if lease.session else "%s; or take it away: %s" % (wait, _TAKE_AWAY),
    )


def duration(seconds: float) -> str:
    """As people say it: "1.5 h", "12 min", "40 s"."""
    for name, size in _SECONDS_OF:
        if seconds >= size:
            return "%.3g %s" % (seconds / size, name)
    return "%.0f s" % seconds


def _holder(lease: LeaseFile) -> str:
    process = " (process %d)" % lease.pid if lease.pid else ""
    purpose = " for %s" % lease.purpose if lease.purpose else ""
    return (lease.owner or "someone") + process + purpose


def _since(lease: LeaseFile, now: Moment) -> str:
    return format_utc(int(now.wall_s - aged_s(lease.begun, now)))


def _to_wire(lease: LeaseFile, now: Moment) -> Lease:
    """As the host is told of it."""
    return Lease(
        owner=lease.owner,
        pid=lease.pid,
        purpose=lease.purpose,
        kept=not lease.session,
        age_s=aged_s(lease.begun, now),
        left_s=left_s(lease, now),
    )


class Leaseholder:
    """What one session has to do with leases.

    Args:
        store: gives the device's store; asked for when it is first needed.
        host_time_s: gives what the host's clock said when the session began; 0 where nobody knows.
    """

    def __init__(self, store: Callable[[], Store], host_time_s: Callable[[], int]) -> None:
        self._store = store
        self._host_time_s = host_time_s
        self._began_s = time.monotonic()
        self._held: Optional[LeaseFile] = None
        self._ended = threading.Event()
        self._renewer: Optional[threading.Thread] = None

    def answers(self) -> Dict[Type[Any], Callable[[Any, Any], Any]]:
        """The requests that are answered here."""
        return {
            TakeLease: lambda request, _: self.take(request),
            ReleaseLease: lambda request, _: self.release(request),
            ListLeases: lambda _, __: self.show(),
        }

    @property
    def is_held(self) -> bool:
        """Whether this session keeps others from the device by its lease."""
        return self._held is not None

    def take(self, request: TakeLease) -> Leased:
        """Lease the device, for this session or beyond it.

        Raises:
            AgentFailure: "busy"; "bad_request"; "storage" or "disk_full".
        """
        if request.keep and not 1 <= request.seconds <= LONGEST_S:
            raise AgentFailure(
                ErrorCode.BAD_REQUEST,
                "found a lease of %d s, expected 1 s to %s"
                % (request.seconds, duration(LONGEST_S)),
            )
        now, store = self._now(), self._store()
        wanted = self._wanted(request, now)
        with store.alone():
            found = _read_all(store)
            refuse(obstacle(found, wanted, now), now)
            expired = [lease for lease in found if left_s(lease, now) <= 0]
            for lease in expired:
                remove(_path(store, lease))
            if request.keep:
                temporary = os.path.join(store.session_folder, "kept")
                replace_file(_path(store, wanted), canonical(wanted), temporary)
            else:
                self._hold(wanted)
        note = "; ".join("the lease of %s had expired" % _holder(lease) for lease in expired)
        return Leased(_to_wire(wanted, now), note)

    def require(self) -> None:
        """Before the device is used: see that it is nobody else's.

        Raises:
            AgentFailure: "busy".
        """
        now, store = self._now(), self._store()
        asking = self._held or self._wanted(TakeLease("", 0, ""), now)
        refuse(obstacle(_read_all(store), asking, now), now)

    def release(self, request: ReleaseLease) -> Released:
        """Give back what is kept.

        Raises:
            AgentFailure: "busy": it is someone else's; "storage" or "disk_full".
        """
        now, store = self._now(), self._store()
        with store.alone():
            kept = [lease for lease in _read_all(store) if not lease.session]
            holds = [lease for lease in kept if left_s(lease, now) > 0]
            if holds and holds[0].owner != request.owner and not request.force:
                raise AgentFailure(
                    ErrorCode.BUSY,
                    "the device is kept by %s, and not by %s"
                    % (_holder(holds[0]), request.owner or "someone"),
                    "take it away: " + _TAKE_AWAY,
                )
            for lease in kept:
                remove(_path(store, lease))
        return Released(_to_wire(holds[0], now) if holds else None)

    def show(self) -> Leases:
        """Those that hold."""
        now = self._now()
        found = [each for each in _read_all(self._store()) if left_s(each, now) > 0]
        return Leases(tuple(_to_wire(each, now) for each in found))

    def close(self) -> None:
        """Renew it no more; it goes with the session's folder. Twice is fine."""
        self._ended.set()
        self._held = None

    def _hold(self, lease: LeaseFile) -> None:
        self._held = lease
        self._write()
        if self._renewer is None:
            self._renewer = threading.Thread(target=self._keep_renewing, daemon=True)
            self._renewer.start()

    def _keep_renewing(self) -> None:
        """Where someone took the device over meanwhile, the lease is gone and stays so."""
        while not self._ended.wait(RENEWED_S):
            store, held = self._store(), self._held
            with contextlib.suppress(AgentFailure), store.alone():
                if held is not None and os.path.exists(_path(store, held)):
                    self._held = _renewed(held, self._now())
                    self._write()

    def _write(self) -> None:
        """Not durable: it is void after a power cut anyway.

        A disk that takes nothing any more is no reason not to measure; the store's locks hold.
        """
        if self._held is None:
            return
        path = _path(self._store(), self._held)
        with contextlib.suppress(OSError):
            with open(path + ".new", "wb") as stream:
                stream.write(canonical(self._held))
            os.rename(path + ".new", path)

    def _wanted(self, request: TakeLease, now: Moment) -> LeaseFile:
        return LeaseFile(
            owner=request.owner[:_TEXT_CHARACTERS],
            pid=request.pid,
            purpose=request.purpose[:_TEXT_CHARACTERS],
            session="" if request.keep else os.path.basename(self._store().session_folder),
            seconds=request.seconds if request.keep else SESSION_S,
            begun=now,
            taken=now,
        )

    def _now(self) -> Moment:
        """Of two clocks that differ, one may be years ahead: the earlier one is believed."""
        wall_s, host_s = int(time.time()), self._host_time_s()
        if host_s:
            wall_s = min(wall_s, host_s + int(time.monotonic() - self._began_s))
        return Moment(time.clock_gettime(time.CLOCK_BOOTTIME), read_text(_BOOT_ID).strip(), wall_s)


def _path(store: Store, lease: LeaseFile) -> str:
    if not lease.session:
        return os.path.join(store.root, "lease.json")
    sessions = os.path.dirname(store.session_folder)
    return os.path.join(sessions, os.path.basename(lease.session), "lease")


def _read_all(store: Store) -> List[LeaseFile]:
    """Those of sessions that run, and the one that is kept. One that is damaged is none."""
    paths = [os.path.join(folder, "lease") for folder in store.live_sessions()]
    found = []
    for path in [*paths, os.path.join(store.root, "lease.json")]:
        with contextlib.suppress(OSError, Malformed):
            found.append(from_dict(LeaseFile, parse_json(read_file(path, _FILE_MAX_BYTES))))
    return found


def _renewed(lease: LeaseFile, now: Moment) -> LeaseFile:
    return LeaseFile(
        lease.owner, lease.pid, lease.purpose, lease.session, lease.seconds, lease.begun, now
    )
