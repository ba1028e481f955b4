"""How long the host waits for a silent agent."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import cast

import pytest

from device_agent.codec import encode_message
from device_agent.environment_messages import Environment
from device_agent.model_messages import Bench, Benched
from device_agent.package_messages import Committed, Installed
from device_agent.protocol import Progress, Welcome
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.transport import Process
from edgesdk.errors import AgentError
from edgesdk.progress import Silent

BENCH = Bench(
    keys=("int8",),
    blocks=10,
    min_runs=30,
    min_seconds=1.0,
    max_seconds=600.0,
    max_warm_up_seconds=15.0,
)
PATIENCE_S = 7.0


class Answering:
    """A process that answers at once, and keeps how long it would have been waited for."""

    waited_s = 0.0

    def write(self, data: bytes, deadline_s: float) -> None:
        """It takes everything."""

    def read_line(self, limit: int, deadline_s: float) -> bytes:
        self.waited_s = deadline_s
        return encode_message(Benched(()))


@pytest.mark.parametrize(
    ("bench", "longest_s"),
    [
        (BENCH, 60.0),
        (replace(BENCH, max_warm_up_seconds=90.0), 90.0),
        (replace(BENCH, blocks=1), 600.0),
        (replace(BENCH, blocks=0), 600.0),
    ],
    ids=["one block", "the warm-up", "all in one block", "no block, which the agent refuses"],
)
def test_the_longest_silence_of_a_bench(bench: Bench, longest_s: float) -> None:
    process = Answering()
    session = AgentSession(
        cast(Process, process), Welcome(1, "", cast(Environment, None)), PATIENCE_S
    )
    session.bench(bench, Silent())
    assert process.waited_s == longest_s + PATIENCE_S


class Checking:
    """An agent that says how far it is and that it may now be silent, and then answers."""

    def __init__(self) -> None:
        self.waited_s: list[float] = []
        self._says = [
            Progress(1, 2, "installing"),
            Progress(2, 2, "installing", silence_s=300.0),
            Progress(0, 0, "checking the health"),
            Committed(cast(Installed, None), True, ""),
        ]

    def write(self, data: bytes, deadline_s: float) -> None:
        """It takes everything."""

    def read_line(self, limit: int, deadline_s: float) -> bytes:
        self.waited_s.append(deadline_s)
        return encode_message(self._says[len(self.waited_s) - 1])


def test_an_agent_may_be_silent_for_as_long_as_it_says_and_not_before() -> None:
    process = Checking()
    session = AgentSession(
        cast(Process, process), Welcome(1, "", cast(Environment, None)), PATIENCE_S
    )
    with contextlib.suppress(AgentError):  # There is nothing installed in that answer.
        session.commit("package", Silent())
    assert process.waited_s == [PATIENCE_S, PATIENCE_S, 300.0, 300.0]
