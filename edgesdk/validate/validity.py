"""Is it a measurement? The conditions under which a model was timed, judged. Pure.

Each limit is a constant with its reason (docs/adr/0025-when-a-measurement-is-none.md). A virtual
device's latencies are not a board's whatever else happens to them, and the workstation it runs on
has other work: there, what would spoil a board's figures is remarked only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median

from device_agent.measuring_messages import Conditions, CpuTime
from device_agent.model_messages import Latency
from edgesdk.choices import Precision
from edgesdk.validate.trend import find_trend
from edgesdk.validate.turns import turns, within
from edgesdk.values.endurance import Endured
from edgesdk.values.report import role_name
from edgesdk.values.results import MeasuredDevice, ModelRun, Role
from edgesdk.values.stages import StageRun
from edgesdk.values.validity import Stamp, Validity
from edgesdk.values.verdict import written

CLOCK_FALL_PERCENT = 10
"""Latency follows the clock. Neighbouring steps of a boards' clocks are some 5 to 8 % apart (Pi 4:
1.8, 1.7 GHz), and turbo wanders by one; two steps down are throttling or a governor at work."""
CLOCK_FALL_SHARE = 0.2
"""Of the turns that must be so slow: one odd reading is none of the model's."""
COMPETING_DOUBT_PERCENT = 3
"""Of all CPUs. An idle Raspberry Pi OS with a desktop takes 1 to 2 %."""
COMPETING_INVALID_PERCENT = 10
"""Of all CPUs: on four cores, nearly half of one. A model on as many threads waits for the slowest,
so that core alone may slow it down by as much."""
TREND_DOUBT_PERCENT = 5
"""Changes below it are within what cache and memory layout do between two starts."""
TREND_INVALID_PERCENT = 20
"""A board that gives way to heat loses 20 to 50 % of its clock; one figure for before and after is
true of neither."""
UNEVEN_DOUBT_PERCENT = 10
UNEVEN_INVALID_PERCENT = 50
"""Between the medians of the fastest and of the slowest turn: such a model ran in two states."""
STALL_TIMES_MEDIAN = 10
"""A run that takes so much longer than the usual one was not computing: its process was stopped.
Ours, by reason and no source: caches, interrupts and a core's next lower clocks make a run a few
times longer, and of what comes between, other limits here tell."""
STALL_INVALID_PERCENT = 20
"""Of the time of all runs: medians and 95th percentiles do not see a process that is stopped and
goes on by turns, as limits on CPU time and heat do it. With a fifth of the time lost, a minute
holds a fifth fewer runs than the median promises: as much as `TREND_INVALID_PERCENT` has."""
JUMP_S = 0.5
"""Of the wall clock against the monotonic one between two readings. Time servers slew by 0.05 %."""
STILL_READINGS, STILL_S = 60, 30
"""A sensor that says the very same, digit for digit, so often and so long, may have stopped."""

_NS = 1e9
_STILL_FALLING = "The latency was still falling when the time for warming up ended."
_ON_A_BOARD = "would be invalid on a board"
_OTHER_INPUT = (
    "The stages' times are invalid: the device made another input of the same picture than the"
    " workstation; its numpy, or its processor, computes otherwise."
)


def stamp(run: ModelRun, device: MeasuredDevice, precision: Precision | None = None) -> Validity:
    """Judge the conditions under which one model was timed.

    Args:
        precision: of the converted model, for its name; None where it is not known.
    """
    return _stamped(f"{role_name(run.role, precision)} latency", run.role, run.latency, device)


def stamp_stages(run: StageRun, device: MeasuredDevice) -> Validity:
    """Judge the conditions under which the converted model was timed from picture to answer."""
    found = _stamped("Time from picture to answer", "int8", run.whole, device)
    if run.same_input:
        return found
    return replace(found, stamp="invalid", reasons=(_OTHER_INPUT, *found.reasons))


def _stamped(name: str, role: Role, latency: Latency, device: MeasuredDevice) -> Validity:
    reasons = [f"{name} is invalid: {clause}." for clause in _unsettled(latency)]
    grave = list(_grave(latency))
    mild = [
        *_competing(latency, COMPETING_DOUBT_PERCENT, COMPETING_INVALID_PERCENT),
        *_changing(latency, grave=False),
    ]
    remarks = [
        *(f"{name} {clause.removeprefix('it ')}." for clause in mild),
        *_governor(device),
        *_wall_clock_jumps(latency.conditions),
        *_sensors(latency.conditions),
        *_fell_silent(latency.conditions),
    ]
    if device.virtual:
        remarks = [*(f"{name} {_ON_A_BOARD}: {clause}." for clause in grave), *remarks]
    else:
        reasons += [f"{name} is invalid: {clause}." for clause in grave]
        remarks += _nothing_known(latency.conditions)
    verdict: Stamp = "invalid" if reasons else "doubtful" if remarks else "valid"
    return Validity(role, verdict, tuple(reasons), tuple(remarks), competing_percent(latency))


