"""Power cuts while the agent installs, in an emulated arm64 machine (fault matrix, rows 10 and 11)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.slow.power_bench import Bench, Cut, Outcome, Unsynced

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FORGETS, MIXES, KEEPS = 0.0, 0.5, 1.0
"""Disks, by the share of what was written and not flushed that survives."""

EXPECT = "the old package or the new one, whole; the new one once it was said; a retry succeeds"

Record = Callable[[str, object], None]


def at_each_step(
    bench: Bench, installed: int, keep: float, unsynced: Unsynced = None
) -> dict[Cut, Outcome]:
    cuts = [
        Cut(step, moment)
        for step in range(len(bench.steps(installed)))
        for moment in ("before", "after")
    ]
    return {cut: bench.install(installed, cut, keep, unsynced) for cut in [*cuts, Cut()]}


def problems(outcomes: dict[Cut, Outcome]) -> dict[str, tuple[str, ...]]:
    return {str(cut): outcome.problems for cut, outcome in outcomes.items() if outcome.problems}


@pytest.mark.fault(row=10, title="power cut at each fsync and each change of a name", expect=EXPECT)
@pytest.mark.parametrize("keep", [FORGETS, KEEPS], ids=["forgetful disk", "faithful disk"])
@pytest.mark.parametrize("installed", [0, 1], ids=["first package", "update"])
def test_a_power_cut_at_each_step(
    bench: Bench, installed: int, keep: float, record_property: Record
) -> None:
    outcomes = at_each_step(bench, installed, keep)
    record_property("cuts", len(outcomes))
    assert not problems(outcomes)
    assert not any(outcome.ended for cut, outcome in outcomes.items() if cut != Cut())
    old = installed - 1 if installed else None
    found = [outcome.current for outcome in outcomes.values()]
    assert found == [old] * found.count(old) + [installed] * found.count(installed)
    assert found[0] == old and found[-1] == installed
