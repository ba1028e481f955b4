"""One model run without a pause for a long time, summed up window by window as it goes.

Between two windows the worker sums the last one up, some milliseconds in a second; it does not wait
for the host. What is kept of a window is bounded, so that hours fit.
"""

from __future__ import annotations

import time
from array import array
from typing import Any, Callable, List

from device_agent.measuring_messages import Conditions, Sustain, Sustained, Window
from device_agent.turns import Ask
from device_agent.watchdog import warm_up_silence_s, window_silence_s
from device_agent.watching import watching
from device_agent.worker_messages import TimeWindow, Warm, WarmUp, Windowed


def sustain(
    request: Sustain,
    ask: Ask,
    read_conditions: Callable[[], Conditions],
    send: Callable[[Any], None],
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> Sustained:
    """Warm the model up, run it for the time asked, and send each window when it is over.

    Raises:
        AgentFailure: from `ask`.
    """
    warming = WarmUp(request.max_warm_up_seconds)
    warm, _ = ask(request.key, warming, Warm, warm_up_silence_s(warming))
    slowest_ns, peak, windows = warm.slowest_ns, None, 0
    timing = TimeWindow(request.window_seconds, request.kept_samples)
    with watching(read_conditions) as readings:
        taken = 0
        began_ns = clock_ns()
        end_ns = began_ns + request.seconds * 1e9
        while began_ns < end_ns:
            silence_s = window_silence_s(timing, slowest_ns)
            windowed, payload = ask(request.key, timing, Windowed, silence_s)
            ended_ns = clock_ns()
            new = readings[taken:]
            taken += len(new)
            send(_window(began_ns, ended_ns, windowed, payload, new))
            slowest_ns, peak = max(slowest_ns, windowed.slowest_ns), windowed.peak_rss_bytes
            windows += 1
            began_ns = ended_ns
    return Sustained(request.key, warm.runs, warm.steady, windows, peak)


def _window(
    began_ns: int, ended_ns: int, found: Windowed, payload: bytes, conditions: List[Conditions]
) -> Window:
    samples = array("q")
    samples.frombytes(payload)
    return Window(
        began_ns=began_ns,
        ended_ns=ended_ns,
        runs=found.runs,
        total_ns=found.total_ns,
        fastest_ns=found.fastest_ns,
        slowest_ns=found.slowest_ns,
        p50_ns=found.p50_ns,
        p90_ns=found.p90_ns,
        every=found.every,
        samples_ns=tuple(samples),
        conditions=tuple(conditions),
    )
