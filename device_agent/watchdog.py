"""How long a worker may say nothing before it counts as hung.

An inference on an NPU that never returns cannot be interrupted from within: its worker is killed
from outside, and only a limit tells when. Each is made of what was asked and what was measured.
"""

from __future__ import annotations

from typing import Union

from device_agent.stage_messages import TimeStages, WarmUpStages
from device_agent.worker_messages import TimeBlock, TimeWindow, WarmUp

FIRST_RUN_S = 45.0
"""Of a run when nothing is known of the model yet; runtimes may compile in it. Below the minute
after which the host gives the agent up, so that the host hears the reason."""
LOADING_S = 280.0
"""Of a runtime that loads a model; below the host's five minutes."""
TIMES_SLOWEST = 20
"""Runs beside one that takes this many times the slowest so far are no longer slow but hung: a
throttled board takes 2 to 4 times as long."""
LEAST_S = 5.0
"""However fast the model: a board that swaps, or whose card stalls, answers within seconds."""
MOST_S = 55.0
"""However slow: below the host's minute, as above."""

_NS_PER_SECOND = 1e9


def warm_up_silence_s(request: Union[WarmUp, WarmUpStages]) -> float:
    """Of a warm-up: its longest time, and one run that begins at its end."""
    return request.max_seconds + FIRST_RUN_S


def block_silence_s(block: Union[TimeBlock, TimeStages], slowest_ns: int) -> float:
    """Of a turn, by the slowest run of the model so far."""
    return block.max_seconds + _beyond_s(slowest_ns)


def window_silence_s(window: TimeWindow, slowest_ns: int) -> float:
    """Likewise, of a window of time."""
    return window.seconds + _beyond_s(slowest_ns)


def _beyond_s(slowest_ns: int) -> float:
    return min(MOST_S, LEAST_S + TIMES_SLOWEST * slowest_ns / _NS_PER_SECOND)
