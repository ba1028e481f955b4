"""Power cuts while the agent installs, in an emulated machine: fault matrix, rows 10 and 11."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.slow.power_bench import Bench, Cut, Outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FORGETFUL, UNRULY, FAITHFUL = 0.0, 0.5, 1.0
"""Disks, by the share of what was written and not flushed that survives."""

EXPECT = "the old package or the new one, whole; the new one once that was said; a retry succeeds"

Record = Callable[[str, object], None]


def problems(outcomes: dict[Cut, Outcome]) -> dict[str, tuple[str, ...]]:
    return {str(cut): outcome.problems for cut, outcome in outcomes.items() if outcome.problems}


@pytest.mark.fault(row=10, title="power cut at each fsync and each change of a name", expect=EXPECT)
@pytest.mark.parametrize("meanwhile", ["nothing", "names", "everything"])
@pytest.mark.parametrize("installed", [0, 1], ids=["first", "update"])
def test_a_power_cut_after_each_step(
    bench: Bench, installed: int, meanwhile: str, record_property: Record
) -> None:
    """And whatever the system had already written by itself."""
    steps = bench.steps(installed)
    cuts = [*(Cut(step, meanwhile) for step in range(len(steps))), Cut()]
    outcomes = {cut: bench.install(installed, cut, FORGETFUL) for cut in cuts}
    record_property("cuts", len(cuts))
    assert not problems(outcomes)
    assert [cut for cut in cuts if outcomes[cut].ended] == [Cut()]
    old = installed - 1 if installed else None
    versions = [key for key, _ in itertools.groupby(outcomes[cut].current for cut in cuts)]
    assert versions == [old, installed], "the old one until the new one, once"


@pytest.mark.fault(row=10, title="power cut within each write to the disk", expect=EXPECT)
def test_a_disk_that_dies_at_any_write(bench: Bench, record_property: Record) -> None:
    """Each request of its, until an installation gets through; what it had not flushed is torn."""
    outcomes: dict[Cut, Outcome] = {}
    for request in itertools.count(1):
        cut = Cut(request=request)
        outcomes[cut] = bench.install(1, cut, UNRULY)
        if outcomes[cut].ended:
            break
    record_property("cuts", len(outcomes))
    assert not problems(outcomes)


@pytest.mark.fault(row=10, title="power cuts at random moments", expect=EXPECT)
@pytest.mark.parametrize("keep", [UNRULY, FAITHFUL], ids=["unruly disk", "faithful disk"])
def test_power_cuts_at_random_moments(bench: Bench, keep: float, record_property: Record) -> None:
    """One disk through all of them, mounted as usual."""
    rounds = list(bench.rounds(20, keep, seed=4))
    record_property("cuts", len(rounds))
    record_property("installations", rounds[-1][1])
    for reported, found in rounds:
        assert found in (reported, reported + 1), "what was installed, or what was being installed"


@pytest.mark.fault(row=11, title="the same with syncs removed", expect="the test fails")
@pytest.mark.parametrize("unsynced", ["files", "folders", "all"])
def test_without_syncs_the_power_cut_is_noticed(
    bench: Bench, unsynced: str, record_property: Record
) -> None:
    outcome = bench.install(1, Cut(), FORGETFUL, unsynced)
    assert outcome.reported
    assert outcome.problems
    record_property("found", outcome.problems[0])


@pytest.mark.fault(row=11, title="the same with one sync removed", expect="the test fails")
def test_without_one_sync_the_power_cut_is_noticed(bench: Bench, record_property: Record) -> None:
    """Each file's, and the last. A folder's is covered by any later one: ext4 has one journal."""
    steps = bench.steps(1)
    syncs = [number for number, step in enumerate(steps) if step.syncs]
    vital = [number for number in syncs if steps[number].kind == "file" or number == syncs[-1]]
    noticed = [number for number in vital if bench.install(1, Cut(), FORGETFUL, number).problems]
    record_property("syncs", len(syncs))
    record_property("noticed", len(noticed))
    assert noticed == vital