def stamp_endured(endured: Endured) -> Validity:
    """Judge the conditions of a long run without a pause.

    Throttling, a falling clock and a latency that changes are what such a run is to show, and are
    not held against it; that others took the device's time is.
    """
    readings = [at for window in endured.windows for at in window.conditions]
    percent = _percent_of_others([at.cpu for at in readings if at.cpu is not None])
    competed = [] if percent is None else [f"The long run {_competed(percent)}."]
    is_grave = percent is not None and percent > COMPETING_INVALID_PERCENT
    reasons = competed if is_grave and not endured.device.virtual else []
    if is_grave and endured.device.virtual and percent is not None:
        competed = [f"The long run {_ON_A_BOARD}: it {_competed(percent)}."]
    remarks = [
        *(() if endured.sustained.steady else (_STILL_FALLING,)),
        *(competed if not reasons and (percent or 0.0) > COMPETING_DOUBT_PERCENT else ()),
        *_governor(endured.device),
        *_wall_clock_jumps(readings),
        *_sensors(readings),
        *_fell_silent(readings),
        *(() if endured.device.virtual else _nothing_known(readings)),
    ]
    verdict: Stamp = "invalid" if reasons else "doubtful" if remarks else "valid"
    return Validity("int8", verdict, tuple(reasons), tuple(remarks), percent)


def _percent_of_others(times: Sequence[CpuTime]) -> float | None:
    if len(times) < 2 or times[-1].all_ms <= times[0].all_ms:
        return None
    return 100 * others_ms(times[0], times[-1]) / (times[-1].all_ms - times[0].all_ms)


def spoilt(validity: Validity) -> str:
    """What would make a virtual device's latencies invalid if it were a board; "" where nothing.

    The first such remark, and how many there are besides.
    """
    remarks = [remark for remark in validity.remarks if _ON_A_BOARD in remark]
    more = f" ({len(remarks) - 1} more such among the latency's remarks.)" if remarks[1:] else ""
    return f"{remarks[0]}{more}" if remarks else ""


def _unsettled(latency: Latency) -> Iterator[str]:
    if not latency.steady:
        yield (
            f"it was still falling when the time for warming up ended ({latency.warm_up_runs} runs)"
        )


def _grave(latency: Latency) -> Iterator[str]:
    yield from _throttling(latency)
    yield from _clock(latency)
    yield from _competing(latency, COMPETING_INVALID_PERCENT, None)
    yield from _changing(latency, grave=True)
    yield from _stalled(latency)


def _throttling(latency: Latency) -> Iterator[str]:
    causes = list(dict.fromkeys(c for at in latency.conditions for c in at.throttled or ()))
    if causes:
        yield f"the device was held back while it ran ({', '.join(causes)})"
        return
    readings = latency.conditions
    counts = [at.throttle_events for at in readings]
    more = {
        source: last - counts[0].get(source, last)
        for source, last in (counts[-1].items() if counts else ())
    }
    risen = [f"{source} {count}x" for source, count in more.items() if count > 0]
    if risen:
        yield (f"the device was held back between the first turn and the last ({', '.join(risen)})")


def _clock(latency: Latency) -> Iterator[str]:
    """By the highest clock of each turn; what was read before it, the device idle, says nothing."""
    highest = [
        max(clocks)
        for turn in latency.turns
        if (clocks := [at.clock_hz for at in within(latency, turn)[1:] if at.clock_hz])
    ]
    if len(highest) < 2:
        return
    limit = max(highest) * (1 - CLOCK_FALL_PERCENT / 100)
    slow = [clock for clock in highest if clock < limit]
    if len(slow) >= max(1, CLOCK_FALL_SHARE * len(highest)):
        yield (
            f"the CPU clock fell from {_ghz(max(highest))} to {_ghz(min(slow))}"
            f" GHz while it was timed, in {len(slow)} of {len(highest)} turns"
        )


def _competing(latency: Latency, above: float, upto: float | None) -> Iterator[str]:
    percent = competing_percent(latency)
    if percent is None or percent <= above or (upto is not None and percent > upto):
        return
    yield f"it {_competed(percent)}"


def _competed(percent: float) -> str:
    return (
        f"competed with other work on the device, which took {percent:.0f} % of all its CPUs"
        " meanwhile"
    )


def competing_percent(latency: Latency) -> float | None:
    """CPU time of others in the model's turns, in percent of all CPUs; None where it is not told.

    What the hypervisor took for other guests counts as theirs.
    """
    whole = others = 0
    for turn in latency.turns:
        readings = within(latency, turn)
        first, last = (readings[0].cpu, readings[-1].cpu) if readings else (None, None)
        if first is None or last is None:
            return None
        whole += last.all_ms - first.all_ms
        others += others_ms(first, last)
    return 100 * others / whole if whole > 0 else None


