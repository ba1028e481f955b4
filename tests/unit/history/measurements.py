"""Measurements to keep, made of the report's example."""

from __future__ import annotations

import dataclasses

from edgesdk.values.report import Findings
from edgesdk.values.results import Results
from edgesdk.values.run import Measured
from tests.unit.report.example import EVALUATION, example_report, example_results


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
