"""Power cuts while the agent writes, in an emulated machine: rows 10 and 11 of the fault matrix."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.faults.matrix import fault
from tests.slow.power_bench import ENROL, ROLL_BACK, Action, Bench, Cut, History, Outcome, Step

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FORGETFUL, UNRULY, FAITHFUL = 0.0, 0.5, 1.0
"""Disks, by the share of what was written and not flushed that survives."""

WHOLE = (
    "the device is where it was or where it was to get, every file whole, for the agent and for an "
    "application that starts before it; what was said to be done is done; another attempt succeeds "
    "and leaves nothing over"
)
NOTICED = "the checks of row 10 fail"

Record = Callable[[str, object], None]


@dataclass(frozen=True)
class Case:
    """What the power cut comes into.

    Args:
        before: what was done on the device earlier.
        old: the package that is current before, and new: the one after.
    """

    before: History
    action: Action
    old: int | None
    new: int | None


FIRST = Case((ENROL,), 0, None, 0)
SECOND = Case((ENROL, 0), 1, 0, 1)
UPDATE = Case((ENROL, 0, 1), 2, 1, 2)
"""The first after which there is something to clean up."""
CASES = {
    "enrolment": Case((), ENROL, None, None),
    "first installation": FIRST,
    "update": UPDATE,
    "rollback": Case((ENROL, 0, 1), ROLL_BACK, 1, 0),
}


def problems(outcomes: dict[Cut, Outcome]) -> dict[str, tuple[str, ...]]:
    return {str(cut): outcome.problems for cut, outcome in outcomes.items() if outcome.problems}


@fault(10, "power cut after each fsync and each change of a name; nothing else is written", WHOLE)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_power_cut_after_each_step(
    emulated_bench: Bench, case: Case, record_property: Record
) -> None:
    after_each_step(emulated_bench, case, "nothing", record_property)


@fault(10, "the same, when the system has by then written all names and sizes by itself", WHOLE)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_power_cut_after_each_step_and_a_sync_of_another_program(
    emulated_bench: Bench, case: Case, record_property: Record
) -> None:
    after_each_step(emulated_bench, case, "names", record_property)


def after_each_step(bench: Bench, case: Case, meanwhile: str, record: Record) -> None:
    steps = bench.steps(case.before, case.action)
    cuts = [*(Cut(step, meanwhile) for step in range(len(steps))), Cut()]
    outcomes = {cut: bench.cut(case.before, case.action, cut, FORGETFUL) for cut in cuts}
    record("cuts", len(cuts))
    assert not problems(outcomes)
    assert [cut for cut in cuts if outcomes[cut].ended] == [Cut()]
    versions = [key for key, _ in itertools.groupby(outcomes[cut].current for cut in cuts)]
    assert versions == list(dict.fromkeys([case.old, case.new])), "the old one until the new one"


@fault(10, "the disk dies in each of its writes and flushes; half of the rest is lost", WHOLE)
def test_a_disk_that_dies_at_any_write(emulated_bench: Bench, record_property: Record) -> None:
    """Until an update gets through."""
    outcomes: dict[Cut, Outcome] = {}
    for request in itertools.count(1):
        cut = Cut(request=request)
        outcomes[cut] = emulated_bench.cut(UPDATE.before, UPDATE.action, cut, UNRULY)
        if outcomes[cut].ended:
            break
    record_property("cuts", len(outcomes))
    assert not problems(outcomes)


@fault(
    10,
    "15 power cuts at random moments of one device's life, while it installs without end",
    "the package last said to be installed runs, or the one that was being installed; all whole",
)
@pytest.mark.parametrize("keep", [UNRULY, FAITHFUL], ids=["unruly disk", "faithful disk"])
def test_power_cuts_at_random_moments(
    emulated_bench: Bench, keep: float, record_property: Record
) -> None:
    rounds = list(emulated_bench.rounds(15, keep, seed=4))
    record_property("cuts", len(rounds))
    record_property("installations", rounds[-1][1])
    for said, found in rounds:
        assert found in (said, said + 1)


@fault(11, "every fsync of files, of folders, or of both does nothing", NOTICED)
@pytest.mark.parametrize("unsynced", ["files", "folders", "all"])
def test_without_syncs_the_power_cut_is_noticed(
    emulated_bench: Bench, unsynced: str, record_property: Record
) -> None:
    outcome = emulated_bench.cut(SECOND.before, SECOND.action, Cut(), FORGETFUL, unsynced)
    assert outcome.said
    assert outcome.problems
    record_property("found", outcome.problems[0])


@fault(11, "one fsync does nothing: each file's in turn, and the last of all", NOTICED)
def test_without_one_sync_the_power_cut_is_noticed(
    emulated_bench: Bench, record_property: Record
) -> None:
    """Any later sync makes up for a folder's: ext4 has one journal for all names."""
    steps = emulated_bench.steps(SECOND.before, SECOND.action)
    syncs = [number for number, step in enumerate(steps) if step.syncs]
    vital = [number for number in syncs if steps[number].kind == "file" or number == syncs[-1]]
    missed = [steps[number] for number in vital if not is_noticed(emulated_bench, steps, number)]
    record_property("syncs", len(syncs))
    record_property("removed", len(vital))
    assert not missed


def is_noticed(bench: Bench, steps: list[Step], removed: int) -> bool:
    """At the end, or as soon as the file has its name for good."""
    named = next(
        (
            number
            for number, step in enumerate(steps)
            if number > removed and step.syncs and step.kind == "folder"
        ),
        None,
    )
    cuts = [Cut(), *([] if named is None else [Cut(named)])]
    return any(
        bench.cut(SECOND.before, SECOND.action, cut, FORGETFUL, removed).problems for cut in cuts
    )