def others_ms(first: CpuTime, last: CpuTime) -> int:
    """CPU time of all that is not ours, between two readings."""
    busy = (last.all_ms - last.idle_ms) - (first.all_ms - first.idle_ms)
    return max(0, busy - (last.own_ms - first.own_ms))


def _changing(latency: Latency, *, grave: bool) -> Iterator[str]:
    medians = [median(turn) for turn in turns(latency) if turn]
    trend = find_trend(medians)
    percent = 100 * abs(trend.change) if trend is not None and trend.is_sure else 0.0
    spread = 100 * (max(medians) / min(medians) - 1)
    is_grave = percent > TREND_INVALID_PERCENT or spread > UNEVEN_INVALID_PERCENT
    if is_grave is not grave:
        return
    if trend is not None and percent > TREND_DOUBT_PERCENT:
        way = "rose" if trend.change > 0 else "fell"
        yield (
            f"it {way} by {percent:.0f} % from its first turns to its last (of {len(medians)};"
            f" Mann-Kendall test, p = {trend.p:.2g}): it is no one steady latency"
        )
    elif spread > UNEVEN_DOUBT_PERCENT:
        symbol, (first, last) = written("ns", min(medians), max(medians))
        yield (
            f"it drifted: the medians of its {len(medians)} turns lie between {first} and"
            f" {last} {symbol}. The intervals allow for that, but it is no one steady latency"
        )


def _stalled(latency: Latency) -> Iterator[str]:
    samples = latency.samples_ns
    limit = STALL_TIMES_MEDIAN * median(samples)
    stalls = [sample for sample in samples if sample > limit]
    percent = 100 * sum(stalls) / sum(samples)
    if percent > STALL_INVALID_PERCENT:
        yield (
            f"it stood still for {percent:.0f} % of its time, in {len(stalls)} of {len(samples)}"
            f" runs, each over {STALL_TIMES_MEDIAN} times the median"
        )


def _governor(device: MeasuredDevice) -> Iterator[str]:
    governor = device.environment.governor
    if governor not in (None, "performance"):
        yield (
            f'The CPU clock was left to the "{governor}" governor, which may slow runs at random.'
        )


def _wall_clock_jumps(conditions: Sequence[Conditions]) -> Iterator[str]:
    """Says so once where the wall clock jumped."""
    for before, after in itertools.pairwise(conditions):
        if before.wall_ns is None or after.wall_ns is None:
            continue
        jump_s = ((after.wall_ns - before.wall_ns) - (after.at_ns - before.at_ns)) / _NS
        if abs(jump_s) > JUMP_S:
            yield (
                f"The device's wall clock jumped by {jump_s:+.1f} s during the measurement; the"
                " latencies are by its monotonic clock, which does not, and hold."
            )
            return


def _sensors(conditions: Sequence[Conditions]) -> Iterator[str]:
    odd: dict[str, str] = {}
    for reading in itertools.chain.from_iterable(at.odd for at in conditions):
        odd.setdefault(reading.partition(":")[0], reading)
    if odd:
        quoted = "; ".join(odd.values())
        yield f"Some sensors said what cannot be true, and were not used: {quoted}."
    heat = [at for at in conditions if at.temperature_celsius is not None]
    if len(heat) >= STILL_READINGS and heat[-1].at_ns - heat[0].at_ns >= STILL_S * _NS:
        values = {at.temperature_celsius for at in heat}
        if len(values) == 1:
            yield (
                f"The temperature sensor may have stopped: {heat[0].temperature_celsius:.1f} °C in"
                f" each of {len(heat)} readings."
            )


def _fell_silent(readings: Sequence[Conditions]) -> Iterator[str]:
    """What was told at first and not any more: whatever happened then, nobody has seen it."""
    for what, told in (
        ("CPU clock", [at.clock_hz is not None for at in readings]),
        ("temperature", [at.temperature_celsius is not None for at in readings]),
        ("throttling", [at.throttled is not None for at in readings]),
        ("CPU time", [at.cpu is not None for at in readings]),
    ):
        if any(told) and not all(told):
            yield (
                f"The device told its {what} in {sum(told)} of {len(told)} readings only: what"
                " happened at the others is not known."
            )


def _nothing_known(conditions: Sequence[Conditions]) -> Iterator[str]:
    told = any(
        at.clock_hz is not None or at.temperature_celsius is not None or at.throttled is not None
        for at in conditions
    )
    if not told:
        yield (
            "The device tells neither clock nor temperature nor throttling, so nobody knows whether"
            " heat held it back."
        )


def _ghz(clock_hz: float) -> str:
    return f"{clock_hz / 1e9:.2f}"
