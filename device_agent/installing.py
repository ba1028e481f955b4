"""From the offer of a package to its place on the device: offer, install, trial, commit, return.

Nothing travels before the head of the package has been judged, nothing is written before it has
been verified, and nothing is used before it has been tried.
"""

from __future__ import annotations

import functools
import platform
import secrets
import time
from typing import List, Optional, Tuple

from device_agent import fallbacks, runtimes
from device_agent.admission import Admitted, Circumstances, admit
from device_agent.archive import Head
from device_agent.clock import Clock
from device_agent.codec import canonical
from device_agent.durable import storage_errors
from device_agent.environment import board_name
from device_agent.failures import AgentFailure
from device_agent.health import HealthChecker
from device_agent.manifest import Manifest
from device_agent.package_messages import Committed, Damaged, Installed, Inventory, Offer, Offered
from device_agent.patching import apply_patch
from device_agent.private_runtimes import folders_for, private_folders
from device_agent.protocol import ErrorCode, Progress
from device_agent.reading import Read, read_head
from device_agent.receiving import DamagedPart, Transfer, base_missing
from device_agent.state import Trial, begin_trial, commit, require_previous, require_slot, roll_back
from device_agent.store import KeptTrust, Store
from device_agent.trust import (
    LAB_NAMESPACE,
    PACKAGE_NAMESPACE,
    Reason,
    Trust,
    Untrusted,
    next_trust,
    read_trust,
    require_signed,
    require_threshold,
)
from device_agent.trust_messages import ChangeTrust, LabMode, SetLab, SignedTrust, TrustState
from device_agent.workers import OnProgress

_ORDER = ("current", "trial", "previous", "")
_READING_S = 300.0
"""Of silence at most, while what came earlier is read: slow cards, large packages."""


