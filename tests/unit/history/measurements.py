"""Measurements to keep, made of the report's example."""

from __future__ import annotations

import dataclasses

from edgesdk.values.endurance import Endurance
from edgesdk.values.report import Findings
from edgesdk.values.results import Results
from edgesdk.values.run import Measured
from tests.unit.report.example import EVALUATION, example_report, example_results
from tests.unit.validate.test_endurance import board, throttled


def findings_of(results: Results | None = None) -> Findings:
    """What `bench` gives."""
    report = example_report(results=results)
    return Findings(**{f.name: getattr(report, f.name) for f in dataclasses.fields(Findings)})


def a_measurement(
    created: str = "2026-03-14T15:09:26+00:00",
    *,
    device: str = "bench-pi",
    package: str = "keywords",
    target: str = "raspberry-pi-5",
) -> Measured:
    """A bench of a package on a device."""
    results = example_results()
    results = dataclasses.replace(
        results,
        device=dataclasses.replace(results.device, name=device),
        installed=dataclasses.replace(results.installed, name=package),
    )
    return Measured("bench", created, target, EVALUATION, findings_of(results))


def a_long_run(
    created: str = "2026-03-15T10:00:00+00:00", *, slow: float = 1.0, throttling: bool = True
) -> Measured:
    """A run without a pause: 2 ms, and 4 ms from the 40th second on where it throttles."""
    found = board(
        100, lambda second: slow * (throttled(second) if throttling else 2.0), name="bench-pi"
    )
    return Measured("sustained", created, "raspberry-pi-5", None, found)


def unsettled() -> Measured:
    """One that was too short."""
    found: Endurance = board(5, lambda _: 2.0, name="bench-pi")
    return Measured("sustained", "2026-03-16T10:00:00+00:00", "raspberry-pi-5", None, found)
