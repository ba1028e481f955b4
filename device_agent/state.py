"""What the device knows of its packages: which is current, which came before, which is on trial.

All of it is one value in one small file, so that a change is there whole or not at all. The
functions here are pure: they make the next state of this one, or say why not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import AbstractSet, Dict, Optional, Set, Tuple

from device_agent.documents import is_file_name, is_package_id
from device_agent.failures import AgentFailure
from device_agent.manifest import Manifest
from device_agent.protocol import ErrorCode
from device_agent.records import record

FORMAT = 1
EARLIEST_S = 1_795_651_200
"""2026-11-26, when this was written: it cannot be earlier than that anywhere."""
LATEST_S = 253_402_300_799
"""The end of the year 9999, the last that a date can name."""


@record(frozen=True)
class Slot:
    """The packages of one name.

    Args:
        current: id of the package that applications use.
        previous: id of the one before it, for a rollback; "" without one.
        sequence: of the highest package that was ever current; no lower one is taken.
        min_sequence: the device goes back to none below this.
    """

    name: str
    current: str
    previous: str = ""
    sequence: int = 0
    min_sequence: int = 0


@record(frozen=True)
class Trial:
    """A package that is installed and not yet believed in.

    Args:
        downgrade: a signed override lets it be older than the current one.
    """

    name: str
    package_id: str
    downgrade: bool = False


@record(frozen=True)
class State:
    """Everything.

    Args:
        slots: one a name.
        active: name of the package that was committed last.
        trial: at most one at a time.
        signed_by: package id to the name of the key that signed it; unsigned ones are not there.
        clock_floor_s: the latest time there is good evidence of, in seconds since 1970.
    """

    format: int = FORMAT
    slots: Tuple[Slot, ...] = ()
    active: str = ""
    trial: Optional[Trial] = None
    signed_by: Dict[str, str] = field(default_factory=dict)
    clock_floor_s: int = EARLIEST_S

    def slot(self, name: str) -> Optional[Slot]:
        """The slot of that name, or None."""
        return next((slot for slot in self.slots if slot.name == name), None)

    def in_use(self) -> Set[str]:
        """Ids of the packages that no clean-up may take."""
        kept = {slot.current for slot in self.slots} | {slot.previous for slot in self.slots}
        if self.trial is not None:
            kept.add(self.trial.package_id)
        return kept - {""}

    def standing(self, package_id: str) -> str:
        """How a package stands: "current", "trial", "previous", or "" where nothing needs it."""
        if any(slot.current == package_id for slot in self.slots):
            return "current"
        if self.trial is not None and self.trial.package_id == package_id:
            return "trial"
        return "previous" if package_id in self.in_use() else ""


def problem(state: State) -> str:
    """Why a state that was read is none that was written here; "" where it can be."""
    if state.format != FORMAT:
        return f"found format {state.format}, expected {FORMAT}"
    for package_id in sorted({*state.in_use(), *(slot.current for slot in state.slots)}):
        if not is_package_id(package_id):
            return f"found package id {package_id[:80]!r}, expected a SHA-256 in hex"
    names = [slot.name for slot in state.slots]
    if not all(map(is_file_name, names)) or len(set(names)) != len(names):
        return f"found packages called {str(names)[:200]}, expected plain names, each once"
    if state.active not in ("", *names):
        return f"found {state.active[:80]!r} in use, which has no package"
    if not 0 <= state.clock_floor_s <= LATEST_S:
        return f"found a time that no calendar has, expected 0 to {LATEST_S} s after 1970"
    return ""


def begin_trial(state: State, trial: Trial, signed_by: str, clock_floor_s: int) -> State:
    """The state with that package on trial; a trial that another one did not end is over."""
    signers = {key: name for key, name in state.signed_by.items() if key != trial.package_id}
    if signed_by:
        signers[trial.package_id] = signed_by
    return dataclasses.replace(
        state,
        trial=trial,
        signed_by=signers,
        clock_floor_s=max(state.clock_floor_s, clock_floor_s),
    )


def sign(state: State, package_id: str, signed_by: str) -> State:
    """The state with that key as the one that signed an installed package."""
    return dataclasses.replace(state, signed_by={**state.signed_by, package_id: signed_by})


def commit(state: State, manifest: Manifest, *, keep_previous: bool = False) -> State:
    """The state with the package on trial as the current one of its name.

    Args:
        keep_previous: a rollback goes back to what was previous, not to what was current.

    Raises:
        AgentFailure: "bad_request": it is not on trial.
    """
    trial, package_id = state.trial, manifest.package_id
    if trial is None or trial.package_id != package_id:
        raise AgentFailure(ErrorCode.BAD_REQUEST, f"package {package_id} is not on trial")
    before = state.slot(manifest.name) or Slot(manifest.name, "")
    same = before.current == package_id
    lowered = trial.downgrade
    slot = Slot(
        name=manifest.name,
        current=package_id,
        previous=before.previous if same or keep_previous else before.current,
        sequence=manifest.sequence if lowered else max(before.sequence, manifest.sequence),
        min_sequence=(
            manifest.min_sequence if lowered else max(before.min_sequence, manifest.min_sequence)
        ),
    )
    return dataclasses.replace(_with_slot(state, slot), active=manifest.name, trial=None)


def end_trial(state: State) -> State:
    """The state as it was before the trial."""
    return dataclasses.replace(state, trial=None)


def roll_back(state: State, name: str, previous: Manifest) -> State:
    """The state with the previous package of that name as the current one, and the other way round.

    A trial is over: it was admitted beside another package.

    Args:
        previous: the manifest of the slot's previous package.

    Raises:
        AgentFailure: "downgrade": the current package forbids to go back that far.
    """
    slot = require_previous(state, name)
    if previous.sequence < slot.min_sequence:
        raise AgentFailure(
            ErrorCode.DOWNGRADE,
            f"found sequence {previous.sequence} in the previous package of {slot.name}, "
            f"expected at least {slot.min_sequence}, as the current one demands",
            "push a newer package",
        )
    back = Slot(
        name=slot.name,
        current=slot.previous,
        previous=slot.current,
        # Of an earlier one than the previous, after a downgrade.
        sequence=max(slot.sequence, previous.sequence),
        min_sequence=max(slot.min_sequence, previous.min_sequence),
    )
    return dataclasses.replace(_with_slot(state, back), active=slot.name, trial=None)


def require_slot(state: State, name: str) -> Slot:
    """The slot of that name; of the active one for "".

    Raises:
        AgentFailure: "not_installed".
    """
    slot = state.slot(name or state.active)
    if slot is None:
        what = f"no package {name!r}" if name else "no package"
        raise AgentFailure(
            ErrorCode.NOT_INSTALLED,
            f"{what} is installed on this device",
            "push one: edgesdk push FILE --device DEVICE",
        )
    return slot


def require_previous(state: State, name: str) -> Slot:
    """The same, which has a previous package.

    Raises:
        AgentFailure: "not_installed", or "no_previous".
    """
    slot = require_slot(state, name)
    if not slot.previous:
        raise AgentFailure(
            ErrorCode.NO_PREVIOUS,
            f"found one package of {slot.name} on this device, and none before it to go back to",
            "push the package you want",
        )
    return slot


def forget(state: State, kept: AbstractSet[str]) -> State:
    """The state without what it says of packages that are not among `kept`."""
    signers = {key: name for key, name in state.signed_by.items() if key in kept}
    return dataclasses.replace(state, signed_by=signers)


def _with_slot(state: State, slot: Slot) -> State:
    others = tuple(other for other in state.slots if other.name != slot.name)
    return dataclasses.replace(state, slots=(*others, slot))
