"""Processes of a pool end when they are told to, and say what became of their task."""

from __future__ import annotations

import time
from pathlib import Path

from edgesdk.flows.pool import PATIENCE_S, processes, unless_ended
from edgesdk.interruption import FAREWELL_S, Signalled


def slow_to_close(begun: str) -> str:
    """As a task does that waits for threads of its own, to the last, and tells of each."""
    try:
        Path(begun).touch()
        time.sleep(60)
    except Signalled:
        time.sleep(FAREWELL_S + 0.2)
        raise
    return "done"


def ended(_: str, had_begun: bool) -> str:
    return f"ended, {had_begun}"


def test_a_task_that_takes_all_the_time_it_may_is_still_heard(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with processes(1) as pool:
        future = pool.executor.submit(unless_ended, slow_to_close, str(begun), ended)
        while not begun.exists():
            assert not future.done(), future.exception()
            time.sleep(0.01)
        pool.end()
        assert future.result(PATIENCE_S) == "ended, True"
