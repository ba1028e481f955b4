"""Reads the device's conditions while something else goes on, in a thread of the agent's own.

The process that is timed takes no part in it.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Callable, Iterator, List

from device_agent.measuring_messages import Conditions

PERIOD_S = 0.5
"""Between readings. One takes a millisecond or so: a five-hundredth of one CPU."""


@contextlib.contextmanager
def watching(
    read: Callable[[], Conditions], period_s: float = PERIOD_S
) -> Iterator[List[Conditions]]:
    """The readings of a block: one before it, one every `period_s`, and one after it.

    The list is complete when the block has ended.
    """
    readings = [read()]
    over = threading.Event()

    def keep_reading() -> None:
        while not over.wait(period_s):
            readings.append(read())

    reader = threading.Thread(target=keep_reading, name="conditions", daemon=True)
    reader.start()
    try:
        yield readings
    finally:
        over.set()
        reader.join()
    readings.append(read())
