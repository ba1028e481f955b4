"""The doctor's flow: whose clock is wrong, and what this machine has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.inspection import inspect
from edgesdk.flows.doctor import clock_ahead, workstation_findings


@pytest.mark.parametrize(
    ("device", "ahead"),
    [(105.0, 0.0), (100.0, 0.0), (110.0, 0.0), (40.0, -60.0), (200.0, 90.0)],
)
def test_the_time_that_the_answer_took_is_not_held_against_a_clock(
    device: float, ahead: float, tmp_path: Path
) -> None:
    found = replace(inspect("/store", root=str(tmp_path), home="/root"), time_s=device)
    assert clock_ahead(found, 100.0, 110.0) == ahead


def test_this_machines_own_python_has_no_impostor() -> None:
    assert workstation_findings() == ()
