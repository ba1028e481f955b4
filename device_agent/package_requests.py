"""What one session is asked about packages and trust, and about the device they are on."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Optional, Type, Union

from device_agent.archive import HEAD_MAX_BYTES
from device_agent.channel import Payload
from device_agent.failures import AgentFailure
from device_agent.installing import Installer
from device_agent.package_messages import (
    Commit,
    Committed,
    Current,
    Install,
    Installed,
    ListInstalled,
    Offer,
    Offered,
    Rollback,
)
from device_agent.protocol import ErrorCode, Inspect, Progress
from device_agent.store import Store
from device_agent.trust_messages import Challenge, ChangeTrust, GetChallenge, GetTrust, SetLab

_PROGRESS_EVERY_BYTES = 1024 * 1024
_MAKING_FILES_S = 300.0
"""Of silence at most, once all has come: patches are applied, and a slow card written to."""

Tell = Callable[[Progress], None]


class PackageRequests:
    """Answers them; the store is opened by the first that needs it.

    Args:
        root: the store's folder.
        store: opens it.
        program: the agent's zipapp.
        host_time_s: gives what the host's clock said when the session began; 0 where nobody knows.
        tell: hears of progress.
        require_lease: raises where the device is somebody else's.

    Attributes:
        last_seen: id of the package that was installed or asked for last.
    """

    def __init__(
        self,
        root: str,
        store: Callable[[], Store],
        program: str,
        host_time_s: Callable[[], int],
        tell: Tell,
        require_lease: Callable[[], None],
    ) -> None:
        self._root = root
        self._store = store
        self._program = program
        self._host_time_s = host_time_s
        self._tell = tell
        self._require_lease = require_lease
        self._opened: Optional[Installer] = None
        self.last_seen: Optional[str] = None

    def answers(self) -> Dict[Type[Any], Callable[[Any, Payload], Any]]:
        """What answers each request."""
        return {
            Offer: self._offer,
            Install: self._install,
            Commit: lambda request, _: self.installer().commit(request.package_id, self._tell),
            Rollback: self._roll_back,
            Current: lambda request, _: self._seen(self.installer().current(request.name)),
            ListInstalled: lambda _, __: self.installer().inventory(),
            Inspect: self._inspect,
            GetTrust: lambda _, __: self.installer().trust(),
            ChangeTrust: lambda request, _: self.installer().change_trust(request),
            SetLab: lambda request, _: self.installer().set_lab(request),
            GetChallenge: lambda _, __: Challenge(self.installer().challenge()),
        }

    def installer(self) -> Installer:
        if self._opened is None:
            self._opened = Installer(self._store(), self._program, self._host_time_s())
        return self._opened

    def _offer(self, request: Offer, payload: Payload) -> Offered:
        if not 0 < request.payload_bytes <= HEAD_MAX_BYTES:
            raise AgentFailure(
                ErrorCode.BAD_REQUEST,
                f"found a head of {request.payload_bytes} bytes, expected 1 to {HEAD_MAX_BYTES}",
            )
        self._require_lease()
        return self.installer().offer(request, payload.read, self._tell)

    def _roll_back(self, request: Rollback, _: Payload) -> Installed:
        self._require_lease()
        return self._seen(self.installer().roll_back(request.name))

    def _install(self, request: Install, payload: Payload) -> Union[Installed, Committed]:
        meter = _Meter(self._tell, request.payload_bytes, "installing")

        def read(limit: int) -> bytes:
            piece = payload.read(limit)
            meter.advance(len(piece))
            return piece

        installed = self._seen(self.installer().install(request.package_id, read))
        if request.commit:
            return self.installer().commit(installed.package_id, self._tell)
        return installed

    def _seen(self, installed: Installed) -> Installed:
        self.last_seen = installed.package_id
        return installed

    def _inspect(self, request: Inspect, _: Payload) -> Any:
        from device_agent import inspection  # Only whoever asks waits for it.

        found = inspection.inspect(self._root)
        try:
            packages = self._store().packages
        except AgentFailure as failure:
            return dataclasses.replace(found, store_problem=str(failure))
        try:
            manifest = packages.manifest(self.installer().current(request.package).package_id)
        except AgentFailure as failure:
            return dataclasses.replace(
                found, package_problem=str(failure), package_code=failure.code
            )
        return dataclasses.replace(found, package=inspection.built_of(manifest))


class _Meter:
    """Tells the host how much of a payload has been read, every now and then."""

    def __init__(self, tell: Tell, total: int, what: str) -> None:
        self._tell = tell
        self._total = total
        self._what = what
        self._done = 0
        self._told = 0

    def advance(self, count: int) -> None:
        self._done += count
        is_all = count > 0 and self._done == self._total
        if is_all or self._done - self._told >= _PROGRESS_EVERY_BYTES:
            self._told = self._done
            silence_s = _MAKING_FILES_S if is_all else 0.0
            self._tell(Progress(self._done, self._total, self._what, silence_s))
