"""Joules of an inference, from power sensors read around turns or windows of runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from device_agent.measuring_messages import Conditions
from edgesdk.validate.statistics import block_bootstrap
from edgesdk.values.energy import Energy


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which a model ran, and nothing else of ours.

    Args:
        readings: in it, in order; the first may be of the idle device just before.
        seconds: its length.
        runs: of the model in it.
    """

    readings: Sequence[Conditions]
    seconds: float
    runs: int


def energy(stretches: Sequence[Stretch]) -> tuple[Energy, ...]:
    """Energy of a run by each rail that told it in every stretch; empty without a sensor.

    A counter gives the joules between the first and the last reading of a stretch. A sensor of
    power gives their mean, without the first reading, times its length. The interval is a
    bootstrap's over the stretches.
    """
    rails = dict.fromkeys(p.rail for s in stretches for at in s.readings for p in at.power)
    found = []
    for rail in rails:
        spent = [(_joules(stretch, rail), stretch.runs) for stretch in stretches if stretch.runs]
        told = [(joules, runs) for joules, runs in spent if joules is not None]
        if told and len(told) == len(spent) and sum(joules for joules, _ in told) > 0:
            found.append(Energy(rail, block_bootstrap(told, _a_run)))
    return tuple(found)


def _a_run(spent: Sequence[tuple[float, int]]) -> float:
    return sum(joules for joules, _ in spent) / sum(runs for _, runs in spent)


def _joules(stretch: Stretch, rail: str) -> float | None:
    readings = stretch.readings
    counts = list(_values(readings, rail, "microjoules"))
    if len(counts) == len(readings) >= 2 and None not in counts:
        share = stretch.seconds / ((readings[-1].at_ns - readings[0].at_ns) / 1e9)
        return share * ((counts[-1] or 0) - (counts[0] or 0)) / 1e6
    watts = [
        value / 1e6 for value in _values(readings[1:], rail, "microwatts") if value is not None
    ]
    return sum(watts) / len(watts) * stretch.seconds if watts else None


def _values(readings: Sequence[Conditions], rail: str, field: str) -> Iterator[int | None]:
    for at in readings:
        for power in at.power:
            if power.rail == rail:
                yield getattr(power, field)
