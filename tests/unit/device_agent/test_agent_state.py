"""Which package is current, previous, on trial: what follows from what, and what never happens."""

from __future__ import annotations

import dataclasses

import pytest
from agent_packages import file_of, manifest_of
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from device_agent.codec import canonical, from_dict, parse_json
from device_agent.failures import AgentFailure
from device_agent.manifest import Manifest
from device_agent.state import (
    EARLIEST_S,
    Slot,
    State,
    Trial,
    begin_trial,
    commit,
    end_trial,
    forget,
    problem,
    require_previous,
    require_slot,
    roll_back,
)

FILE, _ = file_of("model", b"x")


def package(sequence: int, name: str = "digits", least: int = 0, version: str = "1") -> Manifest:
    return manifest_of(FILE, name=name, sequence=sequence, min_sequence=least, version=version)


def committed(*packages: Manifest, state: State | None = None, downgrade: bool = False) -> State:
    """The state after these were tried and committed, one after the other."""
    state = state or State()
    for each in packages:
        trial = Trial(each.name, each.package_id, downgrade)
        state = commit(begin_trial(state, trial, "", 0), each)
    return state


def fails(code: str, function: object, *arguments: object) -> str:
    with pytest.raises(AgentFailure) as caught:
        function(*arguments)  # type: ignore[operator]
    assert caught.value.code == code
    return caught.value.message


A, B, C = package(1), package(2), package(3)


def test_a_trial_changes_no_slot() -> None:
    before = committed(A)
    trial = Trial("digits", B.package_id)
    during = begin_trial(before, trial, "anna", 0)
    assert (during.slots, during.active) == (before.slots, "digits")
    assert during.trial == trial
    assert dataclasses.replace(end_trial(during), signed_by={}) == before


def test_what_is_committed_is_current_and_what_was_is_previous() -> None:
    assert committed(A, B).slots == (Slot("digits", B.package_id, A.package_id, 2),)
    assert committed(A, B, C).slots == (Slot("digits", C.package_id, B.package_id, 3),)
    assert committed(A, B).trial is None


def test_what_is_current_already_keeps_its_previous_one() -> None:
    assert committed(A, B, B).slots == committed(A, B).slots


def test_only_what_is_on_trial_is_committed() -> None:
    assert "is not on trial" in fails("bad_request", commit, State(), A)
    during = begin_trial(State(), Trial("digits", A.package_id), "", 0)
    assert "is not on trial" in fails("bad_request", commit, during, B)


def test_another_trial_takes_the_place_of_one_that_did_not_end() -> None:
    first = begin_trial(State(), Trial("digits", A.package_id), "", 0)
    second = begin_trial(first, Trial("digits", B.package_id), "", 0)
    assert second.trial == Trial("digits", B.package_id)


def test_names_do_not_meddle_with_one_another() -> None:
    other = package(9, "faces")
    state = committed(A, other, B)
    assert state.slot("faces") == Slot("faces", other.package_id, "", 9)
    assert state.slot("digits") == Slot("digits", B.package_id, A.package_id, 2)
    assert state.active == "digits"


def test_the_highest_sequence_ever_current_stays_in_mind() -> None:
    state = roll_back(committed(A, C), "digits", A)
    assert state.slot("digits") == Slot("digits", A.package_id, C.package_id, 3)


def test_a_signed_downgrade_lowers_what_is_asked_of_the_next() -> None:
    high = package(9, least=8)
    state = committed(A, state=committed(high), downgrade=True)
    assert state.slot("digits") == Slot("digits", A.package_id, high.package_id, 1, 0)


def test_rolling_back_a_downgrade_asks_for_as_much_as_before_it() -> None:
    high = package(9, least=8)
    before = committed(high)
    lowered = committed(A, state=before, downgrade=True)
    again = roll_back(lowered, "digits", high)
    assert again.slot("digits") == Slot("digits", high.package_id, A.package_id, 9, 8)
    fails("downgrade", roll_back, again, "digits", A)


def test_the_least_sequence_never_falls_by_itself() -> None:
    state = committed(package(5, least=4), package(6, least=2))
    found = state.slot("digits")
    assert found is not None and found.min_sequence == 4


def test_rolling_back_twice_is_where_it_began() -> None:
    before = committed(A, B)
    once = roll_back(before, "digits", A)
    assert roll_back(once, "digits", B) == before


def test_rolling_back_makes_the_package_the_active_one() -> None:
    state = committed(A, B, package(1, "faces"))
    assert state.active == "faces"
    assert roll_back(state, "digits", A).active == "digits"


def test_there_is_nothing_to_roll_back_to_on_a_new_device() -> None:
    assert fails("not_installed", roll_back, State(), "", A) == (
        "no package is installed on this device"
    )
    assert "no package 'faces'" in fails("not_installed", roll_back, committed(A), "faces", A)
    assert "found one package of digits" in fails("no_previous", roll_back, committed(A), "", A)


def test_a_package_may_forbid_to_go_back_behind_it() -> None:
    state = committed(A, package(2, least=2))
    message = fails("downgrade", roll_back, state, "digits", A)
    assert "found sequence 1 in the previous package of digits, expected at least 2" in message


def test_without_a_name_the_active_one_is_meant() -> None:
    state = committed(A, package(9, "faces"))
    assert require_slot(state, "").name == "faces"
    assert require_slot(state, "digits").name == "digits"
    assert require_previous(committed(A, B), "").previous == A.package_id


def test_what_is_in_use_is_the_current_the_previous_and_what_is_on_trial() -> None:
    state = begin_trial(committed(A, B), Trial("digits", C.package_id), "", 0)
    assert state.in_use() == {A.package_id, B.package_id, C.package_id}
    assert [state.standing(each.package_id) for each in (A, B, C, package(7))] == [
        *("previous", "current", "trial", ""),
    ]


