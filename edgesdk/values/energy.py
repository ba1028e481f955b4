"""Energy of an inference, as a power sensor of the device tells it."""

from __future__ import annotations

from dataclasses import dataclass

from edgesdk.values.verdict import Estimate


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of one inference, by one power sensor.

    Args:
        rail: what the sensor measures, as it is labelled; all that draws from it counts, idle power
            too.
        joules: a run; `n` is the turns or windows it rests on.
    """

    rail: str
    joules: Estimate
