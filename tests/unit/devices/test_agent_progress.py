"""What is shown of the work that the agent reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from device_agent.codec import encode_message
from device_agent.environment_messages import Environment, RuntimeVersion
from device_agent.model_messages import Opened, OpenModel
from device_agent.protocol import ErrorCode, Failure, Progress, Welcome
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.transport import Process
from edgesdk.errors import AgentError
from edgesdk.progress import Advance

REQUEST = OpenModel("int8", "tensorrt", "", 0, staged="model")
OPENED = Opened("int8", RuntimeVersion("tensorrt", "tensorrt", "10.3"), "gpu", 0, 1, 1, (), ())


class Saying:
    """A process that says these messages, whatever it is asked."""

    def __init__(self, *messages: object) -> None:
        self._lines = [encode_message(message) for message in messages]

    def write(self, data: bytes, deadline_s: float) -> None:
        """It takes everything."""

    def read_line(self, limit: int, deadline_s: float) -> bytes:
        return self._lines.pop(0)


class Shown:
    """A `Progress` that writes down each bar: its words, its total, how far it came, its end."""

    def __init__(self) -> None:
        self.bars: list[tuple[str, int, list[int], list[str]]] = []

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        steps: list[int] = []
        end: list[str] = []
        self.bars.append((description, total, steps, end))
        try:
            yield steps.append
        finally:
            end.append("closed")


def opened(shown: Shown, *messages: object) -> Opened:
    process = cast(Process, Saying(*messages))
    session = AgentSession(process, Welcome(1, "", cast(Environment, None)), 7.0)
    return session.open_model(REQUEST, shown)


def test_an_engine_that_is_built_is_shown_in_the_agents_words_and_seconds() -> None:
    shown = Shown()
    reports = [Progress(seconds, 0, "building the engine") for seconds in (0, 1, 5)]
    assert opened(shown, *reports, OPENED) == OPENED
    ((words, total, steps, end),) = shown.bars
    assert (words, total) == ("building the engine", 0)
    assert (sum(steps), min(steps)) == (5, 0)
    assert end == ["closed"]


def test_a_total_that_is_known_is_reached() -> None:
    shown = Shown()
    opened(shown, Progress(1, 3, "copying"), OPENED)
    ((_, total, steps, _),) = shown.bars
    assert (total, sum(steps)) == (3, 3)


def test_each_thing_that_it_does_has_its_own_bar_after_the_other() -> None:
    shown = Shown()
    opened(shown, Progress(2, 0, "parsing"), Progress(1, 0, "building"), OPENED)
    assert [(words, sum(steps)) for words, _, steps, _ in shown.bars] == [
        ("parsing", 2),
        ("building", 1),
    ]


def test_a_model_that_loads_at_once_shows_nothing() -> None:
    shown = Shown()
    opened(shown, OPENED)
    assert shown.bars == []


def test_a_bar_is_closed_when_it_fails() -> None:
    shown = Shown()
    failure = Failure(ErrorCode.RUNTIME_FAILED, "TensorRT refuses the model")
    with pytest.raises(AgentError, match="TensorRT refuses"):
        opened(shown, Progress(1, 0, "building"), failure)
    assert [end for *_, end in shown.bars] == [["closed"]]


def test_what_a_terminal_would_act_on_is_not_shown() -> None:
    shown = Shown()
    opened(shown, Progress(1, 0, "\x1b[2Jbuilding"), OPENED)
    assert shown.bars[0][0] == "\ufffd[2Jbuilding"