def test_who_signed_is_kept_as_long_as_the_package() -> None:
    state = begin_trial(State(), Trial("digits", A.package_id), "anna", 0)
    assert state.signed_by == {A.package_id: "anna"}
    assert forget(state, {A.package_id}).signed_by == state.signed_by
    assert forget(state, set()).signed_by == {}
    again = begin_trial(state, Trial("digits", A.package_id), "", 0)
    assert again.signed_by == {}, "the last one who brought it counts"


def test_going_back_ends_a_trial() -> None:
    """It was admitted beside the other package, which may have demanded less."""
    state = begin_trial(committed(A, B), Trial("digits", "x"), "", 0)
    assert roll_back(state, "digits", A).trial is None


def test_the_floor_of_the_clock_only_rises() -> None:
    trial = Trial("digits", A.package_id)
    later = begin_trial(State(), trial, "", EARLIEST_S + 5)
    assert later.clock_floor_s == EARLIEST_S + 5
    assert begin_trial(later, trial, "", 3).clock_floor_s == EARLIEST_S + 5


def test_the_state_survives_being_written() -> None:
    state = begin_trial(committed(A, B, package(9, "faces")), Trial("x", "y", True), "anna", 7)
    assert from_dict(State, parse_json(canonical(state))) == state


class Device(RuleBasedStateMachine):
    """Any sequence of what a device can be told, beside what must hold after each."""

    names = st.sampled_from(["digits", "faces"])

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.known: dict[str, Manifest] = {}
        self.versions = 0

    def admits(self, manifest: Manifest) -> bool:
        """As `admission` does without an override."""
        slot = self.state.slot(manifest.name)
        return slot is None or manifest.sequence >= max(slot.sequence, slot.min_sequence)

    @rule(name=names, sequence=st.integers(0, 9), least=st.integers(0, 9), override=st.booleans())
    def try_one(self, name: str, sequence: int, least: int, override: bool) -> None:
        self.versions += 1
        made = package(sequence, name, min(least, sequence), str(self.versions))
        self.known[made.package_id] = made
        admitted = self.admits(made)
        if admitted or override:
            trial = Trial(name, made.package_id, downgrade=not admitted)
            before = self.state
            self.state = begin_trial(before, trial, "", 0)
            assert (self.state.slots, self.state.active) == (before.slots, before.active)

    @precondition(lambda self: self.state.trial is not None)
    @rule()
    def commit(self) -> None:
        trial = self.state.trial
        assert trial is not None
        before = self.state.slot(trial.name)
        manifest = self.known[trial.package_id]
        self.state = commit(self.state, manifest)
        after = self.state.slot(trial.name)
        assert after is not None and after.current == trial.package_id
        if before is not None:
            assert after.previous == before.current
            if not trial.downgrade:
                assert after.sequence >= before.sequence
                assert after.min_sequence >= before.min_sequence

    @rule()
    def crash(self) -> None:
        self.state = end_trial(self.state)

    @rule(name=names)
    def roll_back(self, name: str) -> None:
        slot = self.state.slot(name)
        if slot is None or not slot.previous:
            return
        previous = self.known[slot.previous]
        if previous.sequence < slot.min_sequence:
            fails("downgrade", roll_back, self.state, name, previous)
        else:
            self.state = roll_back(self.state, name, previous)
            assert require_slot(self.state, name).previous == slot.current

    @invariant()
    def a_slot_is_sound(self) -> None:
        for slot in self.state.slots:
            current = self.known[slot.current]
            assert current.name == slot.name and current.sequence <= slot.sequence
            assert slot.min_sequence <= current.sequence, "never below what it demands"
            assert slot.previous != slot.current

    @invariant()
    def nothing_in_use_is_forgotten(self) -> None:
        in_use = self.state.in_use()
        assert all(slot.current in in_use for slot in self.state.slots)
        assert "" not in in_use

    @invariant()
    def the_active_one_is_there(self) -> None:
        assert (self.state.slot(self.state.active) is not None) == bool(self.state.slots)


TestDevice = Device.TestCase


# ---- what was read -------------------------------------------------------------------------------

SOUND = begin_trial(committed(A, B, package(4, "faces")), Trial("digits", C.package_id), "anna", 0)
SLOT = SOUND.slots[0]


def test_what_was_written_has_no_problem() -> None:
    assert problem(State()) == problem(SOUND) == problem(end_trial(SOUND)) == ""


def of_slot(**changes: object) -> State:
    slot = dataclasses.replace(SLOT, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(SOUND, slots=(slot, *SOUND.slots[1:]))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (dataclasses.replace(SOUND, format=2), "found format 2, expected 1"),
        (of_slot(current=""), "found package id ''"),
        (of_slot(current="../../x"), "found package id '../../x'"),
        (of_slot(previous="../../x"), "found package id '../../x'"),
        (dataclasses.replace(SOUND, trial=Trial("digits", "?")), "found package id '?'"),
        (of_slot(name="../../x"), "found packages called ['../../x', 'faces']"),
        (of_slot(name="a\0b"), "expected plain names, each once"),
        (of_slot(name="\ud800"), "expected plain names, each once"),
        (of_slot(name=""), "expected plain names, each once"),
        (of_slot(name="faces"), "expected plain names, each once"),
        (dataclasses.replace(SOUND, active="other"), "found 'other' in use, which has no package"),
        (dataclasses.replace(SOUND, clock_floor_s=-1), "found a time that no calendar has"),
        (dataclasses.replace(SOUND, clock_floor_s=10**900), "found a time that no calendar has"),
    ],
)
def test_what_nobody_has_written_is_a_problem(state: State, words: str) -> None:
    assert words in problem(state)