class Installer:
    """What one session does to the packages of its device.

    Args:
        store: of the device.
        program: the agent's zipapp.
        host_time_s: what the host's clock says; 0 where nobody knows.
    """

    def __init__(self, store: Store, program: str, host_time_s: int = 0) -> None:
        self._store = store
        self._program = program
        self._host_time_s = host_time_s
        self._nonce = ""
        self._offered: Optional[Tuple[Head, Admitted, Optional[Transfer], int]] = None

    # ---- a package -----------------------------------------------------------------------------

    def offer(self, offer: Offer, read: Read, tell: OnProgress = lambda _: None) -> Offered:
        """Judge a package by its head, and say from where its bytes are wanted.

        Args:
            offer: as the host made it.
            read: gives the package's bytes, of which the head is enough.
            tell: hears that what came of it earlier is being read, which may take minutes.

        Raises:
            AgentFailure: it may not be installed; "busy"; "base_missing".
            CorruptPackage: that is no head of a package.
        """
        head = read_head(read)
        store, package_id = self._store, head.package_id
        store.begin_installing()
        self._withdraw()
        admitted = admit(head, offer, store.state(), self._circumstances())
        self._nonce = ""  # An override holds once.
        store.clean_up({package_id})
        already = store.packages.is_intact(package_id)
        transfer, resume_at = None, 0
        if already:
            store.give_up(head)  # It may have died between its last rename and the tidying up.
        else:
            self._require_bases(head)
            transfer = store.transfer(head)
            if transfer.is_begun():
                tell(Progress(0, 0, "reading what came earlier", _READING_S))
            with storage_errors(store.root):
                resume_at = transfer.resume_at()
        self._offered = head, admitted, transfer, resume_at
        return Offered(package_id, already, resume_at, admitted.signed_by, admitted.expiry)

    def install(self, package_id: str, read: Read) -> Installed:
        """Receive what was offered, and put it on trial. An offer holds once.

        A package that is current already stays so, and needs no trial. One that came unsigned, or
        signed by another key, is signed from now on as it was offered.

        Raises:
            AgentFailure: "bad_request", "disk_full", "storage", "delta_failed", "base_missing";
                "resume_failed": what had come earlier was damaged, and is gone.
            CorruptPackage: at the first chunk that is not as its head says; no trial began.
        """
        offered, self._offered = self._offered, None
        # What it was judged by may have changed since another session could install.
        if not self._store.is_installing or offered is None or offered[0].package_id != package_id:
            raise AgentFailure(
                ErrorCode.BAD_REQUEST, f"package {package_id} was not offered", "offer it first"
            )
        head, admitted, transfer, resume_at = offered
        already = self._store.packages.is_intact(package_id)
        if not already:
            self._receive(head, transfer or self._store.transfer(head), read, resume_at)
        elif admitted.signed_by:
            self._store.sign(head, admitted.signed_by)
        if self._store.state().standing(package_id) == "current":
            self._store.end_installing()
        else:
            trial = Trial(head.manifest.name, package_id, admitted.downgrade)
            time_s = self._agreed_time_s()
            self._store.change(lambda state: begin_trial(state, trial, admitted.signed_by, time_s))
        return self.describe(package_id, already)

    def commit(self, package_id: str, tell: OnProgress) -> Committed:
        """Check the health of the package on trial, and make it the current one.

        Raises:
            AgentFailure: "unhealthy": the trial is over; "bad_request": it is not on trial;
                "storage" or "disk_full".
        """
        store = self._store
        if store.state().standing(package_id) == "current":
            return Committed(self.describe(package_id, True), True, self._previous(package_id))
        if not store.is_installing or store.state().standing(package_id) != "trial":
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"package {package_id} is not on trial here")
        manifest = store.packages.manifest(package_id)
        try:
            health = HealthChecker(
                store.packages,
                package_id,
                signed=package_id in store.state().signed_by,
                engines=store.engines,
                folders=folders_for(store.root, manifest.compatibility.runtime),
                program=self._program,
                tell=tell,
            ).check()
            store.link_agent(self._program)
            keep = self._is_previous_sounder(manifest.name)
            store.change(lambda state: commit(state, manifest, keep_previous=keep))
        finally:
            store.end_installing()
        store.clean_up()
        return Committed(
            self.describe(package_id, False), False, self._previous(package_id), health
        )

    def roll_back(self, name: str) -> Installed:
        """Make the previous package the current one again, after verifying its files once more.

        Raises:
            AgentFailure: "not_installed", "no_previous", "downgrade", "busy", "storage";
                "untrusted": the key that signed it was revoked since, or it is
                unsigned and the device none of a lab any more.
        """
        store = self._store
        store.begin_installing()
        try:
            slot = require_previous(store.state(), name)
            if not store.packages.is_intact(slot.previous):
                raise AgentFailure(
                    ErrorCode.STORAGE,
                    f"the previous package of {slot.name} is damaged on the device",
                    "push the package you want",
                )
            previous = store.packages.manifest(slot.previous)
            self._refuse_unbelieved(previous)
            store.change(lambda state: roll_back(state, slot.name, previous))
        finally:
            store.end_installing()
        return self.describe(slot.previous, True)

    # ---- what is there -------------------------------------------------------------------------

    def current(self, name: str) -> Installed:
        """The current package of that name; of the one that was committed last for "".

        Raises:
            AgentFailure: "not_installed", or "storage".
        """
        return self.describe(require_slot(self._store.state(), name).current, True)

    def inventory(self) -> Inventory:
        """Everything on the device, and what should be there and is not.

        Raises:
            AgentFailure: "storage": the state is damaged.
        """
        state = self._store.state()
        packages: List[Installed] = []
        damaged: List[Damaged] = []
        for package_id in sorted({*self._store.packages.ids(), *state.in_use()}):
            try:
                packages.append(self.describe(package_id, True))
            except AgentFailure as failure:  # One that is damaged hides no other.
                standing = state.standing(package_id)
                damaged.append(Damaged(package_id, standing, failure.message))
        packages.sort(key=lambda each: (_ORDER.index(each.state), each.name, -each.sequence))
        return Inventory(tuple(packages), state.active, tuple(damaged))

    def describe(self, package_id: str, already: bool) -> Installed:
        """An installed package as the wire tells of it.

        Raises:
            AgentFailure: "not_installed", or "storage".
        """
        manifest, state = self._store.packages.manifest(package_id), self._store.state()
        return Installed(
            package_id=package_id,
            name=manifest.name,
            version=manifest.version,
            target=manifest.compatibility.target,
            runtime=manifest.compatibility.runtime,
            runtime_min_version=manifest.compatibility.runtime_min_version,
            installed_bytes=manifest.raw_bytes,
            already=already,
            state=state.standing(package_id),
            sequence=manifest.sequence,
            signed_by=state.signed_by.get(package_id, ""),
            fallbacks=fallbacks.counts(self._store.root, package_id),
            stages=manifest.stages,
        )

    # ---- trust ---------------------------------------------------------------------------------

    def trust(self) -> TrustState:
        """Whom the device believes."""
        kept = self._store.trust()
        return TrustState("", False) if kept is None else _trust_state(kept)

    def change_trust(self, change: ChangeTrust) -> TrustState:
        """Take over newer versions, each signed by the one before; the first of a new device.

        Raises:
            AgentFailure: "untrusted": one does not follow; those before it hold from now on.
        """
        self._withdraw()
        # A new device starts with the last one, which need only hold by itself.
        is_new = self._store.trust() is None
        for version in change.versions[-1:] if is_new else change.versions:
            self._store.change_trust(functools.partial(self._followed, version, change.lab))
        return self.trust()

    def set_lab(self, wanted: SetLab) -> TrustState:
        """Become a device of a lab, or stop being one, on the word of enough trusted keys.

        Raises:
            AgentFailure: "untrusted"; "storage" or "disk_full".
        """
        self._withdraw()
        nonce, self._nonce = self._nonce, ""  # It holds once.
        self._store.change_trust(functools.partial(self._with_lab, wanted, nonce))
        return self.trust()

    def challenge(self) -> str:
        """A number for this session's next override or change of the lab mode."""
        self._nonce = secrets.token_hex(16)
        return self._nonce

    # ---- within --------------------------------------------------------------------------------

    def _withdraw(self) -> None:
        """Forget what was offered: another offer has come, or it would be judged otherwise now."""
        offered, self._offered = self._offered, None
        if offered is not None:
            self._store.give_up_empty(offered[0])

    def _receive(self, head: Head, transfer: Transfer, read: Read, resume_at: int) -> None:
        store = self._store
        with storage_errors(store.root, transfer.missing_bytes()):
            try:
                transfer.receive(read, resume_at)
                files = transfer.assemble(store.packages.find_file, self._apply)
                store.move_in(files, head, transfer.checked)
            except DamagedPart as error:
                raise AgentFailure(
                    ErrorCode.RESUME_FAILED, str(error), "push the package again"
                ) from error
            except (AgentFailure, OSError):
                store.give_up(head)  # What a full disk took of it would keep it full.
                raise

    def _apply(self, base: str, patch: str, path: str, size: int) -> None:
        apply_patch(self._program, base, patch, path, size)

    def _require_bases(self, head: Head) -> None:
        for each in () if head.delta is None else head.delta.files:
            based = each.codec != "full"
            if based and not self._store.packages.find_file(each.base_sha256, each.base_bytes):
                raise base_missing(each.path)

    def _previous(self, package_id: str) -> str:
        slots = self._store.state().slots
        return next((slot.previous for slot in slots if slot.current == package_id), "")

    def _is_previous_sounder(self, name: str) -> bool:
        """Whether the current package of that name is damaged, and the previous one is not."""
        slot, whole = self._store.state().slot(name), self._store.packages.seems_whole
        if slot is None or not slot.previous:
            return False
        return not whole(slot.current) and whole(slot.previous)

    def _refuse_unbelieved(self, manifest: Manifest) -> None:
        """What has expired since may come back in an emergency; what nobody believes may not."""
        kept = self._store.trust()
        signatures = self._store.packages.signatures(manifest.package_id)
        if kept is None or (kept.lab and not signatures):
            return
        if not signatures:
            raise AgentFailure(
                ErrorCode.UNTRUSTED,
                "the previous package is not signed, and this device is none of a lab any more",
                "push a package that is signed",
            )
        text, trust = canonical(manifest), _parsed(kept.version)
        try:
            require_signed(trust, text, signatures, PACKAGE_NAMESPACE, self._clock())
        except Untrusted as error:
            if error.code != Reason.EXPIRED_KEY:
                raise AgentFailure(
                    ErrorCode.UNTRUSTED, str(error), "push a package that is signed by another key"
                ) from error

    def _agreed_time_s(self) -> int:
        """What it is at least, by host and device together: one of them may be years ahead."""
        floor_s = self._store.state().clock_floor_s
        agreed_s = min(self._host_time_s, int(time.time()))
        return agreed_s if Clock(float(agreed_s), floor_s).is_believed else floor_s

    def _clock(self) -> Clock:
        """The device's clock, which is no earlier than the host's while the host is here."""
        floor_s = self._store.state().clock_floor_s
        host = Clock(float(self._host_time_s), floor_s)
        return Clock(time.time(), self._host_time_s if host.is_believed else floor_s)

    def _circumstances(self) -> Circumstances:
        kept = self._store.trust()
        return Circumstances(
            machine=platform.machine(),
            board=board_name(),
            runtimes=runtimes.discover(private_folders(self._store.root)),
            clock=self._clock(),
            trust=None if kept is None else _parsed(kept.version),
            lab=kept is not None and kept.lab,
            nonce=self._nonce,
        )

    def _followed(self, version: SignedTrust, lab: bool, kept: Optional[KeptTrust]) -> KeptTrust:
        """What takes the place of the trust that is there; on a new device, its first.

        Raises:
            AgentFailure: "untrusted".
        """
        if kept is None:
            _parsed(version)
            return KeptTrust(version, lab)
        if version.document == kept.version.document:
            return kept
        try:
            next_trust(
                _parsed(kept.version),
                version.document.encode("utf-8", "replace"),
                version.signatures.encode("utf-8", "replace"),
                self._clock(),
            )
        except Untrusted as error:
            raise AgentFailure(ErrorCode.UNTRUSTED, str(error), error.hint) from error
        return KeptTrust(version, kept.lab)

    def _with_lab(self, wanted: SetLab, nonce: str, kept: Optional[KeptTrust]) -> KeptTrust:
        """The same trust with another lab mode.

        Raises:
            AgentFailure: "untrusted".
        """
        if kept is None or not nonce:
            raise AgentFailure(
                ErrorCode.UNTRUSTED,
                "found a change of the lab mode without "
                + ("a challenge" if kept else "any trust to judge it by"),
            )
        try:
            require_threshold(
                _parsed(kept.version),
                canonical(LabMode(wanted.lab, nonce)),
                wanted.signatures.encode("utf-8", "replace"),
                LAB_NAMESPACE,
                self._clock(),
            )
        except Untrusted as error:
            raise AgentFailure(ErrorCode.UNTRUSTED, str(error), error.hint) from error
        return KeptTrust(kept.version, wanted.lab)


def _parsed(version: SignedTrust) -> Trust:
    try:
        return read_trust(version.document.encode("utf-8", "replace"))
    except Untrusted as error:
        raise AgentFailure(ErrorCode.UNTRUSTED, str(error), error.hint) from error


def _trust_state(kept: KeptTrust) -> TrustState:
    return TrustState(kept.version.document, kept.lab)
